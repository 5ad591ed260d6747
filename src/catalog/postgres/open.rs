//! The database: reached, asked what it is, brought to the schema of this program.

use std::time::{Duration, Instant};

use thiserror::Error;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};

use super::errors::{is_away, not_done};
use super::settings::Settings;
use super::tls::Connector;
use super::{MIGRATE_LOCK, ONE};
use crate::catalog::{CatalogError, Result};
use crate::model::error::chain;

/// Each brings the schema from its place in the list to the next number, in one transaction.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/postgres/0001_vault.sql"),
    include_str!("../migrations/postgres/0002_access.sql"),
    include_str!("../migrations/postgres/0003_audit.sql"),
];

/// The oldest server with everything that is used here; tests run on 15.
const SERVER_VERSION_MIN: i32 = 140_000;
/// How long a server is waited for that says that it is coming up.
const START_MAX: Duration = Duration::from_secs(10);

/// Why a database was refused; the source of a [`CatalogError::Unavailable`].
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("there is no vault in {0}")]
    Missing(String),
    #[error(
        "the catalog has schema {found}, but this program knows only up to {known}: a newer one wrote it; run that one, or restore the backup from before the upgrade"
    )]
    NewerSchema { found: i32, known: i32 },
    #[error(
        "PostgreSQL at {place} refuses the login of '{user}': see the user and the password in 'catalog' or postgres.password_file, and pg_hba.conf of the server ({said})"
    )]
    Login { place: String, user: String, said: String },
    #[error("PostgreSQL has no database for {place}: make one with 'createdb --owner {user} <database>'")]
    NoDatabase { place: String, user: String },
    #[error("PostgreSQL at {place} does not answer; see host and port in 'catalog', and whether it runs: {said}")]
    Unreachable { place: String, said: String },
    #[error("PostgreSQL at {0} may not be used before version 14; 15 or later is best")]
    TooOld(String),
    #[error("TLS to PostgreSQL cannot be set up: {0}")]
    Tls(String),
}

pub(super) fn refused(error: OpenError) -> CatalogError {
    CatalogError::Unavailable(Box::new(error))
}

/// A database that may be used.
pub(super) struct Opened {
    /// With the session's settings in it.
    pub server: Config,
    pub connector: Connector,
    pub description: String,
}

/// Whether a database without a vault is refused, or gets one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Vault {
    MustExist,
    IsMade,
}

pub(super) async fn open(settings: &Settings, vault: Vault) -> Result<Opened> {
    let connector = Connector::new(settings).map_err(|error| refused(OpenError::Tls(error.to_string())))?;
    let mut server = settings.server.clone();
    server.options(options(settings));
    let client = reach(settings, &server, &connector).await?;
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::integer, current_setting('synchronous_commit'),
                 current_setting('fsync'), current_setting('server_version'), to_regclass('schema_version') IS NOT NULL",
            &[],
        )
        .await
        .map_err(|error| not_done(&error))?;
    if row.get::<_, i32>(0) < SERVER_VERSION_MIN {
        return Err(refused(OpenError::TooOld(settings.place())));
    }
    if vault == Vault::MustExist && !row.get::<_, bool>(4) {
        return Err(refused(OpenError::Missing(settings.place())));
    }
    migrate(&client).await?;
    let mut commit = row.get::<_, String>(1);
    if commit == "off" {
        // Durability: an answer before the log is synced would promise what a crash takes back.
        server.options(format!("{} -c synchronous_commit=on", options(settings)));
        commit = "on".into();
    }
    let fsync = row.get::<_, &str>(2);
    if fsync != "on" {
        tracing::warn!("PostgreSQL runs with fsync=off: a power cut may take recordings that were acknowledged");
    }
    let version: Vec<_> = row.get::<_, &str>(3).split_whitespace().take(1).collect();
    let description =
        format!("PostgreSQL {}, {} (synchronous_commit={commit}, fsync={fsync})", version.join(""), settings.place());
    Ok(Opened { server, connector, description })
}

/// Sent with the login. Plans are of indexes, whatever the statistics say: a table that was just filled has none, and the
/// planner does not count on partitions being left out while a statement runs. A plan is made once for each connection.
fn options(settings: &Settings) -> String {
    let given = settings.server.get_options().unwrap_or_default();
    let timeout = settings.limits.statement_timeout.as_millis();
    format!(
        "{given} -c statement_timeout={timeout} -c idle_in_transaction_session_timeout={timeout} -c idle_session_timeout=0 \
         -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 \
         -c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c enable_sort=off \
         -c max_parallel_workers_per_gather=0 -c jit=off -c plan_cache_mode=force_generic_plan"
    )
}

/// A connection outside of the pool.
pub(super) async fn dial(
    server: &Config,
    connector: &Connector,
) -> std::result::Result<(Client, tokio::task::JoinHandle<()>), tokio_postgres::Error> {
    let (client, connection) = server.connect(connector.clone()).await?;
    let ended = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = chain(&error), "a connection to PostgreSQL ended");
        }
    });
    Ok((client, ended))
}

async fn reach(settings: &Settings, server: &Config, connector: &Connector) -> Result<Client> {
    let deadline = Instant::now() + START_MAX;
    loop {
        match dial(server, connector).await {
            Ok((client, _)) => return Ok(client),
            Err(error) if error.code().is_some_and(is_away) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(refused(not_reached(settings, &error))),
        }
    }
}

// Secrecy: the server's message names the user and the database, never a password.
fn not_reached(settings: &Settings, error: &tokio_postgres::Error) -> OpenError {
    let (place, user) = (settings.place(), settings.user().to_owned());
    match error.as_db_error() {
        Some(said) if said.code().code().starts_with("28") => {
            OpenError::Login { place, user, said: said.message().to_owned() }
        }
        Some(said) if *said.code() == SqlState::INVALID_CATALOG_NAME => OpenError::NoDatabase { place, user },
        Some(said) => OpenError::Unreachable { place, said: said.message().to_owned() },
        None => OpenError::Unreachable { place, said: chain(error) },
    }
}

async fn migrate(client: &Client) -> Result<()> {
    let failed = |error: tokio_postgres::Error| not_done(&error);
    let known = MIGRATIONS.len() as i32;
    loop {
        // Invariant: the version is read under the lock, so that of many servers that start only one migrates.
        client.batch_execute("BEGIN").await.map_err(failed)?;
        client.execute("SELECT pg_advisory_xact_lock($1, $2)", &[&ONE, &MIGRATE_LOCK]).await.map_err(failed)?;
        let made = "SET LOCAL client_min_messages = warning; CREATE TABLE IF NOT EXISTS schema_version
                        (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())";
        client.batch_execute(made).await.map_err(failed)?;
        let row =
            client.query_one("SELECT coalesce(max(version), 0) FROM schema_version", &[]).await.map_err(failed)?;
        let found = row.get::<_, i32>(0);
        if found > known {
            return Err(refused(OpenError::NewerSchema { found, known }));
        }
        let Some(migration) = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found)) else {
            return client.batch_execute("COMMIT").await.map_err(failed);
        };
        client.batch_execute(migration).await.map_err(failed)?;
        client.execute("INSERT INTO schema_version (version) VALUES ($1)", &[&(found + 1)]).await.map_err(failed)?;
        client.batch_execute("COMMIT").await.map_err(failed)?;
    }
}
