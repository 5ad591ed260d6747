//! A server that is told to stop: what runs may end, what does not end is kept, and nobody holds it up.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::wire::{Ask, Wire, as_chunk, metric};
use crate::support::{Server, Vault, free_address, id_of, noise, wait_until};

/// A server that needs no longer than this to end did not wait for anything.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A call that has begun, with these bytes of it.
fn call(server: &Server, name: &str, bytes: &[u8]) -> Wire {
    let mut wire = server.connect();
    wire.send(server.put(name, b"").chunked(b"", 1).head()).expect("a head");
    wire.send(as_chunk(bytes)).expect("bytes");
    wait_until("the call is under way", || {
        server.list("state=receiving&limit=1000").iter().any(|one| one["name"] == name)
    });
    wire
}

fn drain(server: &Server) {
    server.signal(Signal::TERM);
    wait_until("the server drains", || server.see("/readyz").status == 503);
}

fn tus(server: &Server, method: &str, target: &str) -> Ask {
    server.ask(method, target).header("Tus-Resumable", "1.0.0")
}

/// The address of a new upload whose length is not known yet.
fn begin_tus(server: &Server) -> String {
    let begun = tus(server, "POST", "/v1/uploads").header("Upload-Defer-Length", "1").body(b"").send();
    assert_eq!(begun.status, 201, "{begun}");
    begun.header("location").to_owned()
}

fn patch(server: &Server, at: &str, offset: usize) -> Ask {
    let ask = tus(server, "PATCH", at).header("Content-Type", "application/offset+octet-stream");
    ask.header("Upload-Offset", &offset.to_string())
}

#[test]
fn a_server_that_drains_is_not_ready_and_takes_no_upload_but_answers_everything_else() {
    let vault = Vault::new();
    let mut server = vault.serve_with(&["--drain-timeout", "60s"], None);
    let bytes = noise(1, 50_000);
    let known = server.put("known", b"audio").send().id(201);
    let open = begin_tus(&server);
    let mut running = call(&server, "running", &bytes[..20_000]);

    drain(&server);

    let readiness = server.see("/readyz");
    assert_eq!((readiness.status, &readiness.json()["draining"]), (503, &true.into()), "{readiness}");
    let body = noise(2, 3_000_000);
    let ietf = server.ask("POST", "/v1/uploads").header("Upload-Complete", "?0");
    let refused = [
        server.put("new", &body),
        server.ask("PUT", "/v1/recordings/chunked").chunked(&body, 100_000),
        server.put("known", b"audio"),
        server.ask("POST", "/v1/recordings").body(&body),
        tus(&server, "POST", "/v1/uploads").header("Upload-Defer-Length", "1").body(b""),
        ietf.body(b""),
        patch(&server, &open, 0).body(&body),
    ];
    for ask in refused {
        let answer = ask.send();
        answer.problem(503, "draining");
        assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{answer}");
    }
    let mut waiting = server.connect();
    waiting.send(server.put("new", &body).header("Expect", "100-continue").head()).expect("a head");
    waiting.answer().expect("an answer, and no leave to send").problem(503, "draining");
    assert_eq!(server.see("/healthz").status, 200);
    assert_eq!(server.play(&known), b"audio");
    assert_eq!(tus(&server, "HEAD", &open).send().header("upload-offset"), "0");
    assert_eq!(server.list("state=stored").len(), 1);

    running.send(as_chunk(&bytes[20_000..])).expect("the call goes on");
    running.send("0\r\n\r\n").expect("the call ends");
    let id = running.answer().expect("an answer").id(201);
    let ended = Instant::now();
    server.wait();
    assert!(ended.elapsed() < AT_ONCE, "it took {:?}", ended.elapsed());
    let server = vault.serve();
    assert!(server.play(&id) == bytes);
    assert_eq!((&server.show(&id)["complete"], server.list("state=stored").len()), (&true.into(), 2));
}

#[test]
fn calls_that_do_not_end_are_kept_to_their_last_byte_and_told_where_to_go_on() {
    let vault = Vault::new();
    let mut server = vault.serve_with(&["--drain-timeout", "2s"], None);
    let bytes = noise(3, 30_000);
    let mut calls: Vec<_> = (0..50).map(|n| (call(&server, &format!("call-{n}"), &bytes[..9_000]), 9_000)).collect();
    let mut silent = server.connect();
    silent.send(server.put("silent", &bytes).head()).expect("a head");

    drain(&server);
    let began = Instant::now();
    let mut turn = 0;
    while began.elapsed() < Duration::from_millis(1_700) {
        let count = calls.len();
        let (wire, sent) = &mut calls[turn % count];
        wire.send(as_chunk(&bytes[*sent..*sent + 100])).expect("the call goes on");
        *sent += 100;
        turn += 1;
        std::thread::sleep(Duration::from_millis(2));
    }

    let calls: Vec<_> = calls.into_iter().map(|(wire, sent)| (wire.answer().expect("an answer"), sent)).collect();
    for (answer, sent) in &calls {
        assert_eq!(answer.problem(503, "draining")["offset"], *sent);
    }
    silent.answer().expect("an answer").problem(503, "draining");
    server.wait();
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    let server = vault.serve();
    let listed = server.list("limit=1000");
    assert_eq!(listed.len(), calls.len(), "of the upload without a byte nothing is kept");
    for (number, (_, sent)) in calls.iter().enumerate() {
        let kept = listed.iter().find(|one| one["name"] == format!("call-{number}")).expect("it is kept");
        assert_eq!((&kept["complete"], &kept["bytes"]), (&false.into(), &(*sent).into()));
        assert!(server.play(&id_of(kept)) == bytes[..*sent]);
    }
}

#[test]
fn a_resumable_upload_that_the_drain_cuts_goes_on_after_the_restart_where_it_was() {
    let vault = Vault::new();
    let mut server = vault.serve_with(&["--drain-timeout", "1500ms"], None);
    let bytes = noise(4, 400_000);
    let at = begin_tus(&server);
    let mut wire = server.connect();
    wire.send(patch(&server, &at, 0).chunked(b"", 1).head()).expect("a head");
    wire.send(as_chunk(&bytes[..1_000])).expect("bytes");
    wait_until("the upload is under way", || !server.list("state=receiving").is_empty());

    drain(&server);
    let mut sent = vec![(Instant::now(), 1_000)];
    while !wire.is_answered() {
        let from = sent.last().expect("the first").1;
        wire.send(as_chunk(&bytes[from..from + 400])).expect("it is not answered yet");
        sent.push((Instant::now(), from + 400));
        std::thread::sleep(Duration::from_millis(20));
    }
    let cut_at = Instant::now();
    let cut = wire.answer().expect("an answer");
    cut.problem(503, "draining");
    server.wait();

    let metrics = free_address();
    let server = vault.serve_with(&["--metrics-listen", &metrics], None);
    let waits = || (metric(&metrics, "callvault_spool_leftovers"), metric(&metrics, "callvault_uploads_open"));
    assert_eq!(waits(), (1.0, 0.0));
    let asked = tus(&server, "HEAD", &at).send();
    assert_eq!(waits(), (0.0, 1.0));
    let offset: usize = asked.header("upload-offset").parse().expect("an offset");
    let before = |instant: Instant| sent.iter().take_while(|(at, _)| *at < instant).last().map_or(0, |(_, len)| *len);
    let must = before(cut_at - Duration::from_secs(1));
    assert!(must > 10_000 && offset >= must, "{offset} of {must} bytes were kept");
    assert_eq!(cut.header("upload-offset"), offset.to_string());
    let rest =
        patch(&server, &at, offset).header("Upload-Length", &bytes.len().to_string()).body(&bytes[offset..]).send();
    assert_eq!(rest.status, 204, "{rest}");
    let listed = server.list("");
    assert_eq!((listed.len(), &listed[0]["complete"]), (1, &true.into()));
    assert!(server.play(&id_of(&listed[0])) == bytes);
}

#[test]
fn an_upload_at_full_speed_does_not_outlast_the_drain() {
    let vault = Vault::new();
    let mut server = vault.serve_with(&["--drain-timeout", "1s"], None);
    let piece = noise(5, 1 << 20);
    let mut wire = server.connect();
    wire.send(server.put("endless", b"").chunked(b"", 1).head()).expect("a head");
    let sender = std::thread::spawn(move || {
        let mut sent = 0_u64;
        while wire.send(as_chunk(&piece)).is_ok() {
            sent += piece.len() as u64;
        }
        sent
    });
    wait_until("the upload is under way", || !server.list("state=receiving").is_empty());
    let began = Instant::now();

    server.stop();

    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    let sent = sender.join().expect("the sender ends");
    let server = vault.serve();
    let kept = &server.list("")[0];
    assert_eq!(kept["complete"], false);
    assert!((1..=sent + (1 << 20)).contains(&kept["bytes"].as_u64().expect("a length")), "{kept}");
}

#[test]
fn connections_without_a_request_are_closed_when_the_drain_begins() {
    let vault = Vault::new();
    let mut server = vault.serve_with(&["--drain-timeout", "60s"], None);
    let mut idle = server.connect();
    idle.send(server.ask("GET", "/healthz").head().replace("Connection: close\r\n", "")).expect("a head");
    idle.until(b"ok\n");
    let mut half_a_head = server.connect();
    half_a_head.send("GET /healthz HTTP/1.1\r\nX: ").expect("half a head");
    let mut running = call(&server, "running", b"au");

    drain(&server);

    let began = Instant::now();
    assert_eq!(idle.rest().expect("it is closed"), b"");
    assert_eq!(half_a_head.rest().unwrap_or_default(), b"");
    assert!(began.elapsed() < AT_ONCE, "it took {:?}", began.elapsed());
    let late = server.connect();
    running.send("3\r\ndio\r\n0\r\n\r\n").expect("the call ends");
    running.answer().expect("an answer").id(201);
    let ended = Instant::now();
    server.wait();
    assert!(ended.elapsed() < AT_ONCE, "it took {:?}", ended.elapsed());
    drop(late);
}

#[test]
fn an_upload_that_does_not_end_in_time_is_kept_as_far_as_it_came() {
    let vault = Vault::new();
    let mut server = vault.serve_with(&["--drain-timeout", "1s"], None);
    let bytes = noise(1, 100_000);
    let mut running = server.connect();
    running.send(server.put("a", &bytes).head()).expect("a head");
    running.send(&bytes[..60_000]).expect("bytes");
    wait_until("the upload is under way", || !server.list("state=receiving").is_empty());
    std::thread::sleep(Duration::from_millis(200));

    server.stop();

    let server = vault.serve();
    let listed = server.list("");
    assert_eq!((listed.len(), &listed[0]["complete"], &listed[0]["bytes"]), (1, &false.into(), &60_000.into()));
    assert!(server.play(listed[0]["id"].as_str().expect("an id")) == bytes[..60_000]);
    server.put("a", &bytes).send().id(200);
}

#[test]
fn connections_that_say_nothing_do_not_hold_up_the_end() {
    let vault = Vault::new();
    let mut server = vault.serve();
    let mut kept = server.connect();
    kept.send(server.ask("GET", "/healthz").head().replace("Connection: close\r\n", "")).expect("a head");
    kept.until(b"ok\n");
    let silent = server.connect();
    let started = Instant::now();

    server.stop();

    assert!(started.elapsed() < Duration::from_secs(2), "it took {:?}", started.elapsed());
    drop((kept, silent));
}

#[test]
fn a_server_that_starts_while_another_stops_waits_for_its_uploads() {
    let vault = Vault::new();
    let first = vault.serve_with(&["--drain-timeout", "5s"], None);
    let bytes = noise(2, 100_000);
    let mut running = first.connect();
    running.send(first.put("a", &bytes).head()).expect("a head");
    running.send(&bytes[..60_000]).expect("bytes");
    wait_until("the upload is under way", || !first.list("state=receiving").is_empty());

    first.signal(Signal::TERM);
    let second = std::thread::scope(|scope| {
        let starting = scope.spawn(|| vault.serve());
        std::thread::sleep(Duration::from_millis(500));
        running.send(&bytes[60_000..]).expect("the upload goes on");
        running.until(b"\r\n\r\n");
        starting.join().expect("it starts when the first has ended")
    });

    let listed = second.list("");
    assert_eq!((listed.len(), &listed[0]["complete"], &listed[0]["bytes"]), (1, &true.into(), &100_000.into()));
    assert!(second.play(listed[0]["id"].as_str().expect("an id")) == bytes);
}
