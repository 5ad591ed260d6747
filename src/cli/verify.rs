//! `callvault verify`: every object is read and authenticated.

use std::collections::HashSet;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::output::{Output, size};
use super::{Failure, Outcome};
use crate::app::Vault;
use crate::catalog::Recording;
use crate::model::{ObjectId, RecordingId, State};
use crate::reading::ReadError;

const PAGE: u32 = 500;

/// What was found.
#[derive(Default, Serialize)]
struct VerifyReport {
    recordings: u64,
    bytes: u64,
    /// Their keys are destroyed, or died while this ran.
    ended: u64,
    /// Objects that no recording needs; the next sweep or a person removes them.
    orphans: u64,
    faults: Vec<Fault>,
}

#[derive(Serialize)]
struct Fault {
    recording: String,
    fault: String,
}

pub async fn run(vault: Vault, output: Output) -> Outcome {
    let total = vault.catalog.counts().await?.live_bytes;
    let bar = if output.is_json || !std::io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left  {msg}");
        ProgressBar::new(total).with_style(style.expect("the template is well-formed"))
    };
    let mut report = VerifyReport::default();
    let mut needed: HashSet<ObjectId> = HashSet::new();
    for state in [State::Receiving, State::Spooled, State::Stored, State::Held] {
        let mut after: Option<RecordingId> = None;
        loop {
            let page = vault.catalog.in_state(state, None, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for recording in &page {
                needed.insert(recording.object);
                if state != State::Receiving {
                    verify(&vault, recording, &bar, &mut report).await;
                }
            }
        }
    }
    report.orphans = count_orphans(&vault, &needed).await?;
    bar.finish_and_clear();
    output.print(&report, describe);
    match report.faults.len() {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{count} recordings are damaged"))),
    }
}

async fn verify(vault: &Vault, recording: &Recording, bar: &ProgressBar, report: &mut VerifyReport) {
    let verified = async {
        let data_key = vault.reader.any_data_key(recording)?;
        vault.reader.label(recording, &data_key)?;
        let opened = vault.reader.open(recording, &data_key).await?;
        opened
            .verify(|bytes| {
                bar.inc(bytes);
                report.bytes += bytes;
            })
            .await
    };
    match verified.await {
        Ok(()) => report.recordings += 1,
        Err(ReadError::Gone) => report.ended += 1,
        Err(error) => {
            bar.set_message(format!("{} damaged", report.faults.len() + 1));
            report
                .faults
                .push(Fault { recording: recording.id.to_string(), fault: crate::model::error::chain(&error) });
        }
    }
}

/// Objects in the store that neither a recording nor the sweep knows of.
async fn count_orphans(vault: &Vault, needed: &HashSet<ObjectId>) -> Result<u64, Failure> {
    let listed =
        vault.reader.store.list().await.map_err(|error| Failure::Failed(crate::model::error::chain(&error)))?;
    let to_sweep: HashSet<_> = vault.catalog.objects_to_sweep(u32::MAX).await?.into_iter().collect();
    let unknown = listed.iter().filter(|(object, _)| !needed.contains(object) && !to_sweep.contains(object));
    Ok(unknown.count() as u64)
}

fn describe(report: &VerifyReport) -> String {
    let mut text = format!("{} recordings ({}) are sound.\n", report.recordings, size(report.bytes));
    if report.ended > 0 {
        text += &format!("{} have ended; their keys are destroyed.\n", report.ended);
    }
    if report.orphans > 0 {
        text += &format!("{} objects in the store belong to no recording.\n", report.orphans);
    }
    for fault in &report.faults {
        text += &format!("DAMAGED {}: {}\n", fault.recording, fault.fault);
    }
    text
}
