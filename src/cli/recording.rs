//! `callvault recording`

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{Output, size, table};
use super::{Failure, Outcome, tenant};
use crate::app::Vault;
use crate::catalog::{CatalogError, Ending, Listing, Recording, Tenant};
use crate::model::trail::Action;
use crate::model::{Class, RecordingId, Slug, State, TenantNumber, Timestamp};
use crate::reading::life::RecordingView;

#[derive(Subcommand)]
pub enum RecordingCommand {
    /// List recordings, newest first
    List(ListArgs),
    /// Show a recording
    Show { id: RecordingId },
    /// Delete a recording: final when backups of the catalog age out or its term ends, whichever comes first
    Delete { id: RecordingId },
    /// Erase a recording: final against every backup after the next expire run
    Erase { id: RecordingId },
}

#[derive(Args)]
pub struct ListArgs {
    #[arg(long)]
    tenant: Option<Slug>,
    #[arg(long)]
    class: Option<Class>,
    /// Also those that are gone, by their state
    #[arg(long)]
    state: Option<State>,
    /// Received at or after
    #[arg(long)]
    from: Option<Timestamp>,
    /// Received before
    #[arg(long)]
    to: Option<Timestamp>,
    #[arg(long, default_value = "100")]
    limit: u32,
}

#[derive(Serialize)]
struct RecordingsView {
    recordings: Vec<RecordingView>,
}

#[derive(Serialize)]
struct Ended {
    id: String,
    state: &'static str,
}

pub async fn run(vault: Vault, command: RecordingCommand, output: Output) -> Outcome {
    match command {
        RecordingCommand::List(args) => list(&vault, args, output).await,
        RecordingCommand::Show { id } => {
            let recording = vault.catalog.recording(None, id).await?.ok_or_else(|| unknown(id))?;
            vault.note(recording.tenant, Action::Show, |entry| entry.of(id)).await?;
            let view = view(&vault, &recording).await?;
            output.print(&view, |view| serde_json::to_string_pretty(view).unwrap_or_default() + "\n");
            Ok(())
        }
        RecordingCommand::Delete { id } => end(&vault, id, Ending::Delete, output).await,
        RecordingCommand::Erase { id } => end(&vault, id, Ending::Erase, output).await,
    }
}

async fn list(vault: &Vault, args: ListArgs, output: Output) -> Outcome {
    let tenant = match &args.tenant {
        Some(slug) => Some(tenant::find(vault, slug).await?.number),
        None => None,
    };
    let listing = Listing {
        tenant,
        class: args.class,
        from: args.from,
        to: args.to,
        state: args.state,
        limit: args.limit,
        ..Listing::default()
    };
    let rows = vault.catalog.list(listing).await?;
    let mut counts: BTreeMap<TenantNumber, u64> = tenant.into_iter().map(|tenant| (tenant, 0)).collect();
    rows.iter().for_each(|row| *counts.entry(row.tenant).or_default() += 1);
    for (tenant, count) in counts {
        vault.note(tenant, Action::List, |entry| entry.counting(count)).await?;
    }
    let mut recordings = Vec::new();
    for recording in rows {
        recordings.push(view(vault, &recording).await?);
    }
    output.print(&RecordingsView { recordings }, |list| describe(&list.recordings));
    Ok(())
}

async fn end(vault: &Vault, id: RecordingId, ending: Ending, output: Output) -> Outcome {
    if ending == Ending::Erase && vault.config.access.four_eyes.is_some() {
        let advice = "four_eyes is on: an erasure is asked for by one person and confirmed by another, each with a token of \
                      his own: DELETE /v1/recordings/{id}?erase=1";
        return Err(Failure::Failed(advice.into()));
    }
    let (state, action) = match ending {
        Ending::Delete => (State::Deleted, Action::Delete),
        Ending::Erase => (State::Erased, Action::Erase),
    };
    let known = vault.catalog.recording(None, id).await?.ok_or_else(|| unknown(id))?;
    vault.note(known.tenant, action, |entry| entry.of(id)).await?;
    match vault.catalog.end(id, ending, vault.clock.now()).await {
        Ok(_) => {}
        Err(CatalogError::NotFound) => return Err(unknown(id)),
        Err(CatalogError::WrongState) => return Err(Failure::Failed(format!("recording {id} is gone already"))),
        Err(error) => return Err(error.into()),
    }
    output.print(&Ended { id: id.to_string(), state: state.as_str() }, |ended| {
        format!("{} is {}\n", ended.id, ended.state)
    });
    Ok(())
}

async fn view(vault: &Vault, recording: &Recording) -> Result<RecordingView, Failure> {
    let mark = vault.catalog.ring_mark().await?;
    let tenant: Option<Tenant> = vault.catalog.tenant_by_number(recording.tenant).await?;
    let tenant = tenant.ok_or_else(|| Failure::Failed("the recording's tenant is missing".into()))?;
    let view = vault.reader.view(recording, &tenant, &mark, vault.clock.now());
    view.map_err(|error| Failure::Failed(format!("recording {}: {error}", recording.id)))
}

fn unknown(id: RecordingId) -> Failure {
    Failure::Failed(format!("there is no recording {id}"))
}

fn describe(recordings: &[RecordingView]) -> String {
    let rows: Vec<_> = recordings
        .iter()
        .map(|recording| {
            let ends = recording.classes.iter().map(|class| format!("{} until {}", class.class, class.expires_at));
            let state =
                if recording.complete { recording.state.into() } else { format!("{}, partial", recording.state) };
            vec![
                recording.id.clone(),
                recording.tenant.clone(),
                state,
                recording.bytes.map_or_else(|| "-".into(), size),
                ends.collect::<Vec<_>>().join(", "),
                recording.name.clone().unwrap_or_default(),
            ]
        })
        .collect();
    table(&["ID", "TENANT", "STATE", "SIZE", "CLASSES", "NAME"], &rows)
}
