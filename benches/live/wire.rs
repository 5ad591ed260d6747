//! HTTP/1.1 on a bare socket: as little as the load needs, so that the load costs little.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

// Limit: no answer of the server has a longer head.
const HEAD_LEN_MAX: usize = 16 << 10;

/// A connection, and what was read ahead of it: nothing while a call goes on, so ten thousand of these are small.
pub struct Wire {
    pub tcp: TcpStream,
    ahead: Vec<u8>,
}

/// The head of an answer.
pub struct Answer {
    pub status: u16,
    text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.text.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Result<Wire> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        Ok(Wire { tcp, ahead: Vec::new() })
    }

    /// Sends `bytes` and reads the head of the answer.
    pub async fn ask(&mut self, bytes: &[u8]) -> Result<Answer> {
        self.tcp.write_all(bytes).await?;
        loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.ahead.split_off(end + 4);
                let text = String::from_utf8_lossy(&std::mem::replace(&mut self.ahead, rest)).into_owned();
                let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
                return Ok(Answer { status: status.ok_or(ErrorKind::InvalidData)?, text });
            }
            if self.ahead.len() > HEAD_LEN_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
            self.ahead.reserve(1 << 10);
            if self.tcp.read_buf(&mut self.ahead).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads the body of `answer`, piece by piece; how long it was.
    pub async fn body(&mut self, answer: &Answer, mut each: impl FnMut(&[u8])) -> Result<u64> {
        let len = answer.number("content-length").ok_or(Error::new(ErrorKind::InvalidData, "no length"))?;
        let mut left = len as usize;
        while left > 0 {
            if self.ahead.is_empty() {
                self.ahead.reserve(256 << 10);
                if self.tcp.read_buf(&mut self.ahead).await? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            let count = left.min(self.ahead.len());
            each(&self.ahead[..count]);
            self.ahead.drain(..count);
            left -= count;
        }
        Ok(len)
    }

    /// The body as text, as far as it can be had.
    pub async fn text(&mut self, answer: &Answer) -> String {
        let mut text = Vec::new();
        self.body(answer, |piece| text.extend_from_slice(piece)).await.ok();
        String::from_utf8_lossy(&text).into_owned()
    }
}
