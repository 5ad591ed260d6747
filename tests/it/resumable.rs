//! Uploads in pieces, at the wire: what was acknowledged stays, what was cut goes on, and each dialect speaks as it should.

mod cuts;
mod ietf;
mod life;
mod tus;

use crate::support::Server;
use crate::support::wire::{Answer, Ask};

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Tus,
    Ietf,
}

impl Dialect {
    pub const BOTH: [Dialect; 2] = [Dialect::Tus, Dialect::Ietf];

    pub fn ask(self, server: &Server, method: &str, target: &str) -> Ask {
        let ask = server.ask(method, target);
        match self {
            Dialect::Tus => ask.header("Tus-Resumable", "1.0.0"),
            Dialect::Ietf => ask.header("Upload-Draft-Interop-Version", "8"),
        }
    }

    /// A new upload without bytes. `None`: its length is not known yet.
    fn create(self, server: &Server, name: &str, len: Option<usize>) -> Ask {
        let ask = self.ask(server, "POST", &format!("/v1/uploads?name={name}")).body(b"");
        match (self, len) {
            (Dialect::Tus, Some(len)) => ask.header("Upload-Length", &len.to_string()),
            (Dialect::Tus, None) => ask.header("Upload-Defer-Length", "1"),
            (Dialect::Ietf, Some(len)) => ask.header("Upload-Complete", "?0").header("Upload-Length", &len.to_string()),
            (Dialect::Ietf, None) => ask.header("Upload-Complete", "?0"),
        }
    }

    /// The address of a new upload.
    pub fn begin(self, server: &Server, name: &str, len: Option<usize>) -> String {
        location(&self.create(server, name, len).send())
    }

    /// `bytes[range]` as a piece; it completes the upload where it reaches the end.
    pub fn piece(self, server: &Server, at: &str, bytes: &[u8], range: std::ops::Range<usize>) -> Ask {
        let ask = self.ask(server, "PATCH", at).header("Upload-Offset", &range.start.to_string());
        let is_last = range.end == bytes.len();
        let ask = match self {
            Dialect::Tus => {
                let ask = ask.header("Content-Type", "application/offset+octet-stream");
                if is_last { ask.header("Upload-Length", &bytes.len().to_string()) } else { ask }
            }
            Dialect::Ietf => {
                let ask = ask.header("Content-Type", "application/partial-upload");
                ask.header("Upload-Complete", if is_last { "?1" } else { "?0" })
            }
        };
        ask.body(&bytes[range])
    }

    /// What a piece that was taken is answered with.
    fn taken(self, is_last: bool) -> u16 {
        if self == Dialect::Ietf && is_last { 201 } else { 204 }
    }

    /// Sends a piece, which must be taken whole.
    pub fn append(self, server: &Server, at: &str, bytes: &[u8], range: std::ops::Range<usize>) -> Answer {
        let answer = self.piece(server, at, bytes, range.clone()).send();
        assert_eq!(answer.status, self.taken(range.end == bytes.len()), "{self:?}: {answer}");
        assert_eq!(offset(&answer), range.end, "{self:?}: {answer}");
        answer
    }

    pub fn head(self, server: &Server, at: &str) -> Answer {
        self.ask(server, "HEAD", at).send()
    }

    /// The offset that the server tells.
    pub fn offset(self, server: &Server, at: &str) -> usize {
        let answer = self.head(server, at);
        assert_eq!(answer.status, if self == Dialect::Tus { 200 } else { 204 }, "{self:?}: {answer}");
        assert_eq!(answer.header("cache-control"), "no-store", "{self:?}: {answer}");
        offset(&answer)
    }
}

/// Where a new upload is.
fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{answer}");
    let location = answer.header("location");
    assert!(location.starts_with("/v1/uploads/"), "{answer}");
    location.to_owned()
}

fn offset(answer: &Answer) -> usize {
    answer.header("upload-offset").parse().unwrap_or_else(|_| panic!("no offset: {answer}"))
}

/// The upload's id, which is the recording's.
pub fn id(at: &str) -> &str {
    at.strip_prefix("/v1/uploads/").expect("an upload's address")
}

/// A problem that IANA keeps a type for.
fn registered(answer: &Answer, status: u16, name: &str) -> serde_json::Value {
    assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"), "{answer}");
    let document = answer.json();
    assert_eq!(document["type"], format!("https://iana.org/assignments/http-problem-types#{name}"), "{answer}");
    document
}
