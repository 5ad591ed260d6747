//! A collector of traces: it takes OTLP over HTTP on loopback, and keeps everything that it was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mood {
    Taking,
    /// It reads, and says nothing.
    Silent,
    /// It answers with this status.
    Refusing(u16),
    /// It answers that it took all but so many.
    Rejecting(u64),
}

/// One that serves until it is dropped.
pub struct Collector {
    pub endpoint: String,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    mood: Mutex<Mood>,
    connections: Mutex<usize>,
    /// Requests as they came, heads too.
    received: Mutex<Vec<(String, Vec<u8>)>>,
    is_over: Mutex<bool>,
}

/// A span as it was sent.
#[derive(Clone, Debug)]
pub struct Span(pub Value);

impl Span {
    pub fn name(&self) -> &str {
        self.text("name")
    }

    pub fn id(&self) -> &str {
        self.text("spanId")
    }

    pub fn trace(&self) -> &str {
        self.text("traceId")
    }

    /// Empty for the first of a trace.
    pub fn parent(&self) -> &str {
        self.text("parentSpanId")
    }

    pub fn kind(&self) -> u64 {
        self.0["kind"].as_u64().expect("a kind")
    }

    /// An attribute's text or number; empty where there is none.
    pub fn attribute(&self, key: &str) -> String {
        let attributes = self.0["attributes"].as_array().expect("a list");
        let value = attributes.iter().find(|attribute| attribute["key"] == key).map(|found| &found["value"]);
        let text = value.and_then(|value| value["stringValue"].as_str().or(value["intValue"].as_str()));
        text.unwrap_or_default().to_owned()
    }

    pub fn has_failed(&self) -> bool {
        self.0["status"]["code"] == 2
    }

    /// From when until when, in nanoseconds.
    pub fn times(&self) -> [u64; 2] {
        ["startTimeUnixNano", "endTimeUnixNano"].map(|key| self.text(key).parse().expect("nanoseconds as text"))
    }

    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }
}

impl Collector {
    pub fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Taking),
            connections: Mutex::new(0),
            received: Mutex::default(),
            is_over: Mutex::new(false),
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if *serving.is_over.lock().expect("a lock") {
                    return;
                }
                *serving.connections.lock().expect("a lock") += 1;
                let serving = serving.clone();
                std::thread::spawn(move || serving.take(stream));
            }
        });
        Collector { endpoint: format!("http://{address}"), address, shared }
    }

    /// The variable that names it.
    pub fn variable(&self) -> (String, String) {
        ("CALLVAULT_OTLP_ENDPOINT".into(), self.endpoint.clone())
    }

    pub fn be(&self, mood: Mood) {
        *self.shared.mood.lock().expect("a lock") = mood;
    }

    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().expect("a lock")
    }

    /// Heads and bodies of all requests, as they came.
    pub fn received(&self) -> Vec<(String, Vec<u8>)> {
        self.shared.received.lock().expect("a lock").clone()
    }

    /// All spans so far, each request held to the form that the protocol gives it.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for (head, body) in self.received() {
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            assert!(head.to_ascii_lowercase().contains("content-type: application/json\r\n"), "{head}");
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            for of_resource in body["resourceSpans"].as_array().expect("a list") {
                let resource = of_resource["resource"]["attributes"].to_string();
                assert!(resource.contains("service.name") && resource.contains("service.instance.id"), "{resource}");
                for of_scope in of_resource["scopeSpans"].as_array().expect("a list") {
                    let of_scope = of_scope["spans"].as_array().expect("a list").iter();
                    spans.extend(of_scope.map(|span| Span(span.clone())));
                }
            }
        }
        for span in &spans {
            let is_id = |text: &str, len: usize| {
                text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            };
            assert!(is_id(span.trace(), 32) && is_id(span.id(), 16), "{span:?}");
            assert!(span.parent().is_empty() || is_id(span.parent(), 16), "{span:?}");
            let [from, until] = span.times();
            assert!(from <= until && from > 1_700_000_000_000_000_000, "{span:?}");
        }
        spans
    }

    /// The spans of this name.
    pub fn named(&self, name: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.name() == name).collect()
    }

    /// The one span of this name, once it is there.
    pub fn one(&self, name: &str) -> Span {
        super::wait_until(name, || !self.named(name).is_empty());
        let mut spans = self.named(name);
        assert_eq!(spans.len(), 1, "{spans:?}");
        spans.remove(0)
    }

    /// The parts of a span, in the order in which they began.
    pub fn parts(&self, of: &Span) -> Vec<Span> {
        let is_part = |span: &Span| span.parent() == of.id() && span.trace() == of.trace();
        let mut parts: Vec<Span> = self.spans().into_iter().filter(is_part).collect();
        parts.sort_by_key(|part| part.times());
        parts
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        *self.shared.is_over.lock().expect("a lock") = true;
        // Its thread waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// One request; a sender that goes away is none.
    fn take(&self, stream: TcpStream) {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let mut reader = BufReader::new(&stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let lowered = head.to_ascii_lowercase();
        let len = lowered.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let mut body = vec![0; len.and_then(|len| len.parse().ok()).expect("a length")];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        self.received.lock().expect("a lock").push((head, body));
        let mood = *self.mood.lock().expect("a lock");
        let answer = match mood {
            Mood::Silent => {
                // Until the other side has had enough.
                let _ = reader.read(&mut [0]);
                return;
            }
            Mood::Taking => "200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
            Mood::Refusing(status) => format!("{status} No\r\nContent-Length: 0\r\n\r\n"),
            Mood::Rejecting(count) => {
                let body = format!("{{\"partialSuccess\":{{\"rejectedSpans\":\"{count}\"}}}}");
                format!("200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }
        };
        let _ = (&stream).write_all(format!("HTTP/1.1 {answer}").as_bytes());
    }
}
