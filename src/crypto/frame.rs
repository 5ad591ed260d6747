//! Frames: a recording's newest bytes, sealed one by one as they arrive, until the chunk that they fill is sealed.
//!
//! A call that goes on fills a chunk in seconds, and its bytes must not wait for that in the clear. Each piece is sealed by
//! itself and appended to a log that all calls share. When the chunk is full its frames are opened once more, sealed as the
//! chunk, and forgotten. A frame never leaves the spool.
//!
//! ```text
//! log    "CVL1" | 4 zero | salt24 | frames
//! frame  4 plain length | 4 CRC-32 of all that follows | recording16 | object16 | offset u64 | sequence u64 | ciphertext | tag16
//! ```
//! The CRC finds the end of what a crash left, without a key. Authentic is what the tag says.
//!
//! # Invariants
//! A nonce is the frame's sequence number in its log, and a log has a salt of its own: no (key, nonce) pair comes twice. The
//! writer of a log takes a new number for each frame, also for one that is not written in the end.

use aws_lc_rs::aead::{Aad, Nonce};
use bytes::BytesMut;

use super::CryptoError;
use super::header::TAG_LEN;
use super::keys::{CipherKey, DataKey};
use crate::model::{ObjectId, RecordingId, TenantNumber};

pub const LOG_HEADER_LEN: usize = 32;
const MAGIC: &[u8; 8] = b"CVL1\0\0\0\0";

pub const FRAME_HEAD_LEN: usize = 56;
/// What a frame takes besides its plaintext.
pub const FRAME_OVERHEAD: usize = FRAME_HEAD_LEN + TAG_LEN;
/// The part of the head that is authenticated: everything behind the CRC.
const BOUND_FROM: usize = 8;
/// A frame holds less than a chunk, or a chunk at most where one was parked.
pub const FRAME_PLAIN_LEN_MAX: usize = super::header::CHUNK_LEN;

/// Makes the frame keys of one log differ from those of every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSalt(pub [u8; 24]);

impl LogSalt {
    /// A log's first bytes.
    pub fn write(&self) -> [u8; LOG_HEADER_LEN] {
        let mut header = [0; LOG_HEADER_LEN];
        header[..8].copy_from_slice(MAGIC);
        header[8..].copy_from_slice(&self.0);
        header
    }

    pub fn read(header: &[u8]) -> Result<LogSalt, CryptoError> {
        let salt = header.get(..LOG_HEADER_LEN).filter(|header| &header[..8] == MAGIC);
        let salt = salt.ok_or(CryptoError::Malformed("this is no callvault log"))?;
        Ok(LogSalt(salt[8..].try_into().expect("24 bytes")))
    }
}

/// What a frame says of itself: which bytes of which recording it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    pub plain_len: u32,
    pub recording: RecordingId,
    /// The object that is being made of the recording: two attempts at one recording do not mix.
    pub object: ObjectId,
    /// Of its first byte in the recording.
    pub offset: u64,
    /// Its place among the frames of its log; the nonce.
    pub sequence: u64,
}

impl FrameHead {
    /// The head, and the frame's whole length, of a frame that stands at the beginning of `bytes` undamaged.
    pub fn read(bytes: &[u8]) -> Result<(FrameHead, usize), CryptoError> {
        let malformed = CryptoError::Malformed("a frame is cut short or was never written whole");
        let head = bytes.get(..FRAME_HEAD_LEN).ok_or(malformed)?;
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let long = |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let plain_len = word(0);
        let frame_len = FRAME_OVERHEAD + plain_len as usize;
        let whole = bytes.get(..frame_len).filter(|_| plain_len as usize <= FRAME_PLAIN_LEN_MAX).ok_or(malformed)?;
        if crc32fast::hash(&whole[BOUND_FROM..]) != word(4) {
            return Err(malformed);
        }
        let head = FrameHead {
            plain_len,
            recording: RecordingId::from_bytes(head[8..24].try_into().expect("16 bytes")),
            object: ObjectId(head[24..40].try_into().expect("16 bytes")),
            offset: long(40),
            sequence: long(48),
        };
        Ok((head, frame_len))
    }

    fn write(&self) -> [u8; FRAME_HEAD_LEN] {
        let mut head = [0; FRAME_HEAD_LEN];
        head[..4].copy_from_slice(&self.plain_len.to_be_bytes());
        head[8..24].copy_from_slice(self.recording.as_bytes());
        head[24..40].copy_from_slice(&self.object.0);
        head[40..48].copy_from_slice(&self.offset.to_be_bytes());
        head[48..].copy_from_slice(&self.sequence.to_be_bytes());
        head
    }
}

/// Seals and opens one recording's frames in one log.
pub struct FrameKey {
    pub(super) cipher: CipherKey,
    /// Tells this key from every other in the journal; says nothing of it.
    #[cfg(debug_assertions)]
    pub(super) name: [u8; 16],
}

impl FrameKey {
    pub fn derive(data_key: &DataKey, salt: &LogSalt, tenant: TenantNumber, recording: RecordingId) -> FrameKey {
        data_key.frame_key(salt, tenant, recording)
    }

    /// Appends a frame to `log`. The plaintext stands in there only until this returns.
    ///
    /// # Panics
    /// If the plaintext is longer than [`FRAME_PLAIN_LEN_MAX`] or not as long as the head says.
    pub fn seal(&self, head: &FrameHead, plain: &[u8], log: &mut BytesMut) {
        assert!(plain.len() <= FRAME_PLAIN_LEN_MAX && plain.len() == head.plain_len as usize);
        let start = log.len();
        log.reserve(FRAME_OVERHEAD + plain.len());
        log.extend_from_slice(&head.write());
        log.extend_from_slice(plain);
        let (bound, text) = log[start..].split_at_mut(FRAME_HEAD_LEN);
        #[cfg(debug_assertions)]
        super::journal::note(self, head.sequence);
        let tag = self.cipher.cipher().seal_in_place_separate_tag(
            nonce(head.sequence),
            Aad::from(&bound[BOUND_FROM..]),
            text,
        );
        log.extend_from_slice(tag.expect("a frame is far below the cipher's 256 GiB").as_ref());
        let crc = crc32fast::hash(&log[start + BOUND_FROM..]);
        log[start + 4..start + 8].copy_from_slice(&crc.to_be_bytes());
    }

    /// Opens a whole frame in place; gives its plaintext.
    pub fn open<'a>(&self, frame: &'a mut [u8]) -> Result<&'a [u8], CryptoError> {
        let (head, _) = FrameHead::read(frame)?;
        let (bound, sealed) = frame.split_at_mut(FRAME_HEAD_LEN);
        let opened = self.cipher.cipher().open_in_place(nonce(head.sequence), Aad::from(&bound[BOUND_FROM..]), sealed);
        opened.map(|plain| &*plain).map_err(|_| CryptoError::NotAuthentic)
    }
}

/// `4 zero || sequence`.
fn nonce(sequence: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&sequence.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests;
