//! A server that is told to stop: what runs may end, what does not end is kept, and nobody holds it up.

use std::time::{Duration, Instant};

use crate::support::{Vault, noise, wait_until};

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

    rustix::process::kill_process(rustix::process::Pid::from_child(&first.child), rustix::process::Signal::TERM)
        .expect("it runs");
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
