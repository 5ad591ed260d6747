//! The clients that senders and listeners have: curl, sox, espeak-ng, ffmpeg and ffprobe, each in its usual ways.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::wire::audio;
use crate::support::{Server, Vault, id_of, wait_until};

#[test]
fn curl_uploads_a_file_a_pipe_and_a_body_of_any_tool_and_fetches_them_back() {
    let vault = Vault::new();
    let server = vault.serve();
    for file in [spoken(&vault), by_sox(&vault), by_ffmpeg(&vault, 2)] {
        let bytes = std::fs::read(&file).expect("a file");
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let path = file.to_str().expect("UTF-8");
        let url = |kind: &str| format!("{}/{kind}/{name}", server.recordings());

        let put = curl(&vault, &["-H", "Content-Type: audio/wav", "-T", path, &url("file")], b"");
        let piped = curl(&vault, &["-H", "Content-Type: audio/wav", "-T", "-", &url("pipe")], &bytes);
        let posted = curl(&vault, &["--data-binary", &format!("@{path}"), &server.recordings()], b"");

        for uploaded in [put, piped, posted] {
            let recording: serde_json::Value = serde_json::from_slice(&uploaded).expect("JSON");
            assert_eq!((&recording["bytes"], &recording["complete"]), (&bytes.len().into(), &true.into()));
            let fetched = curl(&vault, &[&server.audio(&id_of(&recording))], b"");
            assert!(fetched == bytes, "{name} came back changed");
            let part = curl(&vault, &["-r", "100-20000", &server.audio(&id_of(&recording))], b"");
            assert!(part == bytes[100..=20_000.min(bytes.len() - 1)], "a part of {name} came back changed");
        }
    }
}

#[test]
fn ffmpeg_streams_a_call_while_it_goes_on_and_it_plays_back_as_it_was_sent() {
    let vault = Vault::new();
    let server = vault.serve();
    let copy = vault.dir.path().join("copy.wav");
    let url = format!("{}/live.wav", server.recordings());
    let header = format!("Authorization: Bearer {}\r\n", vault.token);
    // Both outputs are no files to ffmpeg: it cannot go back to write the length into either header.
    let source = ["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=8000:duration=3"];
    let upload = ["-f", "wav", "-method", "PUT", "-headers", header.as_str(), url.as_str()];
    let both = [&["-v", "error", "-nostdin"][..], &source, &upload, &["-f", "wav", "pipe:1"]].concat();

    let sent = run("ffmpeg", Command::new("ffmpeg").args(both).stdin(Stdio::null()));

    std::fs::write(&copy, &sent).expect("a file");
    // ffmpeg ends without waiting for the answer.
    wait_until("the upload has ended", || server.list("state=receiving").is_empty());
    let listed = server.list("");
    assert_eq!((listed.len(), &listed[0]["complete"]), (1, &true.into()), "{listed:?}");
    let id = id_of(&listed[0]);
    let raw = server.see(&format!("{}?raw=1", audio(&id))).body;
    assert_eq!(raw.len(), sent.len());
    assert!(raw == sent, "what was kept is not what ffmpeg sent");
    assert!(pcm_over_http(&vault, &server, &id, "0") == pcm(&copy, "0"));
}

#[test]
fn ffmpeg_seeks_in_a_recording_as_in_a_file() {
    let vault = Vault::new();
    let server = vault.serve();
    let file = by_ffmpeg(&vault, 60);
    let bytes = std::fs::read(&file).expect("a file");
    let id = server.put("long.wav", &bytes).header("Content-Type", "audio/wav").send().id(201);

    for from in ["0", "2", "31.25", "59.9"] {
        let cut = pcm(&file, from);
        assert!(!cut.is_empty());
        assert!(pcm_over_http(&vault, &server, &id, from) == cut, "from {from} s on");
    }
    let probe = |input: &str, headers: &[&str]| {
        let args = ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"];
        run("ffprobe", Command::new("ffprobe").args(args).args(headers).arg(input))
    };
    let authorization = format!("Authorization: Bearer {}\r\n", vault.token);
    let over_http = probe(&server.audio(&id), &["-headers", &authorization]);
    assert_eq!(over_http, probe(file.to_str().expect("UTF-8"), &[]));
    assert_eq!(String::from_utf8_lossy(&over_http).trim(), "60.000000");
}

#[test]
fn a_player_that_knows_only_a_user_and_a_password_plays() {
    let vault = Vault::new();
    let server = vault.serve();
    let file = by_ffmpeg(&vault, 2);
    let id = server.put("a.wav", &std::fs::read(&file).expect("a file")).send().id(201);
    let url = server.audio(&id).replace("http://", &format!("http://acme:{}@", vault.token));

    let played =
        run("ffmpeg", Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-i", &url, "-f", "s16le", "-"]));

    assert!(played == pcm(&file, "0"));
}

fn pcm(file: &Path, from: &str) -> Vec<u8> {
    let args = ["-v", "error", "-nostdin", "-ss", from, "-i"];
    run("ffmpeg", Command::new("ffmpeg").args(args).arg(file).args(["-f", "s16le", "-"]))
}

fn pcm_over_http(vault: &Vault, server: &Server, id: &str, from: &str) -> Vec<u8> {
    let authorization = format!("Authorization: Bearer {}\r\n", vault.token);
    let args = ["-v", "error", "-nostdin", "-ss", from, "-headers", &authorization, "-i", &server.audio(id)];
    run("ffmpeg", Command::new("ffmpeg").args(args).args(["-f", "s16le", "-"]))
}

fn spoken(vault: &Vault) -> PathBuf {
    let path = vault.dir.path().join("spoken.wav");
    run("espeak-ng", Command::new("espeak-ng").arg("-w").arg(&path).arg("This call is recorded for training."));
    path
}

fn by_sox(vault: &Vault) -> PathBuf {
    let path = vault.dir.path().join("sox.wav");
    let make = ["-n", "-r", "8000", "-c", "2", "-e", "a-law"];
    run("sox", Command::new("sox").args(make).arg(&path).args(["synth", "3", "sine", "300-600"]));
    path
}

fn by_ffmpeg(vault: &Vault, seconds: u32) -> PathBuf {
    let path = vault.dir.path().join(format!("ffmpeg-{seconds}.wav"));
    let source = format!("anoisesrc=seed=7:sample_rate=8000:duration={seconds}");
    let args = ["-v", "error", "-nostdin", "-f", "lavfi", "-i", &source, "-c:a", "pcm_s16le"];
    run("ffmpeg", Command::new("ffmpeg").args(args).arg(&path));
    path
}

/// curl with the vault's token; what it wrote to stdout.
fn curl(vault: &Vault, args: &[&str], input: &[u8]) -> Vec<u8> {
    let header = format!("Authorization: Bearer {}", vault.token);
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail-with-body", "-H", &header]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| missing("curl", &error));
    child.stdin.take().expect("a pipe").write_all(input).expect("curl reads its input");
    finished("curl", child.wait_with_output().expect("curl ends"))
}

fn run(tool: &str, command: &mut Command) -> Vec<u8> {
    finished(tool, command.output().unwrap_or_else(|error| missing(tool, &error)))
}

fn finished(tool: &str, output: Output) -> Vec<u8> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} ended with {}: {stderr}", output.status);
    output.stdout
}

fn missing(tool: &str, error: &std::io::Error) -> ! {
    panic!("{tool} does not run ({error}): these tests need the tools that the README's test command installs")
}
