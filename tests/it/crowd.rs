//! More clients than fit: a limit is told at the start, those who are there are not harmed, and the others wait.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::wire::{Wire, as_chunk};
use crate::support::{Server, Vault, id_of, noise, wait_until};

fn open_files_max(server: &Server) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.child.id())).expect("the server runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    line.split_whitespace().nth(3).expect("a soft limit").to_owned()
}

#[test]
fn the_soft_limit_of_open_files_is_raised_and_a_hard_one_that_is_too_low_is_told() {
    let vault = Vault::new();

    let mut server = vault.serve_behind("ulimit -n 2000; ulimit -Sn 300", &["--upload-count-max", "1000"]);
    assert_eq!(open_files_max(&server), "2000");
    assert!(!server.log_text().contains("files open"), "{}", server.log_text());
    server.stop();

    let server = vault.serve_behind("ulimit -n 1000", &[]);
    let log = server.log_text();
    assert!(log.contains("840 uploads") && log.contains("10160") && log.contains("LimitNOFILE"), "{log}");
}

const CALLS: usize = 60;

#[test]
fn more_clients_than_open_files_allow_harm_nobody_who_is_there() {
    let vault = Vault::new();
    let server = vault.serve_behind("ulimit -n 256", &["--upload-header-timeout", "2s"]);
    let bytes = noise(1, 90_000);
    let mut calls: Vec<Wire> = (0..CALLS)
        .map(|number| {
            let mut wire = server.connect();
            wire.send(server.put(&format!("call-{number}"), b"").chunked(b"", 1).head()).expect("a head");
            wire
        })
        .collect();
    wait_until("all calls are under way", || server.list("state=receiving&limit=1000").len() == CALLS);

    let crowd: Vec<Wire> = (0..400).map(|_| server.connect()).collect();
    // Each piece fills a chunk, for which a segment is opened.
    for piece in bytes.chunks(18_000) {
        calls.iter_mut().for_each(|wire| wire.send(as_chunk(piece)).expect("the call goes on"));
        std::thread::sleep(Duration::from_millis(150));
    }
    calls.iter_mut().for_each(|wire| wire.send("0\r\n\r\n").expect("the call ends"));
    let ids: Vec<_> = calls.into_iter().map(|wire| wire.answer().expect("an answer").id(201)).collect();
    drop(crowd);

    for id in ids {
        assert!(server.play(&id) == bytes);
    }
    server.put("later", &bytes).send().id(201);
    let log = server.log_text();
    assert_eq!(log.matches("they wait").count(), 1, "{log}");
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn uploads_at_full_speed_beyond_the_open_files_are_taken_one_after_the_other() {
    let vault = Vault::new();
    let server = vault.serve_behind("ulimit -n 256", &[]);
    let bytes = noise(2, 2_000_000);

    std::thread::scope(|scope| {
        for number in 0..200 {
            let (server, bytes) = (&server, &bytes);
            scope.spawn(move || server.put(&format!("file-{number}"), bytes).send().id(201));
        }
    });

    let listed = server.list("limit=1000");
    assert_eq!(listed.len(), 200);
    assert!(server.play(&id_of(&listed[99])) == bytes);
    assert!(!server.log_text().contains("ERROR"), "{}", server.log_text());
}

#[test]
fn a_burst_of_connections_waits_and_none_of_them_tries_again() {
    let vault = Vault::new();
    let server = vault.serve();
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a limit of the kernel");
    let count = somaxconn.trim().parse::<usize>().expect("a number").min(3_000);
    let address: SocketAddr = server.address().parse().expect("an address");
    // A server that is busy takes nobody in.
    server.signal(Signal::STOP);

    // A connection that is not taken into the backlog is tried again after a second.
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(900)).ok();
    let burst: Vec<TcpStream> = (0..count).map_while(connect).collect();

    assert_eq!(burst.len(), count, "the backlog is full");
    server.signal(Signal::CONT);
    drop(burst);
    assert_eq!(server.see("/healthz").status, 200);
}
