//! Whole trails: in the catalog, and in exported files, for which neither catalog nor key is needed but the public one.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde::Serialize;

use super::chain::Chain;
use super::checkpoints::{Checkpoint, PAGE};
use super::line::{Line, checkpoint_line, line};
use crate::catalog::{Result, SharedCatalog};
use crate::crypto::receipt::Signer;
use crate::model::text::hex;
use crate::model::{TenantNumber, Timestamp};

/// What was found in one trail.
#[derive(Clone, Debug, Serialize)]
pub struct TrailReport {
    pub tenant_number: u32,
    pub entries: u64,
    /// The last entry.
    pub last: u64,
    /// The last entry that a checkpoint covers; what is behind it could be cut off unseen.
    pub signed: u64,
    /// The last checkpoint: keep it elsewhere, and give it back with --checkpoints.
    pub checkpoint: Option<String>,
    /// What is wrong, with its place; empty when all is well.
    pub faults: Vec<String>,
}

impl TrailReport {
    fn of(tenant: TenantNumber, chain: Chain, checkpoint: Option<String>) -> TrailReport {
        TrailReport {
            tenant_number: tenant.0,
            entries: chain.entries,
            last: chain.last(),
            signed: chain.last_signed(),
            checkpoint,
            faults: chain.faults,
        }
    }
}

/// Verifies a trail in the catalog, also against checkpoints that were kept elsewhere.
pub async fn verify_catalog(
    catalog: &SharedCatalog,
    public_key: &[u8; 32],
    tenant: TenantNumber,
    kept: &[Checkpoint],
) -> Result<TrailReport> {
    // Before the entries, so that all that they are about is there.
    let rows = catalog.checkpoints(tenant).await?;
    let (mut checkpoints, mut faults) = (Vec::new(), Vec::new());
    for row in &rows {
        match Checkpoint::read(public_key, &row.jws) {
            Ok(read) if (read.tenant_number, read.seq) == (tenant.0, row.seq) => checkpoints.push(read),
            Ok(_) => faults.push(format!("checkpoint {} is about something else", row.seq)),
            Err(fault) => faults.push(format!("checkpoint {}: {fault}", row.seq)),
        }
    }
    checkpoints.extend(kept.iter().filter(|kept| kept.tenant_number == tenant.0).cloned());
    let mut chain = Chain::new(tenant, &checkpoints);
    chain.faults = faults;
    let head = catalog.trail_head(tenant).await?;
    let (mut after, until) = (0, head.map_or(u64::MAX, |head| head.seq));
    loop {
        let page = catalog.trail_after(tenant, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        // What others append meanwhile is behind the head.
        page.iter().filter(|row| row.seq <= until).for_each(|row| chain.take(row));
        if after >= until {
            break;
        }
    }
    let beyond = catalog.trail_after(tenant, until, 1).await?;
    let is_beyond = !beyond.is_empty() && catalog.trail_head(tenant).await? == head;
    if is_beyond {
        chain.fault(format!("entry {} stands behind the head, entry {until}", beyond[0].seq));
    }
    chain.end(head);
    Ok(TrailReport::of(tenant, chain, rows.into_iter().next_back().map(|row| row.jws)))
}

/// What became of an export.
pub struct Exported {
    pub entries: u64,
    pub faults: Vec<String>,
}

/// Gives a trail line by line, and last a checkpoint of its last entry, so that a copy that was cut off is told from a whole
/// one. A trail in which something is wrong is given all the same, and no checkpoint is signed behind it.
pub async fn exported(
    catalog: &SharedCatalog,
    signer: &Signer,
    tenant: TenantNumber,
    (now, generation): (Timestamp, u64),
    mut give: impl FnMut(&str) -> io::Result<()>,
) -> Result<io::Result<Exported>> {
    let rows = catalog.checkpoints(tenant).await?;
    let read = |jws: &str| Checkpoint::read(&signer.public_key(), jws);
    let checkpoints: Vec<_> = rows.iter().filter_map(|row| read(&row.jws).ok()).collect();
    let mut chain = Chain::new(tenant, &checkpoints);
    let start = chain.head();
    let Some(head) = catalog.trail_head(tenant).await? else { return Ok(Ok(Exported { entries: 0, faults: vec![] })) };
    let mut after = 0;
    loop {
        let page = catalog.trail_after(tenant, after, PAGE).await?;
        let page: Vec<_> = page.into_iter().filter(|row| row.seq <= head.seq).collect();
        let Some(last) = page.last() else { break };
        after = last.seq;
        for row in &page {
            chain.take(row);
            if let Err(error) = give(&line(row)) {
                return Ok(Err(error));
            }
        }
    }
    chain.end(Some(head));
    if chain.faults.is_empty() {
        let start = start.expect("a checkpoint of ours has an anchor");
        let checkpoint = Checkpoint {
            tenant_number: tenant.0,
            seq: head.seq,
            hash: hex(&head.hash),
            first: start.seq + 1,
            anchor: hex(&start.hash),
            signed_at: now,
            generation,
        };
        if let Err(error) = give(&checkpoint_line(&checkpoint.sign(signer))) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(Exported { entries: chain.entries, faults: chain.faults }))
}

/// Verifies exported lines, which are read twice: checkpoints first. The second list names what belongs to no trail.
pub fn verify_lines<R: BufRead>(
    public_key: &[u8; 32],
    open: impl Fn() -> io::Result<R>,
) -> io::Result<(Vec<TrailReport>, Vec<String>)> {
    let (mut checkpoints, mut faults): (BTreeMap<u32, Vec<Checkpoint>>, _) = (BTreeMap::new(), Vec::new());
    for (number, text) in open()?.lines().enumerate() {
        let Ok(Line::Checkpoint(jws)) = Line::read(&text?) else { continue };
        match Checkpoint::read(public_key, &jws) {
            Ok(read) => checkpoints.entry(read.tenant_number).or_default().push(read),
            Err(fault) => faults.push(format!("line {}: a checkpoint: {fault}", number + 1)),
        }
    }
    let mut chains: BTreeMap<u32, (Chain, Option<String>)> = BTreeMap::new();
    for (number, text) in open()?.lines().enumerate() {
        let text = text?;
        let (tenant, jws, row) = match Line::read(&text) {
            Ok(Line::Entry(row)) => (row.tenant, None, Some(row)),
            Ok(Line::Checkpoint(jws)) => match Checkpoint::read(public_key, &jws) {
                Ok(read) => (TenantNumber(read.tenant_number), Some(jws), None),
                Err(_) => continue,
            },
            Err(_) if text.trim().is_empty() => continue,
            Err(fault) => {
                faults.push(format!("line {}: {fault}", number + 1));
                continue;
            }
        };
        let of_tenant = checkpoints.get(&tenant.0).map_or(&[][..], Vec::as_slice);
        let (chain, checkpoint) = chains.entry(tenant.0).or_insert_with(|| (Chain::new(tenant, of_tenant), None));
        if let Some(row) = row {
            chain.take(&row);
        }
        *checkpoint = jws.or(checkpoint.take());
    }
    let reports = chains.into_iter().map(|(tenant, (mut chain, checkpoint))| {
        chain.end(None);
        let (last, signed) = (chain.last(), chain.last_signed());
        if last > signed {
            chain.fault(format!("no checkpoint is signed for its last entry, {last}: its end was cut off or added"));
        }
        TrailReport::of(TenantNumber(tenant), chain, checkpoint)
    });
    Ok((reports.collect(), faults))
}
