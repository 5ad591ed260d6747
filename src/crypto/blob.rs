//! Small sealed texts: call data, and a recording's label (its name and media type).
//!
//! `nonce24 || XChaCha20-Poly1305(key, nonce, "callvault/v1/blob" || tenant4 || subject16, padded)`, where `padded` is the text,
//! 0x80, and zeros up to a multiple of 64: lengths tell little of what is in it.

use zeroize::Zeroizing;

use super::keys::{DataKey, KEY_LEN, LabelKey};
use super::wrap::{open, seal};
use super::{CryptoError, labels, random::random};
use crate::model::{SubjectId, TenantNumber};

const PAD: usize = 64;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;

/// A key that may seal blobs.
pub trait BlobKey {
    fn expose(&self) -> &[u8; KEY_LEN];
}

impl BlobKey for DataKey {
    fn expose(&self) -> &[u8; KEY_LEN] {
        DataKey::expose(self)
    }
}

impl BlobKey for LabelKey {
    fn expose(&self) -> &[u8; KEY_LEN] {
        LabelKey::expose(self)
    }
}

pub fn seal_blob(key: &impl BlobKey, tenant: TenantNumber, subject: SubjectId, text: &[u8]) -> Vec<u8> {
    seal_with_nonce(key, tenant, subject, text, random())
}

pub(super) fn seal_with_nonce(
    key: &impl BlobKey,
    tenant: TenantNumber,
    subject: SubjectId,
    text: &[u8],
    nonce: [u8; NONCE_LEN],
) -> Vec<u8> {
    let padded_len = (text.len() + 1).next_multiple_of(PAD);
    let mut blob = Vec::with_capacity(NONCE_LEN + padded_len + TAG_LEN);
    blob.extend_from_slice(&nonce);
    blob.extend_from_slice(text);
    blob.push(0x80);
    blob.resize(NONCE_LEN + padded_len, 0);
    let tag = seal(key.expose(), &nonce, &aad(tenant, subject), &mut blob[NONCE_LEN..]);
    blob.extend_from_slice(&tag);
    blob
}

pub fn open_blob(
    key: &impl BlobKey,
    tenant: TenantNumber,
    subject: SubjectId,
    blob: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let malformed = CryptoError::Malformed;
    let padded_len = blob.len().checked_sub(NONCE_LEN + TAG_LEN).ok_or(malformed("a blob is cut off"))?;
    if padded_len == 0 || padded_len % PAD != 0 {
        return Err(malformed("a blob is not padded to 64 bytes"));
    }
    let (nonce, sealed) = blob.split_at(NONCE_LEN);
    let (sealed, tag) = sealed.split_at(padded_len);
    let mut text = Zeroizing::new(sealed.to_vec());
    open(key.expose(), nonce, &aad(tenant, subject), &mut text, tag)?;
    let end = text.iter().rposition(|byte| *byte != 0).filter(|end| text[*end] == 0x80);
    let end = end.filter(|end| padded_len - end <= PAD).ok_or(malformed("a blob's padding is not canonical"))?;
    text.truncate(end);
    Ok(text)
}

fn aad(tenant: TenantNumber, subject: SubjectId) -> [u8; 37] {
    let mut aad = [0; 37];
    aad[..17].copy_from_slice(labels::BLOB);
    aad[17..21].copy_from_slice(&tenant.0.to_be_bytes());
    aad[21..].copy_from_slice(&subject.0);
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_opens_only_for_its_tenant_and_subject_and_unedited() {
        let key = DataKey::random();
        let (tenant, subject) = (TenantNumber(7), SubjectId([9; 16]));
        for len in [0, 1, 62, 63, 64, 65, 1000] {
            let text = vec![b'x'; len];
            let blob = seal_blob(&key, tenant, subject, &text);

            assert_eq!(*open_blob(&key, tenant, subject, &blob).expect("unedited"), text);
            assert_eq!((blob.len() - 40) % 64, 0);
            assert!(open_blob(&key, TenantNumber(8), subject, &blob).is_err());
            assert!(open_blob(&key, tenant, SubjectId([8; 16]), &blob).is_err());
            for position in 0..blob.len() {
                let mut edited = blob.clone();
                edited[position] ^= 1;
                assert!(open_blob(&key, tenant, subject, &edited).is_err());
                assert!(open_blob(&key, tenant, subject, &blob[..position]).is_err());
            }
        }
    }
}
