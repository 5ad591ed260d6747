//! The clients that people have for uploads in pieces, behind a line that breaks all the time: tus-js-client, tuspy, and curl
//! for the dialect of the IETF.

mod line;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::slow::Dice;
use crate::support::{Server, Vault, noise};
use line::BadLine;

const LEN: usize = 700_000;
const PATIENCE_S: &str = "60";

#[test]
fn tus_js_client_goes_on_after_every_cut_in_each_of_its_ways() {
    let vault = Vault::new();
    let server = vault.serve();
    let mut dice = Dice::thrown();
    for how in ["whole", "pieces", "first", "live", "posts"] {
        let (file, bytes) = made(&vault, how, &mut dice);
        let line = BadLine::to(server.address(), dice.next());

        let mut node = patient("node");
        node.arg(script("upload.js")).env("NODE_PATH", installed("node_modules"));
        let at = address(run("node", node.args(arguments(&line, &vault, &file, how))));

        assert_is_whole(&server, &at, &bytes, how);
        println!("{how}: {} cuts", line.cuts());
    }
}

#[test]
fn tuspy_goes_on_after_every_cut_with_checksums_and_without() {
    let vault = Vault::new();
    let server = vault.serve();
    let mut dice = Dice::thrown();
    for how in ["plain", "checksum"] {
        let (file, bytes) = made(&vault, how, &mut dice);
        let line = BadLine::to(server.address(), dice.next());

        let mut python = patient("python3");
        python.arg(script("upload.py")).env("PYTHONPATH", installed("python"));
        let at = address(run("python3", python.args(arguments(&line, &vault, &file, how))));

        assert_is_whole(&server, &at, &bytes, how);
        println!("{how}: {} cuts", line.cuts());
    }
}

#[test]
fn curl_goes_on_after_every_cut_in_the_dialect_of_the_ietf() {
    let vault = Vault::new();
    let server = vault.serve();
    let mut dice = Dice::thrown();
    let (file, bytes) = made(&vault, "curl", &mut dice);
    let line = BadLine::to(server.address(), dice.next());
    let token = format!("Authorization: Bearer {}", vault.token);
    let curl = |args: &[&str]| {
        let mut command = patient("curl");
        command.args(["-sS", "-D", "-", "-o", "/dev/null", "-H", &token]).args(args);
        let output = command.output().unwrap_or_else(|error| panic!("curl does not run: {error}"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };

    let created = || curl(&["-X", "POST", "-H", "Upload-Complete: ?0", &format!("{}?name=curl", line.endpoint())]);
    let at = repeated(|| header(&created(), "location").map(str::to_owned));
    let url = format!("http://{}{at}", line.address);
    let rest = vault.beside("rest");
    repeated(|| {
        let told = curl(&["-I", &url]);
        let offset: usize = header(&told, "upload-offset")?.parse().ok()?;
        if header(&told, "upload-complete")? == "?1" {
            return Some(());
        }
        std::fs::write(&rest, &bytes[offset..]).expect("a file");
        let offset = format!("Upload-Offset: {offset}");
        let piece = ["-X", "PATCH", "-H", "Upload-Complete: ?1", "-H", "Content-Type: application/partial-upload"];
        curl(&[&piece[..], &["-H", &offset, "--data-binary", &format!("@{}", rest.display()), &url]].concat());
        None
    });

    assert_is_whole(&server, &at, &std::fs::read(file).expect("a file"), "curl");
    println!("curl: {} cuts", line.cuts());
}

/// Until it gives something.
fn repeated<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let found = (0..1_000).find_map(|_| attempt());
    found.expect("a line that is cut after so many bytes lets some through")
}

/// A header of the last answer that came whole.
fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (heads, _) = text.rsplit_once("\r\n\r\n")?;
    let last = heads.rsplit("\r\n\r\n").next()?;
    let mut lines = last.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn made(vault: &Vault, name: &str, dice: &mut Dice) -> (PathBuf, Vec<u8>) {
    let (file, bytes) = (vault.beside(&format!("{name}.wav")), noise(dice.next(), LEN));
    std::fs::write(&file, &bytes).expect("a file");
    (file, bytes)
}

fn arguments(line: &BadLine, vault: &Vault, file: &Path, how: &str) -> [String; 5] {
    let name = format!("clients/{how}.wav");
    [line.endpoint(), vault.token.clone(), file.display().to_string(), name, how.to_owned()]
}

fn assert_is_whole(server: &Server, at: &str, bytes: &[u8], how: &str) {
    let id = at.strip_prefix("/v1/uploads/").unwrap_or_else(|| panic!("{how}: no upload's address: {at}"));
    assert!(server.play(id) == bytes, "{how}: what was kept is not what was sent");
    assert_eq!(server.show(id)["complete"], true, "{how}");
}

fn address(output: Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tus_clients").join(name)
}

/// Where `tests/run` puts the clients.
fn installed(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-clients").join(name);
    assert!(path.is_dir(), "the clients are not installed: tests/run does it");
    path
}

/// A program that is ended when it hangs.
fn patient(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args([PATIENCE_S, program]);
    command
}

fn run(tool: &str, command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{tool} does not run: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} ended with {}: {stderr}", output.status);
    output
}
