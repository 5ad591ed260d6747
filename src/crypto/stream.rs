//! Seals a stream of plaintext into an object and opens any chunk of one, in place.
//!
//! The shape is that of STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015) in the form of C2SP chunked-encryption: the
//! position of a chunk is its nonce, the last chunk is told by being short, and the header commits to the key.
//!
//! # Invariants
//! A chunk index is never sealed twice under one key: a [`Sealer`] draws a new salt, counts upwards, and is used up by
//! [`Sealer::finish`]. It cannot be made again from stored state; whoever goes on after a crash starts a new segment.

use aws_lc_rs::aead::{Aad, Nonce};
use bytes::BytesMut;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::CryptoError;
use super::header::{CHUNK_LEN, CHUNK_LOG2, Geometry, HEADER_LEN, Header, SEALED_CHUNK_LEN, TAG_LEN};
use super::keys::{DataKey, ObjectKey};
use super::random::random;
use super::receipt::DigestOfTags;
use crate::model::{RecordingId, TenantNumber};

/// Seals one object from its first byte to its last.
///
/// Plaintext is in memory only in the chunk being filled. [`Sealer::sealed`] hands out what is finished; the rest stays.
pub struct Sealer {
    key: ObjectKey,
    next_chunk: u64,
    /// Finished bytes, then the plaintext of the chunk being filled.
    buffer: BytesMut,
    sealed_len: usize,
    digest: DigestOfTags,
    plain_len: u64,
}

/// What is known of an object once its last chunk is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedObject {
    pub plain_len: u64,
    pub sealed_len: u64,
    /// SHA-256 over the header and every chunk's tag: names the object in receipts, and needs no key to be computed.
    pub digest: [u8; 32],
}

impl Sealer {
    /// Begins an object under a key of its own: `data_key` and a new random salt.
    pub fn new(data_key: &DataKey, tenant: TenantNumber, recording: RecordingId) -> Sealer {
        Sealer::with_salt(data_key, tenant, recording, random())
    }

    /// Begins an object of the spool that holds the recording from `start` on: what follows the segment of a process that
    /// died. Its salt says where it begins, so that it opens nowhere else.
    pub fn continuing(data_key: &DataKey, tenant: TenantNumber, recording: RecordingId, start: u64) -> Sealer {
        Sealer::with_salt(data_key, tenant, recording, salt_of(start))
    }

    pub(super) fn with_salt(
        data_key: &DataKey,
        tenant: TenantNumber,
        recording: RecordingId,
        salt: [u8; 24],
    ) -> Sealer {
        let mut header = Header { chunk_log2: CHUNK_LOG2, salt, commitment: [0; 32] };
        let key = data_key.object_key(&header.preamble(), tenant, recording);
        header.commitment = key.commitment;
        let header = header.write();
        let mut digest = DigestOfTags::new();
        digest.update(&header);
        Sealer { key, next_chunk: 0, buffer: BytesMut::from(&header[..]), sealed_len: HEADER_LEN, digest, plain_len: 0 }
    }

    /// Takes plaintext; every chunk that it fills is sealed at once.
    pub fn write(&mut self, mut plain: &[u8]) {
        while !plain.is_empty() {
            let room = CHUNK_LEN - self.unsealed_len();
            let taken = room.min(plain.len());
            if room == CHUNK_LEN {
                // Limit: one chunk of growth at a time keeps a slow call at one chunk of memory.
                // Secrecy: the buffer grows only while it holds no plaintext, so none is left behind by a move.
                self.buffer.reserve(SEALED_CHUNK_LEN);
            }
            self.buffer.extend_from_slice(&plain[..taken]);
            plain = &plain[taken..];
            self.plain_len += taken as u64;
            if self.unsealed_len() == CHUNK_LEN {
                self.seal_chunk();
            }
        }
    }

    /// Bytes of plaintext taken so far.
    pub fn plain_len(&self) -> u64 {
        self.plain_len
    }

    /// Finished bytes: the header, then whole sealed chunks.
    pub fn sealed(&self) -> &[u8] {
        &self.buffer[..self.sealed_len]
    }

    /// Forgets the finished bytes, which the caller has written.
    pub fn clear_sealed(&mut self) {
        let unsealed_len = self.unsealed_len();
        move_to_front(&mut self.buffer, self.sealed_len);
        self.buffer.truncate(unsealed_len);
        self.sealed_len = 0;
    }

    /// Lets go of the memory that holds nothing.
    pub fn rest(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Seals the last chunk, which may be empty, and gives the finished bytes that are left.
    pub fn finish(mut self) -> (BytesMut, SealedObject) {
        self.seal_chunk();
        let object = SealedObject {
            plain_len: self.plain_len,
            sealed_len: Geometry::of_plain(self.plain_len).sealed_len(),
            digest: std::mem::replace(&mut self.digest, DigestOfTags::new()).finish(),
        };
        self.sealed_len = 0;
        (std::mem::take(&mut self.buffer), object)
    }

    /// Plaintext that has not filled a chunk yet.
    pub fn unsealed_len(&self) -> usize {
        self.buffer.len() - self.sealed_len
    }

    /// Gives back the plaintext that has not filled a chunk, as if it had never been written, and lets go of its memory. No
    /// chunk index was used for it.
    pub fn take_unsealed(&mut self) -> Zeroizing<Vec<u8>> {
        let plain = Zeroizing::new(self.buffer[self.sealed_len..].to_vec());
        self.buffer[self.sealed_len..].zeroize();
        self.buffer.truncate(self.sealed_len);
        self.plain_len -= plain.len() as u64;
        if self.sealed_len == 0 {
            self.buffer = BytesMut::new();
        }
        plain
    }

    fn seal_chunk(&mut self) {
        let nonce = chunk_nonce(&self.key.base_nonce, self.next_chunk);
        #[cfg(debug_assertions)]
        super::journal::note(&self.key, self.next_chunk);
        self.next_chunk += 1;
        let tag = self
            .key
            .cipher
            .cipher()
            .seal_in_place_separate_tag(nonce, Aad::empty(), &mut self.buffer[self.sealed_len..])
            .expect("a chunk is far below the cipher's 256 GiB");
        self.buffer.extend_from_slice(tag.as_ref());
        self.digest.update(tag.as_ref());
        self.sealed_len = self.buffer.len();
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.buffer[self.sealed_len..].zeroize();
    }
}

/// Opens chunks of one object, in any order.
pub struct Opener {
    key: ObjectKey,
    geometry: Geometry,
}

impl Opener {
    /// Checks the header and that it commits to this key. `sealed_len` is the length of the whole object.
    pub fn new(
        data_key: &DataKey,
        tenant: TenantNumber,
        recording: RecordingId,
        header: &[u8],
        sealed_len: u64,
    ) -> Result<Opener, CryptoError> {
        let header = Header::read(header)?;
        let geometry = Geometry::of_sealed(&header, sealed_len)?;
        let key = data_key.object_key(&header.preamble(), tenant, recording);
        if !bool::from(key.commitment.ct_eq(&header.commitment)) {
            return Err(CryptoError::NotAuthentic);
        }
        Ok(Opener { key, geometry })
    }

    /// Opens the whole chunks of a segment that has no end yet: `full` of them, as if the object ended right behind.
    pub fn of_unfinished(
        data_key: &DataKey,
        tenant: TenantNumber,
        recording: RecordingId,
        header: &[u8],
        full: u64,
    ) -> Result<Opener, CryptoError> {
        Opener::new(data_key, tenant, recording, header, unfinished_len(full) + TAG_LEN as u64)
    }

    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Opens chunk `index` in place: `chunk` is its sealed bytes, and its plaintext after `Ok`. After an error it is empty.
    pub fn open_chunk(&self, index: u64, chunk: &mut BytesMut) -> Result<(), CryptoError> {
        let opened = self.open_in_place(index, chunk);
        // Secrecy: bytes that did not authenticate are not handed out.
        chunk.truncate(*opened.as_ref().unwrap_or(&0));
        opened.map(drop)
    }

    /// The chunk's plaintext length.
    fn open_in_place(&self, index: u64, chunk: &mut [u8]) -> Result<usize, CryptoError> {
        // The index comes first: a place that the object does not have has no length to be computed.
        if index >= self.geometry.chunk_count() {
            return Err(CryptoError::Malformed("the object has no chunk of this index"));
        }
        let plain_len = self.geometry.chunk_plain_len(index) as usize;
        if chunk.len() != plain_len + TAG_LEN {
            return Err(CryptoError::Malformed("a chunk does not have the length of its place"));
        }
        let nonce = chunk_nonce(&self.key.base_nonce, index);
        let opened = self.key.cipher.cipher().open_in_place(nonce, Aad::empty(), chunk);
        opened.map(|_| plain_len).map_err(|_| CryptoError::NotAuthentic)
    }
}

/// Whole sealed chunks at the start of a segment whose writer died: the chunk that was being written is not counted, and
/// neither is a chunk that closes the segment.
pub fn full_chunks(segment_len: u64) -> u64 {
    segment_len.saturating_sub(HEADER_LEN as u64) / SEALED_CHUNK_LEN as u64
}

/// Bytes of a segment with `full` whole chunks and no end.
pub fn unfinished_len(full: u64) -> u64 {
    HEADER_LEN as u64 + full * SEALED_CHUNK_LEN as u64
}

/// Where a segment of the spool begins in its recording, as its header tells it.
pub fn start_in(header: &Header) -> u64 {
    u64::from_be_bytes(header.salt[..8].try_into().expect("8 bytes"))
}

/// `start || 16 random bytes`: as new as one that is all random, with the start bound into every key.
fn salt_of(start: u64) -> [u8; 24] {
    let mut salt: [u8; 24] = random();
    salt[..8].copy_from_slice(&start.to_be_bytes());
    salt
}

/// Moves the plaintext that begins at `from` to the front.
fn move_to_front(bytes: &mut [u8], from: usize) {
    let plain_len = bytes.len() - from;
    bytes.copy_within(from.., 0);
    // Secrecy: the place that the plaintext was moved from lies beyond its new end.
    bytes[from.max(plain_len)..].zeroize();
}

/// `base nonce XOR index`, the index as u64 in the last 8 bytes.
fn chunk_nonce(base: &[u8; 12], index: u64) -> Nonce {
    let mut nonce = *base;
    for (byte, index_byte) in nonce[4..].iter_mut().zip(index.to_be_bytes()) {
        *byte ^= index_byte;
    }
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests;
