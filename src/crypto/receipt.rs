//! What receipts of destruction are made of: object digests, a Merkle root, a signature, a chain.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use super::keys::SigningSeed;

/// SHA-256 over an object's header and its chunks' tags, in order. It costs a thousandth of a hash over all bytes, and
/// binds them as firmly as the tags do: nobody without the data key can make another object with the same tags.
#[derive(Default)]
pub struct DigestOfTags(Sha256);

impl DigestOfTags {
    /// Takes the header first, then each tag.
    pub fn new() -> DigestOfTags {
        DigestOfTags::default()
    }

    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// The digest of a whole object, for whoever holds a copy and asks whether a receipt covers it.
    pub fn of_object(object: &[u8]) -> Result<[u8; 32], super::CryptoError> {
        use super::header::{Geometry, HEADER_LEN, Header, TAG_LEN};
        let header_bytes =
            object.get(..HEADER_LEN).ok_or(super::CryptoError::Malformed("a header is 72 bytes long"))?;
        let geometry = Geometry::of_sealed(&Header::read(header_bytes)?, object.len() as u64)?;
        let mut digest = DigestOfTags::new();
        digest.update(header_bytes);
        for chunk in 0..geometry.chunk_count() {
            let end = geometry.span(chunk, chunk).end as usize;
            digest.update(&object[end - TAG_LEN..end]);
        }
        Ok(digest.finish())
    }
}

/// The root of RFC 9162 section 2.1.1 over leaves that are added one by one, in memory that grows with their logarithm.
#[derive(Default)]
pub struct MerkleTree {
    /// Roots of full subtrees, each twice as large as the one after it or larger, with their levels.
    peaks: Vec<(u32, [u8; 32])>,
}

impl MerkleTree {
    /// Adds `SHA-256(0x00 || leaf)`.
    pub fn add(&mut self, leaf: &[u8]) {
        let mut level = 0;
        let mut node: [u8; 32] = Sha256::new().chain_update([0]).chain_update(leaf).finalize().into();
        while let Some((_, left)) = self.peaks.pop_if(|(peak_level, _)| *peak_level == level) {
            node = inner(&left, &node);
            level += 1;
        }
        self.peaks.push((level, node));
    }

    /// SHA-256 of nothing for an empty tree.
    pub fn root(&self) -> [u8; 32] {
        let nodes = self.peaks.iter().rev().map(|(_, node)| *node);
        nodes.reduce(|right, left| inner(&left, &right)).unwrap_or_else(|| Sha256::digest([]).into())
    }
}

fn inner(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Signs receipts: Ed25519 (RFC 8032).
pub struct Signer(Ed25519KeyPair);

impl Signer {
    pub fn new(seed: &SigningSeed) -> Signer {
        Signer(Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("any 32 bytes are a seed"))
    }

    pub fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().expect("a public key is 32 bytes long")
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().expect("a signature is 64 bytes long")
    }
}

/// Whether `signature` over `message` was made by the holder of `public_key`.
pub fn verify_signature(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
}

/// What a receipt names as the one before it.
pub fn chain_hash(signed_text: &[u8]) -> [u8; 32] {
    Sha256::digest(signed_text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The recursive definition of RFC 9162, word for word.
    fn defined_root(leaves: &[Vec<u8>]) -> [u8; 32] {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => Sha256::new().chain_update([0]).chain_update(leaf).finalize().into(),
            _ => {
                let half = leaves.len().next_power_of_two() / 2;
                inner(&defined_root(&leaves[..half]), &defined_root(&leaves[half..]))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_rfc_9162_for_every_number_of_leaves() {
        let mut tree = MerkleTree::default();
        let mut leaves: Vec<Vec<u8>> = Vec::new();
        assert_eq!(hex(&tree.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for number in 0..70u32 {
            leaves.push(number.to_be_bytes().to_vec());
            tree.add(&number.to_be_bytes());

            assert_eq!(tree.root(), defined_root(&leaves), "{} leaves", leaves.len());
        }
    }

    #[test]
    fn a_signature_holds_for_its_text_and_key_only() {
        let signer = Signer::new(&SigningSeed::take(&mut [1; 32]));
        let other = Signer::new(&SigningSeed::take(&mut [2; 32]));
        let signature = signer.sign(b"text");

        assert!(verify_signature(&signer.public_key(), b"text", &signature));
        assert!(!verify_signature(&signer.public_key(), b"Text", &signature));
        assert!(!verify_signature(&other.public_key(), b"text", &signature));
    }
}
