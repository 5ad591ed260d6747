//! The chain of an audit trail: each entry's hash holds the one before it.
//!
//! ```text
//! hash(0) = SHA-256("callvault/v1/trail" || 0x00 || tenant u32)
//! hash(n) = SHA-256("callvault/v1/trail" || 0x01 || tenant u32 || n u64 || hash(n - 1) || text)
//! ```
//! Every part but the last has a fixed length, so no two inputs can run into each other.

use sha2::{Digest, Sha256};

use super::labels;
use crate::model::TenantNumber;

/// What the first entry of a tenant's trail follows.
pub fn genesis(tenant: TenantNumber) -> [u8; 32] {
    start(0, tenant).finalize().into()
}

/// The hash of entry `seq`, counted from 1, whose text is exactly this and which follows `previous`.
pub fn entry_hash(tenant: TenantNumber, seq: u64, previous: &[u8; 32], text: &str) -> [u8; 32] {
    let hash = start(1, tenant).chain_update(seq.to_be_bytes()).chain_update(previous).chain_update(text);
    hash.finalize().into()
}

fn start(kind: u8, tenant: TenantNumber) -> Sha256 {
    Sha256::new().chain_update(labels::TRAIL).chain_update([kind]).chain_update(tenant.0.to_be_bytes())
}
