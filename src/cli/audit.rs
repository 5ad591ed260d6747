//! `callvault audit`

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::Output;
use super::receipts::parse_public_key;
use super::{Failure, Outcome, tenant};
use crate::app::Vault;
use crate::audit::{self, Checkpoint, TrailReport};
use crate::config::Config;
use crate::model::trail::{Action, HOUSE};
use crate::model::{Slug, TenantNumber};

#[derive(Subcommand)]
pub enum AuditCommand {
    /// Print a trail as JSON lines, oldest first, and a signed checkpoint of its end
    Export(ExportArgs),
    /// Check every trail of the vault, or offline an exported file
    Verify(VerifyArgs),
}

#[derive(Args)]
pub struct ExportArgs {
    #[arg(long, required_unless_present = "house", conflicts_with = "house")]
    tenant: Option<Slug>,
    /// The trail of what belongs to no tenant: unknown tokens, and the vault's own work
    #[arg(long)]
    house: bool,
}

#[derive(Args)]
pub struct VerifyArgs {
    /// A file that 'callvault audit export' wrote; needs --public-key and no vault
    #[arg(long, value_name = "FILE", requires = "public_key")]
    file: Option<PathBuf>,
    /// 64 hexadecimal digits, from 'callvault receipts public-key'
    #[arg(long, value_name = "HEX")]
    public_key: Option<String>,
    /// Checkpoints that were kept elsewhere, one JWS a line: the vault's trails must still hold what they sign
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    checkpoints: Option<PathBuf>,
}

#[derive(Serialize)]
struct Verified {
    trails: Vec<NamedTrail>,
    /// What is wrong and belongs to no trail.
    faults: Vec<String>,
}

#[derive(Serialize)]
struct NamedTrail {
    /// The tenant's slug, or `house`; `null` where only its number is known.
    trail: Option<String>,
    #[serde(flatten)]
    report: TrailReport,
}

pub async fn run(config: Config, command: AuditCommand, output: Output) -> Outcome {
    match command {
        AuditCommand::Export(args) => export(Vault::open(config).await?, args).await,
        AuditCommand::Verify(VerifyArgs { file: Some(file), public_key, .. }) => {
            let public_key = public_key.as_deref().map(parse_public_key).transpose()?;
            verify_file(&file, &public_key.expect("clap requires it"), output)
        }
        AuditCommand::Verify(args) => verify_vault(Vault::open(config).await?, args, output).await,
    }
}

async fn export(vault: Vault, args: ExportArgs) -> Outcome {
    let tenant = match &args.tenant {
        Some(slug) => tenant::find(&vault, slug).await?.number,
        None => HOUSE,
    };
    vault.note(tenant, Action::AuditExport, |entry| entry).await?;
    let (signer, generation) = (vault.keyring.signer(), vault.keyring.view().map_or(0, |view| view.generation));
    let mut out = io::BufWriter::new(io::stdout().lock());
    let give = |line: &str| writeln!(out, "{line}");
    let exported = audit::exported(&vault.catalog, &signer, tenant, (vault.clock.now(), generation), give).await?;
    let exported = exported.and_then(|exported| out.flush().map(|()| exported));
    let exported = exported.map_err(|error| Failure::Failed(format!("the trail cannot be written: {error}")))?;
    match exported.faults.as_slice() {
        [] => Ok(()),
        faults => {
            Err(Failure::Failed(format!("the trail is not whole, and no checkpoint is signed: {}", faults.join("; "))))
        }
    }
}

fn verify_file(file: &Path, public_key: &[u8; 32], output: Output) -> Outcome {
    let (reports, faults) = audit::verify_lines(public_key, || Ok(BufReader::new(File::open(file)?)))
        .map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", file.display())))?;
    let named = |report: TrailReport| {
        let trail = (report.tenant_number == HOUSE.0).then(|| "house".to_owned());
        NamedTrail { trail, report }
    };
    told(Verified { trails: reports.into_iter().map(named).collect(), faults }, output)
}

async fn verify_vault(vault: Vault, args: VerifyArgs, output: Output) -> Outcome {
    let public_key = match &args.public_key {
        Some(text) => parse_public_key(text)?,
        None => vault.keyring.signer().public_key(),
    };
    let mut verified = Verified { trails: Vec::new(), faults: Vec::new() };
    let kept = match &args.checkpoints {
        Some(file) => kept_checkpoints(file, &public_key, &mut verified.faults)?,
        None => Vec::new(),
    };
    verified.faults.extend(restored(&vault).await?);
    let tenants = vault.catalog.tenants().await?;
    let mut names = vec![(HOUSE, "house".to_owned())];
    names.extend(tenants.into_iter().map(|tenant| (tenant.number, tenant.slug.to_string())));
    let unlisted = vault.catalog.trail_tenants().await?.into_iter();
    let unlisted = unlisted.chain(kept.iter().map(|kept| TenantNumber(kept.tenant_number)));
    let unlisted: Vec<_> = unlisted.filter(|tenant| names.iter().all(|(known, _)| known != tenant)).collect();
    names.extend(unlisted.into_iter().map(|tenant| (tenant, format!("tenant {}", tenant.0))));
    names.dedup();
    for (tenant, name) in names {
        let report = audit::verify_catalog(&vault.catalog, &public_key, tenant, &kept).await?;
        verified.trails.push(NamedTrail { trail: Some(name), report });
    }
    told(verified, output)
}

fn kept_checkpoints(file: &Path, public_key: &[u8; 32], faults: &mut Vec<String>) -> Result<Vec<Checkpoint>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", file.display())))?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    let mut kept = Vec::new();
    for (number, line) in lines {
        match Checkpoint::read(public_key, line) {
            Ok(checkpoint) => kept.push(checkpoint),
            Err(fault) => faults.push(format!("{}, line {}: {fault}", file.display(), number + 1)),
        }
    }
    Ok(kept)
}

/// The keys are never restored: a catalog that is behind them is.
async fn restored(vault: &Vault) -> Result<Option<String>, Failure> {
    let mark = vault.catalog.ring_mark().await?;
    let keys = vault.keyring.view().map_or(0, |view| view.generation);
    let is_under_way = mark.run.as_ref().is_some_and(|run| run.from_generation + 1 == keys);
    Ok((mark.generation < keys && !is_under_way).then(|| {
        let catalog = mark.generation;
        format!(
            "the catalog is of generation {catalog} and the keys of {keys}: it was restored from a backup, and what was \
             appended to any trail after that backup is missing; hold the trails against checkpoints or exports kept elsewhere"
        )
    }))
}

fn told(verified: Verified, output: Output) -> Outcome {
    output.print(&verified, |verified| {
        let trails = verified.trails.iter().map(|NamedTrail { trail, report }| {
            let name = trail.clone().unwrap_or_else(|| format!("tenant {}", report.tenant_number));
            let faults: String = report.faults.iter().map(|fault| format!("FAULT {name}: {fault}\n")).collect();
            let (entries, signed) = (report.entries, report.signed);
            format!(
                "{name}: {entries} entries checked, signed up to {signed}, {} faults.\n{faults}",
                report.faults.len()
            )
        });
        let faults = verified.faults.iter().map(|fault| format!("FAULT {fault}\n"));
        trails.chain(faults).collect()
    });
    let in_trails = verified.trails.iter().map(|trail| trail.report.faults.len()).sum::<usize>();
    match in_trails + verified.faults.len() {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{count} faults in the audit trails"))),
    }
}
