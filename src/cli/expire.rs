//! `callvault expire`

use clap::Args;

use super::output::Output;
use super::{Failure, Outcome};
use crate::app::Vault;
use crate::expire::{ExpireError, Report};
use crate::model::Timestamp;

#[derive(Args)]
pub struct ExpireArgs {
    /// Believe the clock up to this time (RFC 3339), even when more than 48 h of terms would end at once
    #[arg(long, value_name = "TIME")]
    floor: Option<Timestamp>,
}

pub async fn run(vault: Vault, args: ExpireArgs, output: Output) -> Outcome {
    for warning in vault.keyring.warnings() {
        tracing::warn!("{warning}");
    }
    let report = vault.expire.run(args.floor).await.map_err(Failure::Expire)?;
    output.print(&report, describe);
    Ok(())
}

pub fn exit_code(error: &ExpireError) -> u8 {
    match error {
        ExpireError::Failed(_) | ExpireError::Overtaken(_) => 1,
        ExpireError::Misconfigured(_) => 2,
        ExpireError::Pending(_) => 3,
        ExpireError::Guarded(_) => 4,
    }
}

fn describe(report: &Report) -> String {
    let floor = report.floor.map(|floor| floor.to_string()).unwrap_or_default();
    let mut text = format!("Everything that ended before {floor} is destroyed (generation {}).\n", report.generation);
    if report.punctures > 0 {
        text += &format!("{} keys were destroyed one by one: erasures, tenants that left.\n", report.punctures);
    }
    if report.keys_destroyed > 0 {
        text +=
            &format!("{} keys recorded as destroyed, {} receipts written.\n", report.keys_destroyed, report.receipts);
    }
    if report.objects_swept + report.objects_left > 0 {
        text += &format!("{} dead objects swept, {} left.\n", report.objects_swept, report.objects_left);
    }
    if report.entries_cut > 0 {
        text += &format!("{} entries of audit trails were past their term and are removed.\n", report.entries_cut);
    }
    for fault in &report.trail_faults {
        text += &format!("an audit trail is not whole and was not signed: {fault}; see 'callvault audit verify'\n");
    }
    for replica in &report.replicas_behind {
        text += &format!("replica {replica} has not followed yet; its memory ages by its own clock\n");
    }
    text
}
