//! Secured connections: what is agreed on in a handshake, who is let in by it, and how certificates are exchanged.
//! `tls/traffic.rs`: uploads, playback and the end of a server, over TLS in both versions of HTTP.

mod traffic;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rcgen::date_time_ymd;

use crate::support::secured::{Authority, Pair, Secured};
use crate::support::wire::{as_chunk, text};
use crate::support::{Vault, noise, wait_until};

/// Of curl: the server's certificate is not signed by whom it knows.
const CURL_UNKNOWN_AUTHORITY: i32 = 60;
/// Of an alert's record (RFC 8446 section 6).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

#[test]
fn a_client_that_knows_another_authority_sends_nothing() {
    let secured = Secured::start(&[]);
    let other = Authority::new(secured.vault.dir.path(), "other");

    let refused = secured.curl_by(&other.file, "/healthz", &[]);

    assert_eq!((refused.exit, refused.status), (CURL_UNKNOWN_AUTHORITY, 0), "{refused:?}");
    assert_eq!(secured.curl("/healthz", &[]).status, 200);
}

#[test]
fn versions_of_tls_before_1_2_are_refused() {
    let secured = Secured::start(&[]);

    let (taken, old) = (hello(&secured, 3), hello(&secured, 2));

    assert_eq!(taken[0], HANDSHAKE, "TLS 1.2 is spoken");
    assert_eq!((old[0], &old[5..7]), (ALERT, &[2, 70][..]), "TLS 1.1: fatal, protocol_version");
}

/// The first record of the answer to a hello that knows no version later than 1.`minor - 1`.
fn hello(secured: &Secured, minor: u8) -> Vec<u8> {
    let extensions: [&[u8]; 3] = [
        // Groups x25519 and secp256r1; points uncompressed; ecdsa_secp256r1_sha256 and rsa_pss_rsae_sha256.
        &[0, 10, 0, 6, 0, 4, 0, 29, 0, 23],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 6, 0, 4, 4, 3, 8, 4],
    ];
    let extensions = extensions.concat();
    // A version, a random, no session; ECDHE with AES-GCM, and with AES-CBC as it was; no compression.
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x09, 1, 0, 0, extensions.len() as u8]);
    body.extend(extensions);
    let mut record = vec![HANDSHAKE, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    record.extend(body);
    let mut wire = secured.server.connect();
    wire.send(record).expect("a hello");
    let mut answer = vec![0; 7];
    wire.0.read_exact(&mut answer).expect("a record");
    answer
}

#[test]
fn plain_http_on_a_secured_port_is_told_to_come_by_https() {
    let secured = Secured::start(&[]);

    let answer = secured.server.ask("GET", "/healthz").send();

    let problem = answer.problem(400, "bad-request");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("https://")), "{problem}");
}

#[test]
fn a_client_certificate_that_is_required_must_be_good() {
    let dir = tempfile::tempdir().expect("a directory");
    let clients = Authority::new(dir.path(), "clients");
    let authority = clients.file.to_string_lossy();
    let secured = Secured::start(&["--tls-client-ca", &authority, "--tls-client-required", "true"]);
    let good = clients.client("good", |_| {});
    let ended = clients.client("ended", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let foreign = Authority::new(secured.vault.dir.path(), "foreign").client("foreign", |_| {});

    assert_eq!(by(&secured, &good), (0, 200));
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let version: Vec<_> = version.split('=').collect();
        let refused = secured.curl("/healthz", &version);
        assert!(refused.exit != 0 && refused.status == 0, "{refused:?}");
    }
    for refused in [&ended, &foreign, &secured.pair] {
        let (exit, status) = by(&secured, refused);
        assert!(exit != 0 && status == 0, "{} was let in: {status}", refused.cert.display());
    }
}

#[test]
fn a_client_certificate_that_is_not_required_must_be_good_where_it_is_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let clients = Authority::new(dir.path(), "clients");
    let secured = Secured::start(&["--tls-client-ca", &clients.file.to_string_lossy()]);
    let good = clients.client("good", |_| {});
    let ended = clients.client("ended", |params| params.not_after = date_time_ymd(2020, 1, 1));

    assert_eq!(secured.curl("/healthz", &[]).status, 200);
    assert_eq!(by(&secured, &good), (0, 200));
    assert_eq!(by(&secured, &ended).1, 0);
}

#[test]
fn a_client_certificate_that_was_given_a_token_uploads_without_one_and_reads_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let clients = Authority::new(dir.path(), "clients");
    let secured = Secured::start(&["--tls-client-ca", &clients.file.to_string_lossy()]);
    let (pbx, other) = (clients.client("pbx", |_| {}), clients.client("other", |_| {}));
    let cert = pbx.cert.to_string_lossy().into_owned();
    let create = ["token", "create", "--tenant", "acme", "--name", "pbx", "--scope", "ingest", "--certificate", &cert];
    let made = secured.vault.ok(&create);
    let ask = |pair: &Pair, target: &str, more: &[&str]| {
        let (cert, key) = (pair.cert.to_string_lossy(), pair.key.to_string_lossy());
        let args = [&["-H", "Authorization:", "--cert", &cert, "--key", &key], more].concat();
        secured.curl(target, &args).status
    };
    let upload = ["-X", "PUT", "--data-binary", "audio"];

    for version in ["--http1.1", "--http2"] {
        let upload = [&upload[..], &[version]].concat();
        assert_eq!(ask(&pbx, &format!("/v1/recordings/{version}"), &upload), 201);
    }
    assert_eq!(ask(&other, "/v1/recordings/b", &upload), 401);
    assert_eq!(ask(&pbx, "/v1/recordings", &[]), 403);
    secured.vault.ok(&["token", "revoke", made["id"].as_str().expect("an id")]);
    assert_eq!(ask(&pbx, "/v1/recordings/c", &upload), 401);
}

/// curl's exit code and the status, of a client with this certificate.
fn by(secured: &Secured, pair: &Pair) -> (i32, u16) {
    let (cert, key) = (pair.cert.to_string_lossy(), pair.key.to_string_lossy());
    let fetched = secured.curl("/healthz", &["--cert", &cert, "--key", &key]);
    (fetched.exit, fetched.status)
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart_and_running_calls_go_on() {
    let secured = Secured::start(&[]);
    let mut call = secured.connect(&["http/1.1"]);
    call.write_all(secured.server.put("call", b"").chunked(b"", 1).head().as_bytes()).expect("a head");
    call.write_all(&as_chunk(b"before ")).expect("bytes");
    let next = Authority::new(secured.vault.dir.path(), "next");
    let renewed = next.server("renewed");
    assert_eq!(secured.curl_by(&next.file, "/healthz", &[]).exit, CURL_UNKNOWN_AUTHORITY);

    std::fs::rename(&renewed.cert, &secured.pair.cert).expect("exchanged");
    std::fs::rename(&renewed.key, &secured.pair.key).expect("exchanged");

    wait_until("the renewed certificate is served", || secured.curl_by(&next.file, "/healthz", &[]).status == 200);
    assert_eq!(secured.curl("/healthz", &[]).exit, CURL_UNKNOWN_AUTHORITY);
    call.write_all(&[as_chunk(b"and after"), as_chunk(b"")].concat()).expect("the call goes on");
    let mut answer = Vec::new();
    call.read_to_end(&mut answer).expect("an answer, and a goodbye");
    assert!(text(&answer).starts_with("HTTP/1.1 201"), "{}", text(&answer));
}

#[test]
fn a_renewed_pair_that_does_not_fit_is_told_and_the_one_before_is_served() {
    let secured = Secured::start(&[]);
    let stray = secured.authority.server("stray");

    std::fs::rename(&stray.key, &secured.pair.key).expect("exchanged");

    wait_until("it is told", || secured.server.log_text().contains("not used"));
    let log = secured.server.log_text();
    assert!(log.contains("tls.key") && !log.contains("PRIVATE KEY"), "{log}");
    assert_eq!(secured.curl("/healthz", &[]).status, 200);
    std::fs::rename(&stray.cert, &secured.pair.cert).expect("exchanged");
    wait_until("the whole pair is used", || secured.server.log_text().contains("read anew"));
    assert_eq!(secured.curl("/healthz", &[]).status, 200);
}

#[test]
fn a_pair_that_cannot_be_used_stops_the_start_and_says_why() {
    let vault = Vault::new();
    let authority = Authority::new(vault.dir.path(), "authority");
    let (pair, other) = (authority.server("server"), authority.server("other"));
    let start = |cert: &std::path::Path, key: &std::path::Path| {
        let (cert, key) = (cert.to_string_lossy(), key.to_string_lossy());
        vault.exit(&["serve", "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key], None)
    };

    std::fs::set_permissions(&pair.cert, std::fs::Permissions::from_mode(0o600)).expect("changed");
    let (code, told) = start(&pair.cert, &other.key);
    assert!(code == 2 && told.contains("tls.key") && told.contains("must be its key"), "{code}: {told}");
    let (code, told) = start(&pair.key, &pair.key);
    assert!(code == 2 && told.contains("no certificates"), "{code}: {told}");
    let (code, told) = start(&pair.cert, &pair.cert);
    assert!(code == 2 && told.contains("no private key"), "{code}: {told}");
    std::fs::set_permissions(&pair.key, std::fs::Permissions::from_mode(0o604)).expect("changed");
    let (code, told) = start(&pair.cert, &pair.key);
    assert!(code == 2 && told.contains("chmod 600"), "{code}: {told}");
}

#[test]
fn handshakes_that_do_not_go_on_hold_up_nobody_and_are_closed_in_time() {
    let secured = Secured::start(&["--upload-header-timeout", "2s"]);
    let mut silent: Vec<_> = (0..100).map(|_| secured.server.connect()).collect();
    for begun in silent.iter_mut().step_by(2) {
        begun.send([HANDSHAKE, 3, 1, 2, 0, 1]).expect("a part of a hello");
    }
    let began = Instant::now();

    let answered = secured.curl("/healthz", &[]);

    assert_eq!(answered.status, 200);
    assert!(began.elapsed() < Duration::from_millis(1_800), "it took {:?}", began.elapsed());
    for mut closed in silent {
        assert_eq!(closed.rest().unwrap_or_default(), b"");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[test]
fn a_secured_server_says_so_in_its_address_and_listens_to_any() {
    let secured = Secured::start(&["--listen", "0.0.0.0:0"]);
    assert!(secured.server.url.starts_with("https://0.0.0.0:"), "{}", secured.server.url);

    let at_home = secured.server.url.replace("0.0.0.0", "127.0.0.1");
    let mut server = secured;
    server.server.url = at_home;

    let bytes = noise(4, 10_000);
    let id = server.put("any", &bytes, &[]);
    assert!(server.play(&id, &[]).body == bytes);
}
