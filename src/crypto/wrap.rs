//! A data key sealed under the key of its term: 72 bytes, kept in the catalog's row and never in the object.
//!
//! The associated data binds what the row says in the clear. Whoever edits the end of the term, the length, the
//! completeness or the object in a row, or swaps two rows, gets a wrap that does not open.

use chacha20poly1305::aead::{AeadInOut, KeyInit, inout::InOutBuf};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::keys::{DataKey, KEY_LEN, Kek};
use super::{CryptoError, labels, random::random};
use crate::model::{Completeness, ObjectId, Timestamp};

pub const WRAP_LEN: usize = 72;

/// Stands for the length while a recording is being received.
const LEN_UNKNOWN: u64 = u64::MAX;

/// What a wrap is bound to besides its key's scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Whole seconds count.
    pub expires_at: Timestamp,
    pub object: ObjectId,
    /// `None` while a recording is being received.
    pub plain_len: Option<u64>,
    pub completeness: Completeness,
}

impl Binding {
    /// `"callvault/v1/wrap" || expires_at i64 || object id16 || plain_len u64 || completeness u8`, seconds since 1970.
    fn aad(&self) -> [u8; 50] {
        let mut aad = [0; 50];
        aad[..17].copy_from_slice(labels::WRAP);
        aad[17..25].copy_from_slice(&self.expires_at.as_second().to_be_bytes());
        aad[25..41].copy_from_slice(&self.object.0);
        aad[41..49].copy_from_slice(&self.plain_len.unwrap_or(LEN_UNKNOWN).to_be_bytes());
        aad[49] = self.completeness as u8;
        aad
    }
}

/// `nonce24 || XChaCha20-Poly1305(KEK, nonce, aad, DEK32)`. The nonce is random: one key may wrap again when a recording
/// grows, and 192 random bits do not repeat.
pub fn wrap(kek: &Kek, data_key: &DataKey, binding: &Binding) -> [u8; WRAP_LEN] {
    wrap_with_nonce(kek, data_key, binding, random())
}

pub(super) fn wrap_with_nonce(kek: &Kek, data_key: &DataKey, binding: &Binding, nonce: [u8; 24]) -> [u8; WRAP_LEN] {
    let mut wrapped = [0; WRAP_LEN];
    wrapped[..24].copy_from_slice(&nonce);
    wrapped[24..24 + KEY_LEN].copy_from_slice(data_key.expose());
    let tag = seal(kek.expose(), &nonce, &binding.aad(), &mut wrapped[24..24 + KEY_LEN]);
    wrapped[24 + KEY_LEN..].copy_from_slice(&tag);
    wrapped
}

/// Opens what [`wrap`] made for the same key and binding.
pub fn unwrap(kek: &Kek, wrapped: &[u8], binding: &Binding) -> Result<DataKey, CryptoError> {
    let wrapped: &[u8; WRAP_LEN] = wrapped.try_into().map_err(|_| CryptoError::Malformed("a wrap is 72 bytes long"))?;
    let (nonce, sealed) = wrapped.split_at(24);
    let (key, tag) = sealed.split_at(KEY_LEN);
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    bytes.copy_from_slice(key);
    open(kek.expose(), nonce, &binding.aad(), &mut *bytes, tag)?;
    Ok(DataKey::take(&mut bytes))
}

/// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), in place; returns the tag.
pub(super) fn seal(key: &[u8; KEY_LEN], nonce: &[u8; 24], aad: &[u8], plain: &mut [u8]) -> [u8; 16] {
    let cipher = XChaCha20Poly1305::new(key.into());
    let tag = cipher
        .encrypt_inout_detached(&XNonce::from(*nonce), aad, InOutBuf::from(plain))
        .expect("the text is far below the cipher's 256 GiB");
    tag.into()
}

/// In place; on an error the contents are not to be used.
pub(super) fn open(
    key: &[u8; KEY_LEN],
    nonce: &[u8],
    aad: &[u8],
    sealed: &mut [u8],
    tag: &[u8],
) -> Result<(), CryptoError> {
    let nonce: [u8; 24] = nonce.try_into().expect("the caller cuts 24 bytes");
    let tag: [u8; 16] = tag.try_into().expect("the caller cuts 16 bytes");
    XChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(&XNonce::from(nonce), aad, InOutBuf::from(sealed), &Tag::from(tag))
        .map_err(|_| CryptoError::NotAuthentic)
}
