//! `callvault replica`: the servers that share the catalog, and the end of one that will never come back.

use clap::Subcommand;
use serde::Serialize;

use super::output::Output;
use super::status::{ReplicaStatus, describe_replica, replicas};
use super::{Failure, Outcome};
use crate::app::Vault;
use crate::catalog::{CatalogError, Ending};
use crate::model::{ReplicaName, State};

// Limit: rows of one page.
const PAGE: u32 = 1_000;

#[derive(Subcommand)]
pub enum ReplicaCommand {
    /// List the servers that live, and those that left something in their spools
    List,
    /// Give up what a server held that will never come back: its spool is lost, and with it what was not in the store
    Forget {
        name: ReplicaName,
        /// The name once more: what only its spool had is deleted
        #[arg(long)]
        confirm: Option<ReplicaName>,
    },
}

#[derive(Serialize)]
struct Listed {
    replicas: Vec<ReplicaStatus>,
}

#[derive(Serialize)]
struct Forgotten {
    replica: String,
    /// Recordings that only its spool had; they are deleted.
    lost: Vec<String>,
}

pub async fn run(vault: Vault, command: ReplicaCommand, output: Output) -> Outcome {
    match command {
        ReplicaCommand::List => {
            let listed = Listed { replicas: replicas(&vault).await? };
            output.print(&listed, |listed| listed.replicas.iter().map(|one| describe_replica(one) + "\n").collect());
            Ok(())
        }
        ReplicaCommand::Forget { name, confirm } => forget(&vault, &name, confirm, output).await,
    }
}

async fn forget(vault: &Vault, name: &ReplicaName, confirm: Option<ReplicaName>, output: Output) -> Outcome {
    let known = vault.catalog.replicas().await?;
    if known.iter().any(|replica| replica.name == *name && replica.is_alive) {
        return Err(Failure::Failed(format!("replica '{name}' lives: stop it first")));
    }
    let held = vault.catalog.held(name).await?.recordings;
    if held > 0 && confirm.as_ref() != Some(name) {
        return Err(Failure::Failed(format!(
            "{held} recordings lie in the spool of '{name}' and nowhere else: start a server with that spool and \
             '--replica-name {name}', and they are kept; if the spool is lost for ever, add '--confirm {name}', and they are \
             deleted"
        )));
    }
    let mut lost = Vec::new();
    for state in [State::Receiving, State::Spooled] {
        loop {
            let rows = vault.catalog.in_state(state, Some(name), None, PAGE).await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                match vault.catalog.end(row.id, Ending::Delete, vault.clock.now()).await {
                    Ok(_) => lost.push(row.id.to_string()),
                    // Somebody else has just ended it.
                    Err(CatalogError::WrongState | CatalogError::NotFound) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    vault.catalog.forget_replica(name).await?;
    output.print(&Forgotten { replica: name.to_string(), lost }, |forgotten| {
        let ids: String = forgotten.lost.iter().map(|id| format!("{id} is lost\n")).collect();
        format!("{ids}replica '{}' is forgotten\n", forgotten.replica)
    });
    Ok(())
}
