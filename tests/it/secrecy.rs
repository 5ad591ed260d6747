//! Promise 2: audio, numbers, names and tokens reach no file, no log, no metric and no error text.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::support::{Client, Server, Vault, files, free_address, json, wait_until};

const A_NUMBER: &str = "+31655501234";
const B_NUMBER: &str = "+31655505678";
pub const CALL_ID: &str = "canary-call-31655509012";
const EXTENSION: &str = "canary-ext-4711";
pub const NAME: &str = "canary-name/31655503456.wav";
const HEADER: &str = "canary-header-8899";
/// 64 bytes that stand for audio.
pub const MARKER: &[u8; 64] = b"CANARY-AUDIO-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJK!!";

#[tokio::test]
async fn canaries_reach_no_file_no_log_no_metric_and_no_error_text() {
    let mut vault = Vault::new();
    vault.env.push(("CALLVAULT_LOG".into(), "trace".into()));
    let client = Client::new(&vault.token);
    let mut watched = Watched::default();
    let (audio, metrics) = (MARKER.repeat(3_000), free_address());
    {
        let mut server = vault.serve_with(&["--metrics-listen", &metrics], None);
        let recording =
            json(describe(&client, &server, "PUT", NAME).body(audio.clone()).send().await.expect("sent")).await;
        assert_eq!(recording["call"]["a_number"], A_NUMBER, "{recording}");
        let id = recording["id"].as_str().expect("an id").to_owned();
        for query in [format!("number={}", A_NUMBER.replace('+', "%2B")), format!("call_id={CALL_ID}")] {
            let page = json(client.get(&format!("{}?{query}", server.recordings())).await).await;
            assert_eq!(page["recordings"][0]["id"], id.as_str(), "{page}");
        }
        assert_eq!(client.fetch(&server.audio(&id)).await, (200, audio.clone()));
        // A person may type anything as his reason; one that holds a number is not taken.
        let reason = format!("called back on {A_NUMBER}");
        let played = client.request("GET", &server.audio(&id)).header("callvault-reason", reason).send().await;
        assert!(played.expect("sent").status().is_client_error());
        let trail = json(client.get(&format!("{}/v1/audit?action=play", server.url)).await).await;
        assert_eq!(trail["entries"][0]["entry"]["problem"], "reason-needed", "{trail}");
        watched.commands(
            &vault,
            &[&["audit", "export", "--tenant", "acme"], &["audit", "export", "--house"], &["audit", "verify"]],
        );
        for answer in wrong_requests(&client, &server, &id).await {
            watched.texts.push(("an error".into(), answer));
        }
        watched.commands(&vault, &[&["recording", "list"], &["status"], &["verify"], &["token", "list"]]);
        // One that is cut off and salvaged, one that is deleted, one that is erased.
        send_half(&vault, &server, &audio);
        for (name, query) in [("canary-deleted", ""), ("canary-erased", "?erase=1")] {
            let answer = describe(&client, &server, "PUT", name).body(audio.clone()).send().await.expect("sent");
            let id = json(answer).await["id"].as_str().expect("an id").to_owned();
            watched.look(&vault);
            let ended = client.request("DELETE", &format!("{}/{id}{query}", server.recordings())).send().await;
            watched.texts.push(("an ending".into(), ended.expect("sent").text().await.expect("a text")));
            watched
                .texts
                .push(("a gone one".into(), client.get(&server.audio(&id)).await.text().await.expect("a text")));
        }
        watched.look(&vault);
        wait_until("the half upload is in the spool", || !files(&vault.path().join("spool")).is_empty());
        watched.metrics(&metrics).await;
        server.kill();
        watched.log(&server);
        watched.look(&vault);
    }
    let mut server = vault.serve_with(&["--metrics-listen", &metrics], None);
    let page = json(client.get(&server.recordings()).await).await;
    assert_eq!(page["recordings"].as_array().map(Vec::len), Some(2), "the whole one and the salvaged one: {page}");
    watched.metrics(&metrics).await;
    server.stop();
    watched.log(&server);
    watched.look(&vault);
    let floor = (crate::support::held::now() + jiff::SignedDuration::from_hours(32 * 24)).to_string();
    for (args, at) in [(&["expire"][..], None), (&["expire", "--floor", &floor], Some("+33d"))] {
        let output = vault.command(args, at).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        watched.texts.push((format!("{args:?}"), String::from_utf8_lossy(&output.stderr).into_owned()));
        watched.texts.push((format!("{args:?}"), String::from_utf8_lossy(&output.stdout).into_owned()));
        watched.look(&vault);
    }
    watched
        .commands(&vault, &[&["receipts", "list", "--tenant", "acme"], &["recording", "list", "--state", "shredded"]]);

    watched.check(&vault.token);
}

/// Without this, the test above could pass because it sees nothing.
#[test]
fn a_canary_is_seen_in_every_spelling_and_at_every_offset() {
    let digits = A_NUMBER.trim_start_matches('+');
    for before in ["", "x", "xy", "xyz"] {
        let text = format!("{before}{A_NUMBER}, and more");
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        for bytes in [text.as_bytes(), &utf16, hex.as_bytes(), STANDARD_NO_PAD.encode(&text).as_bytes()] {
            assert_eq!(canaries_in(bytes, "cv_token"), [digits]);
        }
    }
    assert_eq!(canaries_in(&MARKER.repeat(2), "cv_token").len(), 1);
}

/// Everything that must not hold a canary.
#[derive(Default)]
struct Watched {
    texts: Vec<(String, String)>,
    found: Vec<String>,
    token: Option<String>,
}

impl Watched {
    /// Every file of the vault, as it is at this moment.
    fn look(&mut self, vault: &Vault) {
        self.token.get_or_insert_with(|| vault.token.clone());
        let token = vault.token.clone();
        for path in files(&vault.path()) {
            let Ok(bytes) = fs::read(&path) else { continue };
            for canary in canaries_in(&bytes, &token) {
                self.found.push(format!("{canary} in {}", path.display()));
            }
            for canary in canaries_in(path.to_string_lossy().as_bytes(), &token) {
                self.found.push(format!("{canary} in the name {}", path.display()));
            }
        }
    }

    fn log(&mut self, server: &Server) {
        self.texts.push(("the log".into(), server.log_text()));
    }

    async fn metrics(&mut self, address: &str) {
        let text = reqwest::get(format!("http://{address}/metrics")).await.expect("sent").text().await.expect("a text");
        assert!(text.contains("callvault_uploads_complete"), "{text}");
        self.texts.push(("a metric".into(), text));
    }

    /// The log of commands; what an administrator asked for on stdout may be read by him.
    fn commands(&mut self, vault: &Vault, commands: &[&[&str]]) {
        for args in commands {
            let output = vault.run(args);
            assert!(output.status.success(), "{args:?}");
            self.texts.push((format!("the log of {args:?}"), String::from_utf8_lossy(&output.stderr).into_owned()));
            if args[0] != "recording" {
                self.texts.push((format!("{args:?}"), String::from_utf8_lossy(&output.stdout).into_owned()));
            }
        }
    }

    fn check(mut self, token: &str) {
        for (place, text) in &self.texts {
            for canary in canaries_in(text.as_bytes(), token) {
                self.found.push(format!("{canary} in {place}: {text}"));
            }
        }
        assert!(self.found.is_empty(), "{}", self.found.join("\n"));
        assert!(
            self.texts.iter().any(|(place, text)| place == "the log" && text.len() > 100),
            "the log says something"
        );
    }
}

/// Which canaries stand in these bytes, as they are, in UTF-16, in hexadecimal, or in base64 at any of its three offsets.
pub fn canaries_in(bytes: &[u8], token: &str) -> Vec<String> {
    let texts = [A_NUMBER, B_NUMBER, CALL_ID, EXTENSION, "31655503456", "canary-name", HEADER, token, "canary-deleted"];
    let mut found = Vec::new();
    for text in texts.iter().chain(&["0123456789-abcdefghijklmnopqrstuvwxyz"]) {
        let text = text.trim_start_matches('+');
        if spellings(text).iter().any(|spelling| memmem(bytes, spelling)) {
            found.push(text.to_owned());
        }
    }
    found
}

fn spellings(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut spellings = vec![bytes.to_vec()];
    spellings.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    spellings.push(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
    spellings.push(bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect());
    for offset in 0..3 {
        // The characters of base64 that depend on nothing before or behind.
        let padded = [&vec![0; offset][..], bytes].concat();
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&padded).into_bytes();
            let (start, end) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
            spellings.push(encoded[start..end].to_vec());
        }
    }
    spellings
}

fn memmem(haystack: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return false };
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

pub fn describe(client: &Client, server: &Server, method: &str, name: &str) -> reqwest::RequestBuilder {
    let request = client.request(method, &format!("{}/{name}", server.recordings()));
    request
        .header("callvault-a-number", A_NUMBER)
        .header("callvault-b-number", B_NUMBER)
        .header("callvault-call-id", CALL_ID)
        .header("callvault-extension", EXTENSION)
        .header("x-unknown", HEADER)
        .header("callvault-unknown", HEADER)
        .header("content-type", "audio/wav")
}

/// Requests that are refused, with a canary in the place that is wrong; their answers.
pub async fn wrong_requests(client: &Client, server: &Server, id: &str) -> Vec<String> {
    let upload = |name: &str| client.request("PUT", &format!("{}/{name}", server.recordings()));
    let mut requests = Vec::new();
    for field in ["direction", "started-at", "answered-at", "ended-at", "duration-ms", "setup-ms", "release-ms"] {
        requests.push(upload("x").header(format!("callvault-{field}"), A_NUMBER));
    }
    for field in ["cost-amount", "cost-currency", "class"] {
        requests.push(upload("x").header(format!("callvault-{field}"), A_NUMBER));
    }
    requests.push(upload("x").header("callvault-a-number", A_NUMBER.repeat(60)));
    requests.push(upload("x").header("content-range", A_NUMBER));
    requests.push(upload("x").header("repr-digest", format!("sha-256={A_NUMBER}")));
    requests.push(upload("x").header("content-md5", A_NUMBER));
    requests.push(upload("x").header("content-type", format!("multipart/form-data; boundary={HEADER}")));
    requests.push(upload(&format!("x?started_at={CALL_ID}&duration_ms={EXTENSION}")));
    requests.push(upload(&format!("canary-name%00{CALL_ID}")));
    requests.push(upload(NAME));
    for query in ["class", "from", "to", "state", "limit", "cursor", EXTENSION] {
        requests.push(client.request("GET", &format!("{}?{query}={CALL_ID}", server.recordings())));
    }
    requests.push(client.request("GET", &format!("{}/{NAME}", server.recordings())));
    requests.push(client.request("GET", &format!("{}?class={CALL_ID}", server.audio(id))));
    requests.push(client.request("DELETE", &format!("{}/{id}?erase={CALL_ID}", server.recordings())));
    requests.push(client.request("GET", &format!("{}/{CALL_ID}", server.url)));
    let anonymous = |value: String| client.http.get(server.audio(id)).header("authorization", value);
    requests.push(anonymous(format!("Bearer {CALL_ID}")));
    requests.push(anonymous(format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(format!("{EXTENSION}:{CALL_ID}"))
    )));
    let mut broken = client.token.clone().into_bytes();
    *broken.last_mut().expect("a token") ^= 1;
    requests.push(anonymous(format!("Bearer {}", String::from_utf8_lossy(&broken))));
    let mut answers = Vec::new();
    for request in requests {
        let answer = request.body("canary? no: other bytes").send().await.expect("an answer");
        let (status, headers) = (answer.status(), format!("{:?}", answer.headers()));
        assert!(status.is_client_error(), "{status} {headers}");
        answers.push(format!("{status} {headers} {}", answer.text().await.expect("a text")));
    }
    answers
}

/// Sends half of what it promises, and leaves the connection open until the server is killed.
fn send_half(vault: &Vault, server: &Server, audio: &[u8]) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(server.address()).expect("the server listens");
    let head = format!(
        "PUT /v1/recordings/canary-name-half HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nCallvault-A-Number: \
         {A_NUMBER}\r\nContent-Length: {}\r\n\r\n",
        vault.token,
        2 * audio.len()
    );
    stream.write_all(head.as_bytes()).expect("the head is sent");
    stream.write_all(audio).expect("the half is sent");
    std::thread::spawn(move || stream.read(&mut [0; 1]));
}
