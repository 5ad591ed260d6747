//! The promise as a whole: what goes in comes out, and when its term ends it is gone.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::support::{Client, Vault, binary, files, id_of, noise, wait_until};

#[tokio::test]
async fn a_recording_goes_in_plays_back_and_dies() {
    let vault = Vault::new();
    let client = Client::new(&vault.token);
    let audio = noise(1, 100_000);
    let id = {
        let server = vault.serve();
        let id = id_of(&client.upload(&server, "call.wav", audio.clone()).await);
        assert_eq!(client.fetch(&server.audio(&id)).await, (200, audio));
        id
    };

    let late = vault.serve_with(&[], Some("+31d"));
    assert_eq!(client.fetch(&late.audio(&id)).await.0, 410);
    drop(late);
    let floor = (crate::support::held::now() + jiff::SignedDuration::from_hours(32 * 24)).to_string();
    let report = vault.ok_at(&["expire", "--floor", &floor], Some("+32d"));

    assert_eq!(report["keys_destroyed"], 1);
    let listed = vault.ok_at(&["recording", "list", "--state", "shredded"], Some("+32d"));
    assert_eq!(listed["recordings"][0]["id"], id.as_str());
}

#[tokio::test]
async fn a_server_destroys_what_was_erased_at_its_next_interval_by_itself() {
    let vault = Vault::new();
    let client = Client::new(&vault.token);
    let server = vault.serve_with(&["--expire-every", "1s"], None);
    let id = id_of(&client.upload(&server, "call.wav", noise(1, 1_000)).await);

    let url = format!("{}/{id}?erase=1", server.recordings());
    assert_eq!(client.request("DELETE", &url).send().await.expect("an answer").status(), 202);

    wait_until("the ring has gone on", || vault.path().join("keys/ring.2").exists());
    wait_until("the old ring is gone", || !vault.path().join("keys/ring.1").exists());
    wait_until("the object is swept", || files(&vault.path().join("objects")).is_empty());
    wait_until("the receipt is written", || vault.ok(&["receipts", "verify"])["receipts"] == 1);
}

#[test]
fn quickstart_shows_a_recording_that_plays_and_one_that_dies_and_runs_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for run in 1..=2 {
        let mut command = Command::new(binary());
        command.arg("quickstart").args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]);
        let mut child = command.current_dir(&dir).stdout(Stdio::piped()).spawn().expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut shown = String::new();
        for line in lines.map_while(Result::ok) {
            shown += &line;
            if line.starts_with("Serving on") {
                break;
            }
        }
        let url = shown.split_once("Serving on http://").and_then(|(_, rest)| rest.split(' ').next());
        let health = url.and_then(|address| TcpStream::connect(address).ok());
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
            .expect("it runs");
        let ended = child.wait().expect("it ends");

        assert!(health.is_some() && ended.success(), "run {run}: {shown}");
        assert!(shown.contains("the same to the last bit") && shown.contains("410 Gone"), "run {run}: {shown}");
    }
}
