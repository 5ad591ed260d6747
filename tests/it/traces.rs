//! Traces: what a collector is told of requests and expire runs, that it is told no secret, and that nobody waits for it.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::replicas::two;
use crate::secrecy::{CALL_ID, MARKER, NAME, canaries_in, describe, wrong_requests};
use crate::support::collector::{Collector, Mood, Span};
use crate::support::wire::{audio, metric};
use crate::support::{Client, Server, Vault, free_address, json, noise, wait_until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const SERVER: u64 = 2;
const CLIENT: u64 = 3;

fn traced() -> (Collector, Vault) {
    let collector = Collector::start();
    let mut vault = Vault::new();
    vault.env.push(collector.variable());
    (collector, vault)
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(Span::name).collect()
}

fn served(vault: &Vault, args: &[&str]) -> (Server, String) {
    let metrics = free_address();
    let server = vault.serve_with(&[&["--metrics-listen", &metrics][..], args].concat(), None);
    (server, metrics)
}

fn dropped(metrics: &str) -> f64 {
    metric(metrics, "callvault_trace_spans_dropped_total")
}

/// Every part lies within the span whose part it is, and that one was sent too.
fn assert_whole(collector: &Collector) {
    let spans = collector.spans();
    for span in spans.iter().filter(|span| !["", PARENT].contains(&span.parent())) {
        let around = spans.iter().find(|around| around.id() == span.parent() && around.trace() == span.trace());
        let around = around.unwrap_or_else(|| panic!("nobody sent the parent of {span:?}"));
        let ([from, until], [around_from, around_until]) = (span.times(), around.times());
        // Beginnings are read from a clock that may be set, and the ends from one that may not.
        let tolerance_ns = 50_000_000;
        assert!(from + tolerance_ns >= around_from && until <= around_until + tolerance_ns, "{span:?} {around:?}");
    }
}

#[test]
fn an_upload_and_a_playback_are_spans_with_their_parts_in_their_senders_trace() {
    let (collector, vault) = traced();
    let mut server = vault.serve();
    let traceparent = format!("00-{TRACE}-{PARENT}-01");

    let upload = server.put("a/call.wav", &noise(1, 600_000)).header("traceparent", &traceparent);
    let id = upload.send().id(201);
    assert_eq!(server.play(&id).len(), 600_000);
    assert_eq!(server.ask("GET", "/v1/recordings/x?limit=1").anonymous().send().status, 401);
    assert_eq!(server.ask("GET", "/no/such/place").send().status, 404);
    // What an end of the server leaves unsent would be missing.
    server.stop();

    let put = collector.one("PUT /v1/recordings/{id}");
    assert_eq!((put.trace(), put.parent(), put.kind()), (TRACE, PARENT, SERVER));
    assert_eq!(put.attribute("http.request.method"), "PUT");
    assert_eq!(put.attribute("http.route"), "/v1/recordings/{id}");
    assert_eq!(put.attribute("http.response.status_code"), "201");
    assert_eq!((put.attribute("recording.id"), put.attribute("tenant.id")), (id.clone(), "1".into()));
    assert_eq!(names(&collector.parts(&put)), ["catalog begin", "spool close", "store put", "catalog finish"]);
    assert_eq!(collector.one("store put").kind(), CLIENT);
    let get = collector.one("GET /v1/recordings/{id}/audio");
    assert!(get.parent().is_empty() && get.trace() != TRACE, "it is a trace of its own: {get:?}");
    assert_eq!((get.attribute("recording.id"), get.attribute("http.response.status_code")), (id, "200".into()));
    // The header, and the windows of 256 KiB.
    let windows = collector.parts(&get);
    assert!(windows.len() >= 3 && windows.iter().all(|part| part.name() == "store get"), "{windows:?}");
    let refused = collector.one("GET /v1/recordings/{id}");
    assert_eq!((refused.attribute("http.response.status_code"), refused.has_failed()), ("401".into(), false));
    assert_eq!((refused.attribute("tenant.id"), refused.attribute("recording.id")), (String::new(), String::new()));
    assert_eq!(collector.one("GET").attribute("http.route"), "", "an address that is nothing's has no route");
    assert_whole(&collector);
}

#[test]
fn an_expire_run_is_a_trace_of_its_steps_and_is_sent_before_the_command_ends() {
    let (collector, vault) = traced();
    let server = vault.serve();
    let id = server.put("call", b"audio").send().id(201);
    assert_eq!(server.ask("DELETE", &format!("/v1/recordings/{id}?erase=1")).send().status, 202);
    drop(server);

    vault.ok(&["expire"]);

    let run = collector.named("expire");
    assert_eq!((run.len(), run[0].parent(), run[0].has_failed()), (1, "", false));
    let steps = ["lease", "clocks", "complete", "plan", "announce", "destroy", "record", "sweep", "replicas"];
    assert_eq!(names(&collector.parts(&run[0])), steps.map(|step| format!("expire {step}")));
    let sweep = &collector.named("expire sweep")[0];
    assert_eq!(names(&collector.parts(sweep)), ["store delete"]);
    let (code, _) = vault.exit(&["expire"], Some("+40d"));
    let refused = collector.named("expire");
    assert_eq!((code, refused.len()), (4, 2));
    assert_eq!((refused[1].attribute("error.type"), refused[1].has_failed()), ("guarded".into(), true));
}

#[test]
fn a_request_that_is_passed_on_is_one_trace_over_both_servers() {
    let (mut vault, [first, second]) = two();
    let collector = Collector::start();
    vault.env.push(collector.variable());
    let (mut holder, mut other) = (first.start_without_store(&vault), second.start(&vault));
    let bytes = noise(1, 100_000);
    let id = holder.put("call", &bytes).send().id(202);
    let traceparent = format!("00-{TRACE}-{PARENT}-01");

    let heard = other.ask("GET", &audio(&id)).header("traceparent", &traceparent).send();
    assert!(heard.status == 200 && heard.body == bytes, "{heard}");
    other.stop();
    holder.stop();

    let mut heard = collector.named("GET /v1/recordings/{id}/audio");
    heard.sort_by_key(|span| span.parent() != PARENT);
    let [passed_on, answered] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((passed_on.trace(), passed_on.parent()), (TRACE, PARENT));
    assert_eq!((answered.trace(), answered.parent()), (TRACE, passed_on.id()));
    let instances: Vec<_> = collector.received().iter().map(|(_, body)| String::from_utf8_lossy(body).into()).collect();
    for name in ["vault-0", "vault-1"] {
        assert!(instances.iter().any(|body: &String| body.contains(name)), "{name} names itself");
    }
    let put = collector.one("PUT /v1/recordings/{id}");
    assert!(put.trace() != TRACE, "{put:?}");
}

#[test]
fn a_sender_who_hangs_up_leaves_a_trace_of_what_was_kept() {
    let (collector, vault) = traced();
    let server = vault.serve();
    let mut wire = server.connect();
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    wire.send(server.put("call", &noise(1, 200_000)).header("traceparent", &traceparent).head()).expect("a head");
    wire.send(noise(1, 100_000)).expect("half of it");
    wait_until("it is under way", || server.list("").iter().any(|row| row["state"] == "receiving"));

    drop(wire);

    wait_until("it is kept", || server.list("").iter().any(|row| row["state"] == "stored"));
    let put = collector.one("PUT /v1/recordings/{id}");
    assert_eq!(put.trace(), TRACE);
    assert_eq!(names(&collector.parts(&put)), ["catalog begin", "spool close", "store put", "catalog finish"]);
    assert_eq!(put.attribute("recording.id"), server.list("")[0]["id"].as_str().expect("an id"));
}

#[test]
fn a_trace_that_its_sender_does_not_want_is_not_recorded() {
    let (collector, vault) = traced();
    let mut server = vault.serve();
    let upload = |name: &str, traceparent: &str| {
        server.put(name, b"audio").header("traceparent", traceparent).send().id(201);
    };

    upload("unwanted", &format!("00-{TRACE}-{PARENT}-00"));
    upload("malformed", &format!("00-{TRACE}-{PARENT}-1"));
    server.stop();

    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace() != TRACE), "{spans:?}");
    assert_eq!(collector.one("PUT /v1/recordings/{id}").parent(), "", "what is malformed is no trace");
    assert_eq!(collector.named("store put").len(), 1);
}

#[tokio::test]
async fn canaries_reach_no_collector_of_traces() {
    let (collector, vault) = traced();
    let client = Client::new(&vault.token);
    let mut server = vault.serve();
    let upload = describe(&client, &server, "PUT", NAME).body(MARKER.repeat(3_000));
    let upload = upload.header("tracestate", format!("canary={CALL_ID}")).header("baggage", format!("call={CALL_ID}"));
    let id = json(upload.send().await.expect("sent")).await["id"].as_str().expect("an id").to_owned();
    assert_eq!(client.fetch(&server.audio(&id)).await.0, 200);
    wrong_requests(&client, &server, &id).await;
    let made = client.request("POST", &format!("{}/{id}/links", server.recordings())).send().await.expect("sent");
    let link = json(made).await["url"].as_str().expect("a link").to_owned();
    let (path, host) = (link.split_once("/v1/play/").expect("a link").1.to_owned(), &server.url);
    for url in [
        format!("{host}/v1/play/{path}"),
        format!("{host}/in/{}/{CALL_ID}.wav", vault.token),
        format!("{host}/v1/recordings?token={}", vault.token),
        format!("{host}/v1/uploads/{CALL_ID}"),
        format!("{host}/problems/{CALL_ID}"),
    ] {
        let sent = client.http.get(&url).header("traceparent", CALL_ID).send().await.expect("sent");
        sent.bytes().await.expect("a whole answer");
    }
    let odd = client.request("CANARY-NAME", &server.recordings()).send().await.expect("sent");
    assert_eq!(odd.status().as_u16(), 405);
    server.stop();
    vault.ok(&["expire"]);

    let received = collector.received();

    assert!(collector.spans().len() > 50, "{}", collector.spans().len());
    assert_eq!(collector.one("GET /v1/play/{link}").attribute("recording.id"), id);
    assert_eq!(collector.one("GET /v1/uploads/{id}").attribute("recording.id"), "");
    assert!(!collector.named("_OTHER").is_empty());
    for (head, body) in &received {
        for bytes in [head.as_bytes(), body] {
            assert_eq!(canaries_in(bytes, &vault.token), [""; 0], "{head}");
        }
        let text = String::from_utf8_lossy(body).to_lowercase();
        for secret in [&*path, "acme", "bearer", "127.0.0.1", "tracestate", "baggage", "?"] {
            assert!(!text.contains(&secret.to_lowercase()), "{secret} in {text}");
        }
    }
}

/// Uploads and plays something, and says how long the slowest answer took.
fn work(server: &Server, rounds: Range<u64>) -> Duration {
    let mut slowest = Duration::ZERO;
    for round in rounds {
        let begun = Instant::now();
        let id = server.put(&format!("call-{round}"), &noise(round, 20_000)).send().id(201);
        assert_eq!(server.play(&id).len(), 20_000);
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

#[test]
fn a_collector_that_hangs_delays_nothing_and_what_it_does_not_get_is_counted() {
    let (collector, vault) = traced();
    collector.be(Mood::Silent);
    let (mut server, metrics) = served(&vault, &["--otlp-queue-max", "16", "--otlp-timeout", "20s"]);
    let begun = Instant::now();

    let slowest = work(&server, 0..40);

    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    wait_until("it hangs", || collector.connections() == 1);
    // Each round has seven spans or more; of them all, no more than a first batch and the queue are on their way.
    work(&server, 40..60);
    assert!(dropped(&metrics) >= 100.0, "{}", dropped(&metrics));
    assert!(begun.elapsed() < Duration::from_secs(20), "the first batch is still on its way");
    let stopped = Instant::now();
    server.stop();
    assert!(stopped.elapsed() < Duration::from_secs(6), "{:?}", stopped.elapsed());
    let begun = Instant::now();
    vault.ok(&["expire"]);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(server.log_text().contains("did not reach the collector"), "{}", server.log_text());
}

#[test]
fn every_span_that_a_collector_does_not_take_is_counted_and_the_next_are_sent() {
    let (collector, vault) = traced();
    let (server, metrics) = served(&vault, &["--otlp-timeout", "300ms"]);
    for (mood, told) in [(Mood::Refusing(503), 1), (Mood::Silent, 1), (Mood::Rejecting(2), 0)] {
        let (before, connections) = (dropped(&metrics), collector.connections());
        collector.be(mood);
        server.put(&format!("{mood:?}"), b"audio").send().id(201);
        wait_until("it is asked", || collector.connections() > connections);
        wait_until("they are counted", || dropped(&metrics) > before);
        assert!(server.log_text().matches("takes no spans").count() >= told, "{mood:?}: {}", server.log_text());
    }
    collector.be(Mood::Taking);
    wait_until("it takes spans again", || {
        let count = collector.named("GET").len();
        server.ask("GET", "/nothing").send();
        std::thread::sleep(Duration::from_millis(300));
        collector.named("GET").len() > count + 1
    });
    assert!(server.log_text().contains("takes spans again"), "{}", server.log_text());
}

#[test]
fn a_collector_that_is_not_there_costs_its_spans_and_nothing_else() {
    let mut vault = Vault::new();
    vault.env.push(("CALLVAULT_OTLP_ENDPOINT".into(), format!("http://{}", free_address())));
    let (mut server, metrics) = served(&vault, &[]);

    let slowest = work(&server, 0..5);

    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    // Two requests in each round, and their parts.
    wait_until("all of them are counted", || dropped(&metrics) >= 5.0 * 7.0);
    server.stop();
    vault.ok(&["expire"]);
}

#[test]
fn nothing_is_traced_and_no_collector_is_asked_unless_a_setting_says_so() {
    let collector = Collector::start();
    let mut vault = Vault::new();
    for name in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] {
        vault.env.push((name.into(), collector.endpoint.clone()));
    }
    vault.env.push(("OTEL_TRACES_EXPORTER".into(), "otlp".into()));
    vault.env.push(("CALLVAULT_LOG".into(), "trace".into()));
    let (mut server, metrics) = served(&vault, &[]);

    work(&server, 0..2);
    assert_eq!(dropped(&metrics), 0.0);
    server.stop();
    vault.ok(&["expire"]);

    assert_eq!(collector.connections(), 0);
    assert!(!server.log_text().contains("http.request.method"), "spans are no lines of the log");
    let (code, text) = vault.exit(&["serve", "--otlp-endpoint", "http://otel.example.com:4318"], None);
    assert!(code == 2 && text.contains("otlp.endpoint"), "{code} {text}");
}
