//! Checkpoints: at each expire run the head of every trail that has grown is signed, so that a history cannot be exchanged as
//! a whole; and what is older than the trail's own term is cut off, with a checkpoint that says so.
//!
//! # Promise
//! Nothing is signed that does not follow what was signed before: a trail whose new entries do not chain keeps its last
//! checkpoint, and is reported. Old entries go only where they are found whole; one transaction removes them and writes the
//! checkpoint that tells where the trail begins.

use serde::{Deserialize, Serialize};

use super::chain::Chain;
use crate::catalog::{CatalogError, CheckpointRow, Result, SharedCatalog, TrailHead};
use crate::crypto::jws::Statement;
use crate::crypto::receipt::Signer;
use crate::crypto::trail::genesis;
use crate::model::text::{hex, unhex};
use crate::model::trail::{Action, Entry, TrailTerm, Who};
use crate::model::{TenantNumber, Timestamp};

const CHECKPOINT: Statement = Statement("checkpoint");
/// Rows of one read.
pub(super) const PAGE: u32 = 1_000;
// Limit: entries that one run removes of one trail, in one transaction; uploads wait behind it.
const CUT_MAX: u32 = 20_000;

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub tenant_number: u32,
    /// The last entry, and its hash.
    pub seq: u64,
    pub hash: String,
    /// The first entry that is kept, and the hash that it follows.
    pub first: u64,
    pub anchor: String,
    pub signed_at: Timestamp,
    /// Of the ring at that time.
    pub generation: u64,
}

impl Checkpoint {
    pub fn read(public_key: &[u8; 32], jws: &str) -> std::result::Result<Checkpoint, String> {
        CHECKPOINT.read(public_key, jws)
    }

    pub(super) fn hash(&self) -> Option<[u8; 32]> {
        unhex(&self.hash)?.try_into().ok()
    }

    pub(super) fn anchor_hash(&self) -> Option<[u8; 32]> {
        unhex(&self.anchor)?.try_into().ok()
    }

    /// A statement of this moment about a trail that begins where `self` begins, or at its beginning.
    pub(super) fn sign(&self, signer: &Signer) -> String {
        CHECKPOINT.sign(signer, self)
    }
}

/// What a run made of the trails.
#[derive(Debug, Default)]
pub struct Sealed {
    pub checkpoints: u64,
    /// Entries that were past their term.
    pub cut: u64,
    /// Trails that were not signed, and why.
    pub faults: Vec<String>,
}

/// Signs what has grown, and cuts what is old.
pub async fn sealed(
    catalog: &SharedCatalog,
    signer: &Signer,
    term: TrailTerm,
    now: Timestamp,
    generation: u64,
) -> Result<Sealed> {
    let run = Run { catalog, signer, term, now, generation };
    let mut sealed = Sealed::default();
    for tenant in catalog.trail_tenants().await? {
        match run.seal(tenant, &mut sealed).await {
            Ok(()) => {}
            Err(Unsigned::Fault(fault)) => sealed.faults.push(format!("tenant {}: {fault}", tenant.0)),
            Err(Unsigned::Catalog(error)) => return Err(error),
        }
    }
    Ok(sealed)
}

/// Why a trail was not signed.
enum Unsigned {
    Fault(String),
    Catalog(CatalogError),
}

impl From<CatalogError> for Unsigned {
    fn from(error: CatalogError) -> Unsigned {
        Unsigned::Catalog(error)
    }
}

struct Run<'a> {
    catalog: &'a SharedCatalog,
    signer: &'a Signer,
    term: TrailTerm,
    now: Timestamp,
    generation: u64,
}

impl Run<'_> {
    async fn seal(&self, tenant: TenantNumber, sealed: &mut Sealed) -> std::result::Result<(), Unsigned> {
        let last = self.last(tenant).await?;
        let (first, anchor) =
            last.as_ref().map_or((1, genesis(tenant)), |last| (last.first, last.anchor_hash().unwrap_or_default()));
        let mut kept = TrailHead { seq: first - 1, hash: anchor };
        let old = self.catalog.trail_old(tenant, self.term.before(self.now), CUT_MAX).await?;
        if let Some(old) = old.filter(|old| old.seq >= first) {
            self.walk(tenant, kept, old).await?;
            let cut = Entry::new(self.now, Action::AuditCut, Who::SYSTEM);
            let cut =
                cut.counting(old.seq - kept.seq).noting(format!("entries {first} to {} are past their term", old.seq));
            self.catalog.append_trail(vec![(tenant, cut)]).await?;
            sealed.cut += old.seq - kept.seq;
            kept = old;
        }
        let Some(head) = self.catalog.trail_head(tenant).await? else { return Ok(()) };
        let signed = last.as_ref().map_or(TrailHead::genesis(tenant), |last| TrailHead {
            seq: last.seq,
            hash: last.hash().unwrap_or_default(),
        });
        if head == signed && kept.seq + 1 == first {
            return Ok(());
        }
        self.walk(tenant, signed, head).await?;
        self.sign(tenant, head, kept, last.as_ref()).await?;
        sealed.checkpoints += 1;
        Ok(())
    }

    async fn sign(
        &self,
        tenant: TenantNumber,
        head: TrailHead,
        kept: TrailHead,
        last: Option<&Checkpoint>,
    ) -> Result<()> {
        let checkpoint = Checkpoint {
            tenant_number: tenant.0,
            seq: head.seq,
            hash: hex(&head.hash),
            first: kept.seq + 1,
            anchor: hex(&kept.hash),
            signed_at: self.now,
            generation: self.generation,
        };
        // One for each day is enough: a later one holds all before it.
        let day = |at: Timestamp| at.as_second().div_euclid(86_400);
        let replaces = last.filter(|last| day(last.signed_at) == day(self.now)).map(|last| last.seq);
        let row = CheckpointRow { tenant, seq: head.seq, jws: checkpoint.sign(self.signer) };
        self.catalog.checkpoint_trail(row, replaces, checkpoint.first).await?;
        tracing::info!(
            tenant.number = tenant.0,
            entry = head.seq,
            hash = checkpoint.hash,
            "the head of an audit trail is signed"
        );
        Ok(())
    }

    /// The last checkpoint, which must be one of ours.
    async fn last(&self, tenant: TenantNumber) -> std::result::Result<Option<Checkpoint>, Unsigned> {
        let Some(row) = self.catalog.last_checkpoint(tenant).await? else { return Ok(None) };
        let read = Checkpoint::read(&self.signer.public_key(), &row.jws);
        let checkpoint = read.map_err(|fault| Unsigned::Fault(format!("checkpoint {}: {fault}", row.seq)))?;
        if (checkpoint.tenant_number, checkpoint.seq) != (tenant.0, row.seq) {
            return Err(Unsigned::Fault(format!("checkpoint {} is about something else", row.seq)));
        }
        Ok(Some(checkpoint))
    }

    /// Holds the entries behind one head up to another against their chain.
    async fn walk(&self, tenant: TenantNumber, from: TrailHead, to: TrailHead) -> std::result::Result<(), Unsigned> {
        let mut chain = Chain::behind(tenant, from);
        while chain.last() < to.seq && chain.faults.is_empty() {
            let page = self.catalog.trail_after(tenant, chain.last(), PAGE).await?;
            let rows = page.iter().filter(|row| row.seq <= to.seq);
            let before = chain.last();
            rows.for_each(|row| chain.take(row));
            if chain.last() == before {
                break;
            }
        }
        chain.end(Some(to));
        match chain.faults.into_iter().next() {
            None => Ok(()),
            Some(fault) => Err(Unsigned::Fault(fault)),
        }
    }
}
