//! A walk along a trail: each entry is held against its place, the one before it, and every checkpoint that names it.

use std::collections::BTreeSet;

use super::checkpoints::Checkpoint;
use super::line::Repeated;
use crate::catalog::{TrailHead, TrailRow};
use crate::crypto::trail::entry_hash;
use crate::model::TenantNumber;
use crate::model::text::hex;

// Limit: faults that are told one by one; a trail in which more is wrong is wrong as a whole.
const FAULTS_MAX: usize = 100;

/// What was seen of a trail so far.
pub(super) struct Chain {
    tenant: TenantNumber,
    /// The number that is due.
    due: u64,
    /// Of the entry before; `None` behind a gap.
    previous: Option<[u8; 32]>,
    /// Entries that were signed: numbers and hashes.
    signed: BTreeSet<(u64, [u8; 32])>,
    pub entries: u64,
    pub faults: Vec<String>,
}

impl Chain {
    /// Begins where the last checkpoint says that the trail begins.
    pub fn new(tenant: TenantNumber, checkpoints: &[Checkpoint]) -> Chain {
        let head = TrailHead::genesis(tenant);
        let (due, previous) = match checkpoints.iter().max_by_key(|checkpoint| (checkpoint.seq, checkpoint.first)) {
            Some(last) => (last.first, last.anchor_hash()),
            None => (1, Some(head.hash)),
        };
        let signed = checkpoints.iter().filter_map(|checkpoint| Some((checkpoint.seq, checkpoint.hash()?)));
        Chain { tenant, due, previous, signed: signed.collect(), entries: 0, faults: Vec::new() }
    }

    /// Begins behind an entry whose hash is known.
    pub fn behind(tenant: TenantNumber, head: TrailHead) -> Chain {
        let (due, previous) = (head.seq + 1, Some(head.hash));
        Chain { tenant, due, previous, signed: BTreeSet::new(), entries: 0, faults: Vec::new() }
    }

    /// The last entry that was seen.
    pub fn last(&self) -> u64 {
        self.due - 1
    }

    /// The head that it would have if it ended here.
    pub fn head(&self) -> Option<TrailHead> {
        Some(TrailHead { seq: self.last(), hash: self.previous? })
    }

    pub fn last_signed(&self) -> u64 {
        self.signed.last().map_or(0, |(signed, _)| *signed)
    }

    pub fn fault(&mut self, what: impl Into<String>) {
        match self.faults.len() {
            ..FAULTS_MAX => self.faults.push(what.into()),
            FAULTS_MAX => self.faults.push("and more".into()),
            _ => {}
        }
    }

    /// The next entry of the list.
    pub fn take(&mut self, row: &TrailRow) {
        let seq = row.seq;
        self.entries += 1;
        if row.tenant != self.tenant {
            return self.fault(format!("entry {seq} stands in another tenant's trail"));
        }
        if seq < self.due {
            let due = self.due;
            return self.fault(format!("entry {seq} stands where entry {due} is due: repeated, moved, or not removed"));
        }
        if seq > self.due {
            let (first, last) = (self.due, seq - 1);
            self.fault(match last - first {
                0 => format!("entry {first} is missing"),
                _ => format!("entries {first} to {last} are missing"),
            });
            self.previous = None;
        }
        let follows = |previous| entry_hash(self.tenant, seq, &previous, &row.text) == row.hash;
        if !self.previous.is_none_or(follows) {
            let before = seq - 1;
            self.fault(format!(
                "entry {seq} is not what was chained behind entry {before}: one of the two was altered"
            ));
        }
        let signed: Vec<_> = self.signed.range((seq, [0; 32])..=(seq, [0xFF; 32])).copied().collect();
        if let Some((_, other)) = signed.iter().find(|(_, signed)| *signed != row.hash) {
            let other = hex(&other[..8]);
            self.fault(format!("entry {seq} is not the one whose hash {other}... was signed: this is another history"));
        }
        if !repeats(row) {
            self.fault(format!("entry {seq} is listed under another time, action or recording than it tells"));
        }
        (self.due, self.previous) = (seq + 1, Some(row.hash));
    }

    /// The end of the list: whatever is signed beyond it is missing.
    pub fn end(&mut self, head: Option<TrailHead>) {
        let last = self.last();
        let signed = self.last_signed();
        let is_head = |head: TrailHead| head.seq == last && self.previous.is_none_or(|previous| previous == head.hash);
        if signed > last {
            self.fault(format!("the end is cut off: it ends with entry {last}, and entry {signed} was signed"));
        } else if let Some(head) = head.filter(|head| !is_head(*head)) {
            let head = head.seq;
            self.fault(format!(
                "it ends with entry {last}, and its head is entry {head}: the end was cut off or added"
            ));
        }
    }
}

/// Whether the columns say what the text says.
fn repeats(row: &TrailRow) -> bool {
    serde_json::from_str::<Repeated>(&row.text).is_ok_and(|text| {
        text.at == row.at && text.action == row.action && text.recording == row.recording.map(|id| id.to_string())
    })
}
