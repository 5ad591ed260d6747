//! Audit trails in the catalog: one chain of entries for each tenant, and one for the house.
//!
//! # Promise
//! Numbers are given from 1 without gaps, each once, whatever servers append at once: the row of a trail's head is held while
//! entries are appended to it, and the key of an entry is its number. `Ok` of [`Trails::append_trail`] means that all
//! entries are durable; an error means that none of them is there.
//! # Limits
//! Whoever can write to the database can write a chain of his own. What he cannot make is the signature of a checkpoint
//! (`audit/checkpoints.rs`), and what he cannot take back is a checkpoint that was copied out.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Result;
use crate::crypto::trail::{entry_hash, genesis};
use crate::model::trail::{Action, Entry};
use crate::model::{RecordingId, TenantNumber, Timestamp};

/// An entry as stored. `at`, `action` and `recording` repeat what the text says, so that it can be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailRow {
    pub tenant: TenantNumber,
    pub seq: u64,
    pub at: Timestamp,
    pub action: String,
    pub recording: Option<RecordingId>,
    pub hash: [u8; 32],
    /// The bytes that are hashed.
    pub text: String,
}

/// The last entry of a trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrailHead {
    pub seq: u64,
    pub hash: [u8; 32],
}

impl TrailHead {
    /// Before the first entry.
    pub fn genesis(tenant: TenantNumber) -> TrailHead {
        TrailHead { seq: 0, hash: genesis(tenant) }
    }
}

/// A signed statement about a trail's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    pub tenant: TenantNumber,
    /// The entry that was the head.
    pub seq: u64,
    pub jws: String,
}

/// What is asked of a trail; newest first.
#[derive(Clone, Debug)]
pub struct TrailQuery {
    pub tenant: TenantNumber,
    pub recording: Option<RecordingId>,
    pub action: Option<Action>,
    /// At or after.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Where the page before ended.
    pub below: Option<u64>,
    pub limit: u32,
}

/// Numbers follow the order in which entries were made but for this much: entries wait for each other, and servers' clocks
/// differ (`expire` stops at 300 s).
pub(super) const DISORDER_MS: i64 = 600_000;

/// The verbs about trails. See the module for what `Ok` and an error mean.
#[async_trait]
pub trait Trails: Send + Sync + 'static {
    /// Appends, in this order, and returns the number of each. Entries of several callers share a commit.
    async fn append_trail(&self, entries: Vec<(TenantNumber, Entry)>) -> Result<Vec<u64>>;
    /// Newest first.
    async fn trail(&self, query: TrailQuery) -> Result<Vec<TrailRow>>;
    /// Ascending, behind `after`.
    async fn trail_after(&self, tenant: TenantNumber, after: u64, limit: u32) -> Result<Vec<TrailRow>>;
    /// `None`: nothing was ever appended.
    async fn trail_head(&self, tenant: TenantNumber) -> Result<Option<TrailHead>>;
    /// Of which there is a trail, ascending.
    async fn trail_tenants(&self) -> Result<Vec<TenantNumber>>;
    /// The last of those, counted from the first and at most `limit` of them, that are all older than `before`.
    async fn trail_old(&self, tenant: TenantNumber, before: Timestamp, limit: u32) -> Result<Option<TrailHead>>;
    /// Writes a checkpoint, in place of the one at `replaces`, and removes all entries and checkpoints below `first`.
    async fn checkpoint_trail(&self, checkpoint: CheckpointRow, replaces: Option<u64>, first: u64) -> Result<()>;
    async fn last_checkpoint(&self, tenant: TenantNumber) -> Result<Option<CheckpointRow>>;
    /// Ascending.
    async fn checkpoints(&self, tenant: TenantNumber) -> Result<Vec<CheckpointRow>>;
}

/// Rows that are to be inserted, with the heads that they leave.
pub(super) struct Chained {
    pub rows: Vec<TrailRow>,
    pub heads: BTreeMap<TenantNumber, TrailHead>,
    /// In the order in which they were asked for.
    pub numbers: Vec<u64>,
}

/// Chains entries behind the heads that are held; a trail without one begins.
pub(super) fn chained(mut heads: BTreeMap<TenantNumber, TrailHead>, entries: &[(TenantNumber, Entry)]) -> Chained {
    let (mut rows, mut numbers) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
    for (tenant, entry) in entries {
        let head = heads.entry(*tenant).or_insert_with(|| TrailHead::genesis(*tenant));
        let (seq, text) = (head.seq + 1, entry.to_text());
        let hash = entry_hash(*tenant, seq, &head.hash, &text);
        *head = TrailHead { seq, hash };
        numbers.push(seq);
        rows.push(TrailRow {
            tenant: *tenant,
            seq,
            at: entry.at,
            action: entry.action.as_str().to_owned(),
            recording: entry.recording,
            hash,
            text,
        });
    }
    heads.retain(|tenant, _| entries.iter().any(|(of, _)| of == tenant));
    Chained { rows, heads, numbers }
}
