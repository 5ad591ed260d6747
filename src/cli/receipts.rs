//! `callvault receipts`

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::Output;
use super::{Failure, Outcome, tenant};
use crate::app::Vault;
use crate::config::Config;
use crate::expire::receipts::read;
use crate::expire::{VerifyReport, verify_chain};
use crate::model::Slug;
use crate::model::text::hex;

#[derive(Subcommand)]
pub enum ReceiptsCommand {
    /// Print a tenant's receipts, one JWS a line, oldest first
    List {
        #[arg(long)]
        tenant: Slug,
    },
    /// Print the public key under which receipts are signed
    PublicKey,
    /// Check signatures and chains: of every tenant in the vault, or offline of a file with one JWS a line
    Verify(VerifyArgs),
}

#[derive(Args)]
pub struct VerifyArgs {
    /// A file of one tenant's receipts, or - for standard input; needs --public-key and no vault
    #[arg(long, value_name = "FILE", requires = "public_key")]
    file: Option<PathBuf>,
    /// 64 hexadecimal digits, from 'callvault receipts public-key'
    #[arg(long, value_name = "HEX")]
    public_key: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    receipts: Vec<ListedReceipt>,
}

#[derive(Serialize)]
struct ListedReceipt {
    jws: String,
    body: Option<crate::expire::ReceiptBody>,
}

#[derive(Serialize)]
struct PublicKey {
    public_key: String,
}

pub async fn run(config: Config, command: ReceiptsCommand, output: Output) -> Outcome {
    match command {
        ReceiptsCommand::List { tenant } => {
            let vault = Vault::open(config).await?;
            let tenant = tenant::find(&vault, &tenant).await?;
            let public_key = vault.keyring.signer().public_key();
            let rows = vault.catalog.receipts(tenant.number).await?;
            let receipts =
                rows.into_iter().map(|row| ListedReceipt { body: read(&public_key, &row.jws).ok(), jws: row.jws });
            let listed = Listed { receipts: receipts.collect() };
            output
                .print(&listed, |listed| listed.receipts.iter().map(|receipt| format!("{}\n", receipt.jws)).collect());
            Ok(())
        }
        ReceiptsCommand::PublicKey => {
            let vault = Vault::open(config).await?;
            let public_key = hex(&vault.keyring.signer().public_key());
            output.print(&PublicKey { public_key }, |key| format!("{}\n", key.public_key));
            Ok(())
        }
        ReceiptsCommand::Verify(args) => verify(config, args, output).await,
    }
}

async fn verify(config: Config, args: VerifyArgs, output: Output) -> Outcome {
    let report = match (args.file, args.public_key) {
        (Some(file), Some(public_key)) => {
            let text = read_text(&file)?;
            verify_chain(&parse_public_key(&public_key)?, text.lines().filter(|line| !line.trim().is_empty()))
        }
        (_, public_key) => verify_vault(config, public_key).await?,
    };
    output.print(&report, |report| {
        let faults: String = report.faults.iter().map(|fault| format!("FAULT {fault}\n")).collect();
        format!("{} receipts checked, {} faults.\n{faults}", report.receipts, report.faults.len())
    });
    match report.faults.len() {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{count} faults in the receipts"))),
    }
}

async fn verify_vault(config: Config, public_key: Option<String>) -> Result<VerifyReport, Failure> {
    let vault = Vault::open(config).await?;
    let public_key = match public_key {
        Some(text) => parse_public_key(&text)?,
        None => vault.keyring.signer().public_key(),
    };
    let mut all = VerifyReport { receipts: 0, faults: Vec::new() };
    for tenant in vault.catalog.tenants().await? {
        let rows = vault.catalog.receipts(tenant.number).await?;
        let report = verify_chain(&public_key, rows.iter().map(|row| row.jws.as_str()));
        all.receipts += report.receipts;
        all.faults.extend(report.faults.into_iter().map(|fault| format!("{}: {fault}", tenant.slug)));
    }
    Ok(all)
}

fn read_text(file: &std::path::Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().read_to_string(&mut text).map(|_| ()),
        _ => std::fs::read_to_string(file).map(|read| text = read),
    };
    read.map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", file.display())))?;
    Ok(text)
}

pub fn parse_public_key(text: &str) -> Result<[u8; 32], Failure> {
    let mut key = [0; 32];
    let sound = text.len() == 64 && text.is_ascii();
    let parsed = key.iter_mut().enumerate().all(|(index, byte)| {
        let digits = text.get(2 * index..2 * index + 2);
        digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).map(|value| *byte = value).is_some()
    });
    if sound && parsed {
        return Ok(key);
    }
    Err(Failure::Config("--public-key is 64 hexadecimal digits, from 'callvault receipts public-key'".into()))
}
