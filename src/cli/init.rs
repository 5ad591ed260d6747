//! `callvault init`

use clap::Args;
use serde::Serialize;

use super::output::Output;
use super::token::{self, Created, NewToken};
use super::{Failure, Outcome};
use crate::app::{self, Initialised, Vault};
use crate::config::Config;
use crate::model::{PrincipalKind, Scope};

#[derive(Args)]
pub struct InitArgs {
    /// Make no first token for administration, where what is printed is kept in a log
    #[arg(long)]
    no_admin_token: bool,
}

#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    vault: Initialised,
    /// Shown once; `null`: somebody can administer already, or none was wanted.
    admin_token: Option<Created>,
}

pub async fn run(config: Config, args: InitArgs, output: Output) -> Outcome {
    let vault = app::init(&config).await?;
    let admin_token = match args.no_admin_token {
        true => None,
        false => first_admin(&Vault::open(config).await?).await?,
    };
    output.print(&Made { vault, admin_token }, |Made { vault, admin_token }| {
        let mut text = format!("{} is ready, at generation {} of the ring.\n", vault.data_dir, vault.generation);
        if vault.master_key_made {
            text += "A master key was made. Keep a copy of it somewhere else: without it nothing can be played.\n";
        }
        for warning in &vault.warnings {
            text += &format!("warning: {warning}\n");
        }
        if let Some(made) = admin_token {
            text += &format!("A token for administration over HTTP was made; it is shown this once:\n{}\n", made.token);
        }
        text
    });
    Ok(())
}

/// The first token of a vault that nobody can administer over HTTP.
async fn first_admin(vault: &Vault) -> Result<Option<Created>, Failure> {
    let now = vault.clock.now();
    let tokens = vault.catalog.tokens(None).await?;
    if tokens.iter().any(|token| {
        token.is_current(now) && token.scopes.has(Scope::Admin) && token.tenant.is_none() && token.person.is_none()
    }) {
        return Ok(None);
    }
    let new = NewToken {
        tenant: None,
        name: "the first administrator".into(),
        kind: Some(PrincipalKind::App),
        person: None,
        scopes: vec![Scope::Admin],
        networks: Vec::new(),
        expires_at: None,
        certificate: None,
    };
    token::create(vault, new).await.map(Some)
}
