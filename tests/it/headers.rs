//! What stands on every answer, and what a page of another origin may read.

use std::collections::BTreeSet;

use crate::support::secured::Secured;
use crate::support::wire::{Answer, Ask, audio};
use crate::support::{Server, Vault, noise};

/// Every header that any answer may have. A new one is thought about, and then named here.
const KNOWN: [&str; 36] = [
    "accept-patch",
    "accept-ranges",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "allow",
    "cache-control",
    "connection",
    "content-disposition",
    "content-length",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "date",
    "etag",
    "location",
    "referrer-policy",
    "retry-after",
    "strict-transport-security",
    "sunset",
    "tus-checksum-algorithm",
    "tus-extension",
    "tus-max-size",
    "tus-resumable",
    "tus-version",
    "upload-complete",
    "upload-draft-interop-version",
    "upload-expires",
    "upload-length",
    "upload-limit",
    "upload-offset",
    "www-authenticate",
    "x-content-type-options",
];

/// Requests of every kind, and what each must be answered with.
fn every_kind(server: &Server) -> Vec<(Ask, u16)> {
    let bytes = noise(1, 40_000);
    let id = server.put("a", &bytes).send().id(201);
    let doomed = server.put("doomed", &bytes).send().id(201);
    let see = |target: &str| server.ask("GET", target);
    let play = || see(&audio(&id));
    let etag = play().send().header("etag").to_owned();
    let tus = || server.ask("POST", "/v1/uploads").header("Tus-Resumable", "1.0.0");
    vec![
        (see("/healthz"), 200),
        (see("/readyz"), 200),
        (see("/problems"), 200),
        (see("/problems/not-found"), 200),
        (see("/problems/none"), 404),
        (see("/nowhere"), 404),
        (see("/openapi.json"), 200),
        (see("/v1/audit"), 200),
        (see("/v1/calls"), 501),
        (see("/v1/recordings"), 200),
        (see("/v1/recordings?class=none"), 422),
        (see("/v1/recordings").anonymous(), 401),
        (see(&format!("/v1/recordings/{id}")), 200),
        (see("/v1/receipts"), 200),
        (play(), 200),
        (play().header("Range", "bytes=5-9"), 206),
        (play().header("If-None-Match", &etag), 304),
        (play().header("If-Match", "\"another\""), 412),
        (play().header("Range", "bytes=90000-"), 416),
        (server.ask("HEAD", &audio(&id)), 200),
        (server.put("a", &bytes), 200),
        (server.put("a", b"other"), 409),
        (server.put("b", &bytes).chunked(&bytes, 7_000), 201),
        (server.ask("POST", &audio(&id)), 405),
        (server.ask("OPTIONS", "/v1/uploads"), 204),
        (tus().header("Upload-Length", "9"), 201),
        (tus(), 400),
        (server.ask("POST", "/v1/uploads").header("Upload-Complete", "?0"), 201),
        (server.ask("DELETE", &format!("/v1/recordings/{doomed}")), 202),
        (see(&audio(&doomed)), 410),
    ]
}

fn assert_hardened(what: &str, answer: &Answer) {
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}: {answer}");
    assert_eq!(answer.header("referrer-policy"), "no-referrer", "{what}: {answer}");
    assert!(answer.header("cache-control").contains("no-store"), "{what}: {answer}");
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{what}: {answer}");
}

#[test]
fn every_answer_is_hardened_and_has_no_header_that_is_not_known() {
    let vault = Vault::new();
    let server = vault.serve();
    let mut seen = BTreeSet::new();

    for (ask, status) in every_kind(&server) {
        let answer = ask.clone().header("Origin", "https://portal.example.com").try_send().expect("an answer");

        let what = ask.head().lines().next().unwrap_or_default().to_owned();
        assert_eq!(answer.status, status, "{what}: {answer}");
        assert_hardened(&what, &answer);
        seen.extend(answer.headers.into_iter().map(|(name, _)| name));
    }

    let unknown: Vec<_> = seen.iter().filter(|name| !KNOWN.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let opened: Vec<_> = seen.iter().filter(|name| name.starts_with("access-control") || *name == "vary").collect();
    assert!(opened.is_empty(), "no origin is named, and an answer has {opened:?}");
    assert!(!seen.contains("strict-transport-security"), "plain HTTP may not say so (RFC 6797)");
}

#[test]
fn a_secured_answer_tells_browsers_to_stay_with_tls() {
    let secured = Secured::start(&[]);

    for target in ["/healthz", "/v1/recordings", "/nowhere", "/problems"] {
        let answer = secured.curl(target, &[]);

        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000", "{answer:?}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer:?}");
        let unknown: Vec<_> = answer.headers.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

#[test]
fn the_style_of_a_problem_page_is_the_one_that_its_policy_names() {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let vault = Vault::new();
    let server = vault.serve();

    let page = server.see("/problems");

    let text = String::from_utf8_lossy(&page.body).into_owned();
    let style = text.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).expect("a style");
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style));
    assert!(page.header("content-security-policy").contains(&format!("style-src 'sha256-{digest}'")), "{page}");
}

const PORTAL: &str = "https://portal.example.com";

fn preflight(server: &Server, target: &str, origin: &str, method: &str, headers: &str) -> Answer {
    let ask = server.ask("OPTIONS", target).anonymous().header("Origin", origin);
    ask.header("Access-Control-Request-Method", method).header("Access-Control-Request-Headers", headers).send()
}

#[test]
fn a_page_of_an_origin_that_is_named_may_ask_with_ranges_and_upload_by_tus() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--cors-origins", "http://localhost:3000,https://portal.example.com"], None);
    let id = server.put("a", b"audio").send().id(201);

    let wanted = "authorization,range,tus-resumable,upload-length,upload-metadata,callvault-reason,cookie";
    let asked = preflight(&server, &audio(&id), PORTAL, "GET", wanted);
    assert_eq!((asked.status, asked.header("access-control-allow-origin")), (204, PORTAL), "{asked}");
    let allowed: Vec<_> = asked.header("access-control-allow-headers").split(", ").collect();
    let expected = "authorization,range,tus-resumable,upload-length,upload-metadata,callvault-reason";
    assert_eq!(allowed, expected.split(',').collect::<Vec<_>>(), "{asked}");
    assert!(asked.header("access-control-allow-methods").contains("PATCH"), "{asked}");

    let played = server.ask("GET", &audio(&id)).header("Origin", PORTAL).header("Range", "bytes=1-2").send();
    assert_eq!((played.status, played.body.as_slice()), (206, b"ud".as_slice()), "{played}");
    assert_eq!((played.header("access-control-allow-origin"), played.header("vary")), (PORTAL, "origin"), "{played}");
    let exposed: Vec<_> = played.header("access-control-expose-headers").split(", ").collect();
    for needed in ["content-range", "etag", "location", "upload-offset", "upload-expires", "tus-resumable"] {
        assert!(exposed.contains(&needed), "{needed} cannot be read: {played}");
    }
    let refused = server.ask("GET", &audio(&id)).anonymous().header("Origin", PORTAL).send();
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, PORTAL), "{refused}");
    for answer in [&asked, &played, &refused] {
        assert!(answer.headers_named("access-control-allow-credentials").is_empty(), "{answer}");
        assert_hardened("of another origin", answer);
    }
}

#[test]
fn a_page_of_an_origin_that_is_not_named_may_read_nothing() {
    let vault = Vault::new();
    let (closed, open) = (vault.serve(), PORTAL);
    let told = |answer: &Answer| answer.headers.iter().any(|(name, _)| name.starts_with("access-control"));
    for target in ["/v1/recordings", "/v1/uploads", "/healthz"] {
        assert!(!told(&preflight(&closed, target, open, "GET", "authorization")), "{target}");
    }
    drop(closed);
    let server = vault.serve_with(&["--cors-origins", open], None);

    for origin in
        ["https://portal.example.com.evil.example", "http://portal.example.com", "https://evil.example", "null"]
    {
        for target in ["/v1/recordings", "/v1/uploads", "/healthz"] {
            let asked = preflight(&server, target, origin, "GET", "authorization");
            let got = server.ask("GET", target).header("Origin", origin).try_send().expect("an answer");

            assert!(!told(&asked), "{origin}: {asked}");
            assert!(!told(&got), "{origin}: {got}");
            assert_eq!(got.header("vary"), "origin", "{got}");
        }
    }
}
