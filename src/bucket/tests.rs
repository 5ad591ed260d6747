//! How a bucket is reached, what is refused before anything is asked of it, and what errors say.

use std::path::PathBuf;

use hyper::Method;
use object_store::signer::Signer;

use super::*;
use crate::bucket::wire::code_in;

struct Profiles {
    dir: tempfile::TempDir,
}

impl Profiles {
    fn new(lines: &str) -> Profiles {
        let profiles = Profiles { dir: tempfile::tempdir().expect("a directory") };
        profiles.write(lines);
        profiles
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    fn write(&self, lines: &str) {
        std::fs::write(self.path(), lines).expect("written");
    }

    fn settings(&self) -> S3Settings {
        S3Settings { credentials_file: Some(self.path()), ..S3Settings::default() }
    }
}

fn profile(more: &str) -> Profiles {
    Profiles::new(&format!(
        "[default]\naws_access_key_id = a\n[here]\naws_access_key_id = id\naws_secret_access_key = hush\n{more}\n"
    ))
}

/// Where an object's request would go.
async fn address(place: &str, settings: &S3Settings) -> String {
    let bucket = Bucket::open(place, settings).expect("it is sound");
    let url = bucket.s3.signed_url(Method::GET, &bucket.at("name"), std::time::Duration::from_secs(1)).await;
    url.expect("signed").as_str().split('?').next().expect("an address").to_owned()
}

#[tokio::test]
async fn an_endpoint_of_ones_own_gets_the_bucket_in_the_path_unless_it_is_asked_for_in_the_host() {
    let profiles = profile("endpoint_url = https://s3.example.com:9000/");
    let settings = profiles.settings();
    let by_host = S3Settings { virtual_host: Some(true), ..settings.clone() };

    assert_eq!(address("here@keys/a/b", &settings).await, "https://s3.example.com:9000/keys/a/b/name");
    assert_eq!(address("here@keys/a/b", &by_host).await, "https://keys.s3.example.com:9000/a/b/name");
}

#[tokio::test]
async fn without_an_endpoint_the_bucket_is_asked_for_by_its_host_in_its_region() {
    let profiles = profile("region = eu-west-3");

    assert_eq!(address("here@keys", &profiles.settings()).await, "https://keys.s3.eu-west-3.amazonaws.com/name");
    assert_eq!(address("here@ke.ys", &profiles.settings()).await, "https://s3.eu-west-3.amazonaws.com/ke.ys/name");
}

#[test]
fn plain_http_is_refused_off_loopback_unless_it_is_asked_for() {
    let opens = |endpoint: &str, allow_http| {
        let profiles = profile(&format!("endpoint_url = {endpoint}"));
        Bucket::open("here@keys", &S3Settings { allow_http, ..profiles.settings() }).map(drop)
    };

    assert!(opens("http://s3.example.com", false).expect_err("it is refused").contains("s3.allow_http"));
    for (endpoint, allow_http) in [
        ("http://s3.example.com", true),
        ("http://127.0.0.1:9000", false),
        ("http://[::1]:9000", false),
        ("http://localhost", false),
        ("https://s3.example.com", false),
    ] {
        assert_eq!(opens(endpoint, allow_http), Ok(()), "{endpoint}");
    }
}

#[test]
fn a_place_or_a_credentials_file_that_is_odd_is_refused_with_advice_and_without_its_secrets() {
    let profiles = profile("endpoint_url = https://id:hush@s3.example.com");
    for (place, advice) in [
        ("", "bucket"),
        ("here@keys", "AWS_ACCESS_KEY_ID"),
        ("there@keys", "no profile [there]"),
        ("default@keys", "aws_secret_access_key"),
        ("here@ke ys", "bucket"),
        ("here@keys/a//b", "prefix"),
    ] {
        let refused = Bucket::open(place, &profiles.settings()).map(drop).expect_err("it is refused");
        assert!(refused.contains(advice), "{place}: {refused}");
        assert!(!refused.contains("hush"), "{refused}");
    }
    let unnamed = Bucket::open("here@keys", &S3Settings::default()).map(drop).expect_err("it is refused");
    assert!(unnamed.contains("s3.credentials_file"), "{unnamed}");
}

#[tokio::test]
async fn a_key_that_is_exchanged_in_its_file_is_read_by_whoever_starts_and_is_not_shown() {
    let profiles = profile("");
    let before = Bucket::open("here@keys", &profiles.settings()).expect("it is sound");
    profiles.write("[here]\naws_access_key_id = new\naws_secret_access_key = other\naws_session_token = token\n");
    let after = Bucket::open("here@keys", &profiles.settings()).expect("it is sound");

    assert!(!format!("{:?}", before.s3.credentials()).contains("hush"));
    let read = after.s3.credentials().get_credential().await.expect("it is read");
    assert_eq!((&*read.key_id, read.token.as_deref()), ("new", Some("token")));
}

#[test]
fn limits_that_s3_does_not_keep_are_refused_by_name() {
    let check = |change: fn(&mut S3Settings), len: u64| {
        let mut settings = S3Settings::default();
        change(&mut settings);
        settings.check(len)
    };

    assert_eq!(check(|_| {}, 16 << 30), Ok(()));
    for (refused, name) in [
        (check(|s| s.part_len = 1 << 20, 1), "s3.part_len"),
        (check(|s| s.part_len = 6 << 30, 1), "s3.part_len"),
        (check(|s| s.part_len = 5 << 20, 1 << 40), "upload.bytes_max"),
        (check(|s| s.multipart_above = 6 << 30, 1), "s3.multipart_above"),
        (check(|s| s.uploads_max = 0, 1), "s3.uploads_max"),
    ] {
        assert!(refused.as_ref().is_err_and(|refused| refused.contains(name)), "{refused:?}");
    }
}

#[test]
fn of_an_answer_that_refuses_only_its_code_is_kept() {
    let answer =
        b"<Error><Code>SignatureDoesNotMatch</Code><CanonicalRequest>x-amz-security-token:hush</CanonicalRequest>";

    assert_eq!(code_in(answer), "SignatureDoesNotMatch");
    for odd in [&b""[..], b"<html>", b"<Code>", b"<Code>a b</Code>", b"<Code><x>hush</x></Code>", &[0xff; 9]] {
        assert_eq!(code_in(odd), "");
    }
}
