//! Receipts of destruction: one per tenant and run, signed, chained, verifiable offline with the public key alone.
//!
//! A receipt is a JWS in compact form (RFC 7515) with Ed25519 (RFC 8037), so that any JOSE library reads it. Its payload is
//! [`ReceiptBody`]; `previous` is the SHA-256 of the receipt before it, as text, which makes a receipt that was left out,
//! exchanged or reordered visible.

use serde::{Deserialize, Serialize};

use super::Expire;
use crate::catalog::{CatalogError, ReceiptRow, Result as CatalogResult, Run};
use crate::crypto::jws::Statement;
use crate::crypto::receipt::{MerkleTree, chain_hash};
use crate::model::text::hex;
use crate::model::trail::{Action, Entry, HOUSE, Who};
use crate::model::{Epoch, RecordingId, TenantNumber, Timestamp};

/// What a receipt says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptBody {
    pub tenant: String,
    pub tenant_number: u32,
    /// From 1, without gaps.
    pub number: u64,
    pub run: u64,
    pub destroyed_at: Timestamp,
    /// Everything that ended before this instant is destroyed.
    pub floor: Timestamp,
    pub floor_before: Timestamp,
    pub generation_before: u64,
    pub generation: u64,
    pub classes: Vec<ClassBody>,
    /// Recordings of which no key is left.
    pub recordings: u64,
    /// RFC 9162 over `recording id16 || object digest32`, ascending by id; 32 zeros stand for an object that never was.
    pub merkle_root: String,
    /// SHA-256 of the ring file before and after; neither can be read any more once it is destroyed.
    pub ring_before: String,
    pub ring_after: String,
    /// SHA-256 of the receipt before this one, as text.
    pub previous: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassBody {
    pub class: String,
    pub keys: u64,
    /// The hours in which they ended.
    pub first_epoch: Timestamp,
    pub last_epoch: Timestamp,
}

/// What verification found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    pub receipts: u64,
    /// What is wrong, with its place; empty when all is well.
    pub faults: Vec<String>,
}

const RECEIPT: Statement = Statement("receipt");
const PAGE: u32 = 1_000;

impl Expire {
    /// Writes the receipts of a run whose rows are done, and closes it.
    pub(super) async fn write_receipts(&self, run: u64, now: Timestamp) -> CatalogResult<u64> {
        let mark = self.catalog.ring_mark().await?;
        let run = mark.run.filter(|open| open.id == run).ok_or(CatalogError::WrongState)?;
        let signer = self.keyring.signer();
        let mut receipts = Vec::new();
        for tenant in self.catalog.run_tenants(run.id).await? {
            let previous = self.catalog.last_receipt(tenant).await?;
            let body = self.receipt(&run, tenant, previous.as_ref(), now).await?;
            let (number, jws) = (body.number, RECEIPT.sign(&signer, &body));
            receipts.push(ReceiptRow { tenant, run: run.id, number, jws });
        }
        let count = receipts.len() as u64;
        let told = receipts.iter().map(|receipt| {
            let told = Entry::new(now, Action::Destroyed, Who::SYSTEM);
            (receipt.tenant, told.noting(format!("receipt {} of run {}", receipt.number, receipt.run)))
        });
        let run_told = Entry::new(now, Action::Expire, Who::SYSTEM).counting(count);
        let run_told =
            run_told.noting(format!("run {}: everything that ended before {} is destroyed", run.id, run.floor.start()));
        self.catalog.append_trail(told.chain([(HOUSE, run_told)]).collect()).await?;
        self.catalog.finish_run(run.id, receipts).await?;
        Ok(count)
    }

    async fn receipt(
        &self,
        run: &Run,
        tenant: TenantNumber,
        previous: Option<&ReceiptRow>,
        now: Timestamp,
    ) -> CatalogResult<ReceiptBody> {
        let committed = run.committed.ok_or(CatalogError::WrongState)?;
        let slug = self.catalog.tenant_by_number(tenant).await?.ok_or(CatalogError::NotFound)?.slug;
        let classes = self.catalog.run_classes(run.id, tenant).await?;
        let (recordings, merkle_root) = self.merkle(run.id, tenant).await?;
        Ok(ReceiptBody {
            tenant: slug.to_string(),
            tenant_number: tenant.0,
            number: previous.map_or(1, |previous| previous.number + 1),
            run: run.id,
            destroyed_at: now,
            floor: run.floor.start(),
            floor_before: run.floor_before.start(),
            generation_before: run.from_generation,
            generation: committed.generation,
            classes: classes.iter().map(class_body).collect(),
            recordings,
            merkle_root: hex(&merkle_root),
            ring_before: hex(&run.ring_before),
            ring_after: hex(&committed.ring_after),
            previous: previous.map(|previous| hex(&chain_hash(previous.jws.as_bytes()))),
        })
    }

    async fn merkle(&self, run: u64, tenant: TenantNumber) -> CatalogResult<(u64, [u8; 32])> {
        let mut tree = MerkleTree::default();
        let (mut count, mut after): (u64, Option<RecordingId>) = (0, None);
        loop {
            let page = self.catalog.run_recordings(run, tenant, after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok((count, tree.root())) };
            after = Some(*last);
            for (recording, digest) in &page {
                let mut leaf = [0; 48];
                leaf[..16].copy_from_slice(recording.as_bytes());
                leaf[16..].copy_from_slice(&digest.unwrap_or_default());
                tree.add(&leaf);
                count += 1;
            }
        }
    }
}

fn class_body(count: &crate::catalog::ClassCount) -> ClassBody {
    ClassBody {
        class: count.class.to_string(),
        keys: count.count,
        first_epoch: Epoch::start(count.first_epoch),
        last_epoch: Epoch::start(count.last_epoch),
    }
}

/// Verifies receipts of one tenant, ascending: signatures under `public_key`, numbers, and the chain.
pub fn verify_chain<'a>(public_key: &[u8; 32], receipts: impl IntoIterator<Item = &'a str>) -> VerifyReport {
    let mut report = VerifyReport { receipts: 0, faults: Vec::new() };
    let mut previous: Option<(u64, String)> = None;
    for jws in receipts {
        report.receipts += 1;
        let place = format!("receipt {} of the list", report.receipts);
        match read(public_key, jws) {
            Err(fault) => report.faults.push(format!("{place}: {fault}")),
            Ok(body) => {
                let expected_number = previous.as_ref().map_or(1, |(number, _)| number + 1);
                if body.number != expected_number {
                    let number = body.number;
                    report.faults.push(format!("{place}: number {number} stands where {expected_number} is due"));
                }
                if body.previous != previous.as_ref().map(|(_, hash)| hash.clone()) {
                    report.faults.push(format!("{place}: it does not follow the receipt before it"));
                }
                previous = Some((body.number, hex(&chain_hash(jws.as_bytes()))));
            }
        }
    }
    report
}

/// The body of one receipt whose signature holds.
pub fn read(public_key: &[u8; 32], jws: &str) -> std::result::Result<ReceiptBody, String> {
    RECEIPT.read(public_key, jws)
}
