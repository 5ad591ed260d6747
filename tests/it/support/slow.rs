//! Uploads as a slow or unlucky sender makes them, byte for byte on a socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// One upload, its bytes in pieces with a pause after each.
pub struct SlowUpload<'a> {
    pub address: &'a str,
    pub token: &'a str,
    pub name: &'a str,
    pub bytes: &'a [u8],
    pub piece_len: usize,
    pub pause: Duration,
}

/// What the sender saw.
pub struct Seen {
    /// `None`: the connection broke before there was an answer.
    pub status: Option<u16>,
    /// When how many bytes had been given to the operating system.
    pub sent: Vec<(Instant, usize)>,
}

impl Seen {
    pub fn is_acknowledged(&self) -> bool {
        matches!(self.status, Some(200..=202))
    }

    /// Bytes that were sent before this instant.
    pub fn sent_before(&self, instant: Instant) -> usize {
        self.sent.iter().take_while(|(at, _)| *at < instant).last().map_or(0, |(_, len)| *len)
    }
}

impl SlowUpload<'_> {
    pub fn run(&self) -> Seen {
        let mut sent = Vec::new();
        let status = self.send(&mut sent).ok().flatten();
        Seen { status, sent }
    }

    fn send(&self, sent: &mut Vec<(Instant, usize)>) -> std::io::Result<Option<u16>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let head = format!(
            "PUT /v1/recordings/{} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.name,
            self.token,
            self.bytes.len()
        );
        stream.write_all(head.as_bytes())?;
        let mut len = 0;
        for piece in self.bytes.chunks(self.piece_len) {
            stream.write_all(piece)?;
            len += piece.len();
            sent.push((Instant::now(), len));
            if !self.pause.is_zero() {
                std::thread::sleep(self.pause);
            }
        }
        let mut answer = Vec::new();
        // A reset behind a whole head is still an answer.
        let _ = stream.read_to_end(&mut answer);
        Ok(status_of(&answer))
    }
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    let (head, _) = text.split_once("\r\n\r\n")?;
    head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

/// Numbers that look random and are the same for the same seed.
pub struct Dice(u64);

impl Dice {
    /// A seed from `CALLVAULT_TEST_SEED`, else a new one; printed, so that a failure can be repeated.
    pub fn thrown() -> Dice {
        let fresh = || super::held::now().as_nanosecond() as u64;
        let seed = std::env::var("CALLVAULT_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(fresh);
        println!("CALLVAULT_TEST_SEED={seed}");
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
