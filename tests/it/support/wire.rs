//! HTTP as bytes on a socket: requests that no client library would send, and answers as they came.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::{Server, documented};

/// How long a test waits for bytes before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request under construction; the vault's token is on it unless another one, or none, is asked for.
#[derive(Clone)]
pub struct Ask {
    address: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Clone)]
enum Body {
    None,
    Sized(Vec<u8>),
    Chunked(Vec<u8>, usize),
}

/// An answer, read to the end of its connection.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A connection.
pub struct Wire(pub TcpStream);

impl Server {
    pub fn ask(&self, method: &str, target: &str) -> Ask {
        let ask = Ask {
            address: self.address().to_owned(),
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Body::None,
        };
        ask.token(&self.token)
    }

    /// An upload of `bytes` under a name.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Ask {
        self.ask("PUT", &format!("/v1/recordings/{name}")).body(bytes)
    }

    /// A plain GET.
    pub fn see(&self, target: &str) -> Answer {
        self.ask("GET", target).send()
    }

    /// The audio's bytes, which must be there.
    pub fn play(&self, id: &str) -> Vec<u8> {
        let answer = self.see(&audio(id));
        assert_eq!(answer.status, 200, "{answer}");
        answer.body
    }

    /// A recording's JSON.
    pub fn show(&self, id: &str) -> Value {
        self.see(&format!("/v1/recordings/{id}")).json()
    }

    /// All that a listing shows.
    pub fn list(&self, query: &str) -> Vec<Value> {
        let page = self.see(&format!("/v1/recordings?{query}")).json();
        page["recordings"].as_array().unwrap_or_else(|| panic!("no listing: {page}")).clone()
    }

    pub fn connect(&self) -> Wire {
        Wire::connect(self.address())
    }
}

/// One value of the metrics page at this address.
pub fn metric(address: &str, name: &str) -> f64 {
    let mut wire = Wire::connect(address);
    wire.send("GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n").expect("a head");
    let page = text(&wire.answer().expect("metrics").body);
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {page}"))
}

pub fn audio(id: &str) -> String {
    format!("/v1/recordings/{id}/audio")
}

impl Ask {
    pub fn header(mut self, name: &str, value: &str) -> Ask {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Ask {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub fn anonymous(self) -> Ask {
        self.without("authorization")
    }

    pub fn token(self, token: &str) -> Ask {
        self.anonymous().header("Authorization", &format!("Bearer {token}"))
    }

    /// With `Content-Length`.
    pub fn body(mut self, bytes: &[u8]) -> Ask {
        self.body = Body::Sized(bytes.to_vec());
        self
    }

    /// In chunks of `chunk_len`, with `Transfer-Encoding: chunked`.
    pub fn chunked(mut self, bytes: &[u8], chunk_len: usize) -> Ask {
        self.body = Body::Chunked(bytes.to_vec(), chunk_len);
        self
    }

    /// The same request as curl's arguments, without its body.
    pub fn for_curl(&self) -> Vec<String> {
        let headers = self.headers.iter().flat_map(|(name, value)| ["-H".into(), format!("{name}: {value}")]);
        let request = ["-X".into(), self.method.clone(), format!("http://{}{}", self.address, self.target)];
        headers.chain(request).collect()
    }

    /// The request's head, with its framing and the empty line.
    pub fn head(&self) -> String {
        let Ask { address, method, target, headers, body } = self;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        match body {
            Body::None => {}
            Body::Sized(bytes) => head += &format!("Content-Length: {}\r\n", bytes.len()),
            Body::Chunked(..) => head += "Transfer-Encoding: chunked\r\n",
        }
        head + "\r\n"
    }

    /// Sends it; the answer must come, and is never a redirection. Every answer must be one that `/openapi.json` tells.
    pub fn send(&self) -> Answer {
        let answer = self.try_send().unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.target));
        assert!(!matches!(answer.status, 300..=303 | 305..=399), "{answer}");
        answer
    }

    pub fn try_send(&self) -> io::Result<Answer> {
        let mut wire = Wire::try_connect(&self.address)?;
        let mut request = self.head().into_bytes();
        match &self.body {
            Body::None => {}
            Body::Sized(bytes) => request.extend_from_slice(bytes),
            Body::Chunked(bytes, chunk_len) => {
                bytes.chunks(*chunk_len).for_each(|chunk| request.extend_from_slice(&as_chunk(chunk)));
                request.extend_from_slice(b"0\r\n\r\n");
            }
        }
        // A server that refuses may stop reading; what counts is whether its answer arrives.
        let _ = wire.send(&request);
        let answer = wire.answer()?;
        let untold = documented::untold(&self.method, &self.target, &self.headers, &answer);
        assert_eq!(untold, None, "{} {}: {answer}", self.method, self.target);
        Ok(answer)
    }
}

/// One chunk of a chunked body.
pub fn as_chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

impl Wire {
    pub fn connect(address: &str) -> Wire {
        Wire::try_connect(address).expect("the server listens")
    }

    fn try_connect(address: &str) -> io::Result<Wire> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Wire(stream))
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write_all(bytes.as_ref())
    }

    /// Ends the sending side; the answer can still be read.
    pub fn end(&mut self) {
        self.0.shutdown(Shutdown::Write).ok();
    }

    /// Everything until the server closes; a reset is an error.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The one answer that is left on this connection.
    pub fn answer(mut self) -> io::Result<Answer> {
        let bytes = self.rest()?;
        Answer::parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text(&bytes)))
    }

    /// Whether there is something to be read, or the connection has ended.
    pub fn is_answered(&self) -> bool {
        self.0.set_nonblocking(true).expect("a socket");
        let seen = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).expect("a socket");
        !matches!(seen, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads up to and with these bytes.
    pub fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {}", text(&bytes)));
            bytes.push(byte[0]);
        }
        bytes
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Answer> {
        let head_len = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..head_len]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Some(Answer { status, headers: headers.collect(), body: bytes[head_len + 4..].to_vec() })
    }

    /// The one value of a header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let values = self.headers_named(name);
        assert!(values.len() < 2, "{name} stands there twice: {self}");
        values.first().copied().unwrap_or_default()
    }

    pub fn headers_named(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self}"))
    }

    /// The id of the recording that this answer acknowledges with `status`.
    pub fn id(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self}");
        super::id_of(&self.json())
    }

    /// The problem document, which must be this one and whole (RFC 9457).
    pub fn problem(&self, status: u16, name: &str) -> Value {
        assert_eq!(self.status, status, "{self}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self}");
        let document = self.json();
        assert_eq!(document["type"], format!("/problems/{name}"), "{self}");
        assert_eq!(document["status"], status, "{self}");
        assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()), "{self}");
        assert!(document["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self}");
        document
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, text(&self.body[..self.body.len().min(500)]))
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
