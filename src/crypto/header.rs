//! An object's header and geometry: which sealed byte holds which plaintext byte.
//!
//! ```text
//! 0 4 "CVR1" | 4 1 version | 5 1 suite | 6 1 log2 chunk | 7 1 zero | 8 8 zero | 16 24 salt | 40 32 commitment | 72 chunks
//! ```
//! Chunk `k` stands at `72 + k * (chunk + 16)`. The last chunk is always shorter than a chunk, and may be empty: every
//! sealed length has exactly one reading, and a cut at a chunk's end is seen.

use super::CryptoError;

pub const HEADER_LEN: usize = 72;
/// The part of the header that goes into the key.
pub const PREAMBLE_LEN: usize = 40;
pub const TAG_LEN: usize = 16;
/// What is written: chunks of 16 KiB. 10,000 live calls then hold 160 MB, and a crash loses at most 2 s of G.711.
pub const CHUNK_LOG2: u8 = 14;
pub const CHUNK_LEN: usize = 1 << CHUNK_LOG2;
pub const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;

const MAGIC: &[u8; 4] = b"CVR1";
const VERSION: u8 = 1;
/// HKDF-SHA256 and ChaCha20-Poly1305.
const SUITE: u8 = 1;

/// A header that was read or is about to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub chunk_log2: u8,
    pub salt: [u8; 24],
    pub commitment: [u8; 32],
}

impl Header {
    pub fn read(bytes: &[u8]) -> Result<Header, CryptoError> {
        let malformed = |what| Err(CryptoError::Malformed(what));
        let Ok(bytes) = <&[u8; HEADER_LEN]>::try_from(bytes) else { return malformed("a header is 72 bytes long") };
        if &bytes[..4] != MAGIC {
            return malformed("this is no callvault object");
        }
        if bytes[4] != VERSION {
            return malformed("the object's version is not 1");
        }
        if bytes[5] != SUITE {
            return malformed("the object's cipher suite is not 1");
        }
        if !(12..=20).contains(&bytes[6]) {
            return malformed("chunks are 2^12 to 2^20 bytes long");
        }
        if bytes[7..16] != [0; 9] {
            return malformed("bytes 7 to 15 are not zero");
        }
        Ok(Header {
            chunk_log2: bytes[6],
            salt: bytes[16..40].try_into().expect("24 bytes"),
            commitment: bytes[40..].try_into().expect("32 bytes"),
        })
    }

    pub fn preamble(&self) -> [u8; PREAMBLE_LEN] {
        let mut bytes = [0; PREAMBLE_LEN];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..7].copy_from_slice(&[VERSION, SUITE, self.chunk_log2]);
        bytes[16..].copy_from_slice(&self.salt);
        bytes
    }

    pub fn write(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..PREAMBLE_LEN].copy_from_slice(&self.preamble());
        bytes[PREAMBLE_LEN..].copy_from_slice(&self.commitment);
        bytes
    }

    pub fn chunk_len(&self) -> u64 {
        1 << self.chunk_log2
    }
}

/// How one object is cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    chunk_len: u64,
    plain_len: u64,
}

/// Sealed bytes of an object, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedSpan {
    pub start: u64,
    pub end: u64,
}

impl SealedSpan {
    #[allow(clippy::len_without_is_empty, reason = "a span holds at least a tag")]
    pub fn len(self) -> u64 {
        self.end - self.start
    }
}

impl Geometry {
    /// What is written for this many bytes.
    pub fn of_plain(plain_len: u64) -> Geometry {
        Geometry { chunk_len: CHUNK_LEN as u64, plain_len }
    }

    /// The one reading of a sealed length.
    pub fn of_sealed(header: &Header, sealed_len: u64) -> Result<Geometry, CryptoError> {
        let chunk_len = header.chunk_len();
        let chunks = sealed_len
            .checked_sub(HEADER_LEN as u64)
            .ok_or(CryptoError::Malformed("the object is shorter than its header"))?;
        let (full, rest) = (chunks / (chunk_len + TAG_LEN as u64), chunks % (chunk_len + TAG_LEN as u64));
        // `rest` is at most a full chunk's ciphertext and 15 bytes of tag; a last chunk ends one byte sooner.
        if rest < TAG_LEN as u64 {
            return Err(CryptoError::Malformed("the object does not end with a short chunk"));
        }
        Ok(Geometry { chunk_len, plain_len: full * chunk_len + rest - TAG_LEN as u64 })
    }

    pub fn plain_len(&self) -> u64 {
        self.plain_len
    }

    pub fn sealed_len(&self) -> u64 {
        HEADER_LEN as u64 + self.plain_len + self.chunk_count() * TAG_LEN as u64
    }

    /// At least 1: an object ends with a short chunk.
    pub fn chunk_count(&self) -> u64 {
        self.plain_len / self.chunk_len + 1
    }

    pub fn chunk_of(&self, plain_offset: u64) -> u64 {
        plain_offset / self.chunk_len
    }

    pub fn chunk_start(&self, chunk: u64) -> u64 {
        chunk * self.chunk_len
    }

    /// Plaintext bytes of a chunk.
    pub fn chunk_plain_len(&self, chunk: u64) -> u64 {
        (self.plain_len - self.chunk_start(chunk).min(self.plain_len)).min(self.chunk_len)
    }

    /// Whole chunks that fit into `len` sealed bytes, at least 1.
    pub fn chunks_in(&self, len: u64) -> u64 {
        (len / (self.chunk_len + TAG_LEN as u64)).max(1)
    }

    /// Where the chunks `first..=last` stand in the object.
    pub fn span(&self, first: u64, last: u64) -> SealedSpan {
        let at = |chunk| HEADER_LEN as u64 + chunk * (self.chunk_len + TAG_LEN as u64);
        SealedSpan { start: at(first), end: at(last) + self.chunk_plain_len(last) + TAG_LEN as u64 }
    }
}
