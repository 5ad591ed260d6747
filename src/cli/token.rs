//! `callvault token`

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{Output, table};
use super::{Failure, Outcome, tenant};
use crate::app::Vault;
use crate::catalog::{Tenant, TokenRow};
use crate::config::networks;
use crate::crypto::random::random;
use crate::crypto::token::Token;
use crate::model::{Scope, Slug, Timestamp, TokenId};

#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token; its text is shown once
    Create(CreateArgs),
    /// List tokens
    List {
        #[arg(long)]
        tenant: Option<Slug>,
    },
    /// Revoke a token
    Revoke { id: TokenId },
}

#[derive(Args)]
pub struct CreateArgs {
    #[arg(long)]
    tenant: Slug,
    /// What the token is for
    #[arg(long)]
    name: String,
    /// ingest, read, play:customer, play:training, manage, rights, finance, audit, admin
    #[arg(long, required = true, num_args = 1.., value_delimiter = ',')]
    scope: Vec<Scope>,
    /// Networks from which it is taken
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    cidr: Vec<String>,
    /// When it ends (RFC 3339)
    #[arg(long)]
    expires: Option<Timestamp>,
}

/// The only time that a token's text leaves the process.
#[derive(Serialize)]
struct Created {
    id: String,
    token: String,
}

#[derive(Serialize)]
struct TokenView {
    id: String,
    name: String,
    scopes: Vec<&'static str>,
    cidrs: Vec<String>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct TokensView {
    tokens: Vec<TokenView>,
}

#[derive(Serialize)]
struct Revoked {
    id: String,
}

pub async fn run(vault: Vault, command: TokenCommand, output: Output) -> Outcome {
    match command {
        TokenCommand::Create(args) => {
            let tenant = tenant::find(&vault, &args.tenant).await?;
            let cidrs = networks(&args.cidr)?.iter().map(ToString::to_string).collect();
            let (id, token) = create(&vault, &tenant, &args.name, &args.scope, cidrs, args.expires).await?;
            let created = Created { id: id.to_string(), token: token.reveal().to_owned() };
            output.print(&created, |created| format!("{}\n", created.token));
        }
        TokenCommand::List { tenant } => {
            let number = match &tenant {
                Some(slug) => Some(tenant::find(&vault, slug).await?.number),
                None => None,
            };
            let tokens = vault.catalog.tokens(number).await?.into_iter().map(view).collect();
            output.print(&TokensView { tokens }, |list| describe(&list.tokens));
        }
        TokenCommand::Revoke { id } => {
            vault.catalog.revoke_token(id, vault.clock.now()).await.map_err(|error| match error {
                crate::catalog::CatalogError::NotFound => Failure::Failed(format!("there is no token {id}")),
                error => error.into(),
            })?;
            output.print(&Revoked { id: id.to_string() }, |revoked| format!("{} is revoked\n", revoked.id));
        }
    }
    Ok(())
}

pub async fn create(
    vault: &Vault,
    tenant: &Tenant,
    name: &str,
    scopes: &[Scope],
    networks: Vec<String>,
    expires_at: Option<Timestamp>,
) -> Result<(TokenId, Token), Failure> {
    let token = Token::random();
    let created_at = vault.clock.now();
    let row = TokenRow {
        id: TokenId::new(created_at, random()),
        tenant: tenant.number,
        name: name.to_owned(),
        scopes: scopes.iter().copied().collect(),
        hash: token.hash(),
        created_at,
        expires_at,
        revoked_at: None,
        networks,
    };
    let id = row.id;
    vault.catalog.create_token(row).await?;
    Ok((id, token))
}

fn view(row: TokenRow) -> TokenView {
    TokenView {
        id: row.id.to_string(),
        name: row.name,
        scopes: row.scopes.iter().map(Scope::as_str).collect(),
        cidrs: row.networks,
        created_at: row.created_at,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
    }
}

fn describe(tokens: &[TokenView]) -> String {
    let rows: Vec<_> = tokens
        .iter()
        .map(|token| {
            let state = match (token.revoked_at, token.expires_at) {
                (Some(at), _) => format!("revoked {at:.0}"),
                (None, Some(at)) => format!("until {at:.0}"),
                (None, None) => "valid".into(),
            };
            vec![token.id.clone(), token.name.clone(), token.scopes.join(" "), state]
        })
        .collect();
    table(&["ID", "NAME", "SCOPES", "STATE"], &rows)
}
