//! Layer 6: commands. Raw arguments become checked settings and one verb; what it gave is printed, for people or as JSON.
//!
//! Exit codes: 0 done, 1 failed, 2 bad configuration or arguments; `expire` adds 3 (destruction pending) and 4 (refused by a
//! guard).

mod audit;
mod expire;
mod init;
mod key;
mod output;
mod person;
mod quickstart;
mod receipts;
mod recording;
mod replica;
mod sample;
mod serve;
mod status;
mod tenant;
mod token;
mod verify;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::{AppError, Vault};
use crate::config::{Config, ConfigError, RawSettings};
use crate::store::StoreError;
use crate::telemetry::{self, Traces};
use output::Output;

/// A call-recording vault: sealed while it streams, played back to those who may, unreadable when its term ends.
#[derive(Parser)]
#[command(name = "callvault", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten, next_help_heading = "Settings")]
    settings: Box<RawSettings>,
}

#[derive(Subcommand)]
enum Command {
    /// Try it: a vault in ./callvault-data, a recording that goes in, plays back and dies; then keeps serving
    Quickstart,
    /// Serve HTTP
    Serve,
    /// Make what is missing: master key, catalog, ring, directories
    Init(init::InitArgs),
    /// Destroy every key whose term has ended
    Expire(expire::ExpireArgs),
    /// Show what a person on call wants to know
    Status,
    /// Tenants
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// The provider's people, and who is cleared
    #[command(subcommand)]
    Person(person::PersonCommand),
    /// Recordings
    #[command(subcommand)]
    Recording(recording::RecordingCommand),
    /// Servers that share the catalog
    #[command(subcommand)]
    Replica(replica::ReplicaCommand),
    /// Read and authenticate every object
    Verify,
    /// Receipts of destruction
    #[command(subcommand)]
    Receipts(receipts::ReceiptsCommand),
    /// The audit trail: who did what
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Keys
    #[command(subcommand)]
    Key(key::KeyCommand),
}

/// Why a command ended; each has its exit code.
enum Failure {
    Config(String),
    Failed(String),
    Expire(crate::expire::ExpireError),
}

type Outcome = Result<(), Failure>;

/// The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    keep_out_of_core_dumps();
    #[cfg(debug_assertions)]
    telemetry::journal::begin();
    let output = Output { is_json: cli.common.json };
    match run(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (code, message) = match failure {
                Failure::Config(message) => (2, message),
                Failure::Failed(message) => (1, message),
                Failure::Expire(error) => (expire::exit_code(&error), error.to_string()),
            };
            output.error(code, &message);
            ExitCode::from(code)
        }
    }
}

fn run(cli: Cli, output: Output) -> Outcome {
    // What the tour prints is for a person to read in peace.
    let level = if matches!(cli.command, Command::Quickstart) { "warn" } else { "info" };
    // These need no vault.
    if let Command::Key(command) = &cli.command {
        telemetry::init(level, None, "").map_err(Failure::Config)?;
        return key::run(command, output);
    }
    let config = Config::check(*cli.common.settings)?;
    let traces = telemetry::init(level, config.traces.clone(), config.replica.name.as_str());
    let traces = traces.map_err(Failure::Config)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::Failed(error.to_string()))?;
    runtime.block_on(async {
        let sending = traces.map(Traces::start).transpose().map_err(Failure::Failed)?;
        let outcome = obey(cli.command, config, output).await;
        if let Some(sending) = sending {
            sending.finish().await;
        }
        outcome
    })
}

async fn obey(command: Command, config: Config, output: Output) -> Outcome {
    match command {
        Command::Quickstart => quickstart::run(config, output).await,
        Command::Serve => serve::run(config, output).await,
        Command::Init(args) => init::run(config, args, output).await,
        Command::Expire(args) => expire::run(Vault::open(config).await?, args, output).await,
        Command::Status => status::run(Vault::open(config).await?, output).await,
        Command::Tenant(command) => tenant::run(Vault::open(config).await?, command, output).await,
        Command::Token(command) => token::run(Vault::open(config).await?, command, output).await,
        Command::Person(command) => person::run(Vault::open(config).await?, command, output).await,
        Command::Recording(command) => recording::run(Vault::open(config).await?, command, output).await,
        Command::Replica(command) => replica::run(Vault::open(config).await?, command, output).await,
        Command::Verify => verify::run(Vault::open(config).await?, output).await,
        Command::Receipts(command) => receipts::run(config, command, output).await,
        Command::Audit(command) => audit::run(config, command, output).await,
        Command::Key(_) => unreachable!("ran before the settings were read"),
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::Config(error.0)
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Failure {
        let message = crate::model::error::chain(&error);
        match error {
            AppError::Config(_)
            | AppError::NotInitialised(_)
            | AppError::Refused(_)
            | AppError::Store(StoreError::Misconfigured(_)) => Failure::Config(message),
            _ => Failure::Failed(message),
        }
    }
}

impl From<crate::catalog::CatalogError> for Failure {
    fn from(error: crate::catalog::CatalogError) -> Failure {
        Failure::Failed(crate::model::error::chain(&error))
    }
}

impl From<crate::model::Error> for Failure {
    fn from(error: crate::model::Error) -> Failure {
        Failure::Failed(crate::model::error::chain(&error))
    }
}

/// Secrecy: a core dump would put keys and plaintext on a disk.
fn keep_out_of_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "core dumps cannot be switched off");
    }
}
