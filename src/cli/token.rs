//! `callvault token`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::output::{Output, table};
use super::{Failure, Outcome, tenant};
use crate::app::Vault;
use crate::catalog::{CatalogError, TokenKey, TokenRow};
use crate::crypto::random::random;
use crate::crypto::token::Token;
use crate::http::tokens::{TokenView, checked_name};
use crate::model::network::networks;
use crate::model::principal::kind_of;
use crate::model::trail::{Action, HOUSE};
use crate::model::{PersonId, PrincipalKind, Scope, Slug, TenantNumber, Timestamp, TokenId};

#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token; its text is shown once
    Create(CreateArgs),
    /// List tokens
    List {
        #[arg(long)]
        tenant: Option<Slug>,
    },
    /// Revoke a token: the next request with it is refused, on every server
    Revoke { id: TokenId },
}

#[derive(Args)]
pub struct CreateArgs {
    /// Whose recordings it reaches; none: it is the provider's own (admin, audit), or a person's for every tenant
    #[arg(long)]
    tenant: Option<Slug>,
    /// What the token is for
    #[arg(long)]
    name: String,
    /// pbx (uploads only), app or person; told from the rest where it is left out
    #[arg(long)]
    kind: Option<PrincipalKind>,
    /// Whose it is, of kind person
    #[arg(long, value_name = "ID")]
    person: Option<PersonId>,
    /// ingest, read, play:customer, play:training, manage, rights, finance, audit, admin
    #[arg(long, required = true, num_args = 1.., value_delimiter = ',')]
    scope: Vec<Scope>,
    /// Networks from which it is taken
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    cidr: Vec<String>,
    /// When it ends (RFC 3339)
    #[arg(long)]
    expires: Option<Timestamp>,
    /// A client certificate, PEM, that stands for the token's text (needs tls.client_ca)
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

/// The only time that a token's text leaves the process.
#[derive(Serialize)]
pub struct Created {
    pub id: String,
    pub token: String,
}

#[derive(Serialize)]
struct TokensView {
    tokens: Vec<TokenView>,
}

#[derive(Serialize)]
struct Revoked {
    id: String,
}

/// What is asked for, before it is a row.
pub struct NewToken {
    pub tenant: Option<TenantNumber>,
    pub name: String,
    pub kind: Option<PrincipalKind>,
    pub person: Option<PersonId>,
    pub scopes: Vec<Scope>,
    pub networks: Vec<String>,
    pub expires_at: Option<Timestamp>,
    pub certificate: Option<[u8; 32]>,
}

pub async fn run(vault: Vault, command: TokenCommand, output: Output) -> Outcome {
    match command {
        TokenCommand::Create(args) => {
            let tenant = match &args.tenant {
                Some(slug) => Some(tenant::find(&vault, slug).await?.number),
                None => None,
            };
            let cidrs = networks(&args.cidr).map_err(Failure::Config)?.iter().map(ToString::to_string).collect();
            let new = NewToken {
                tenant,
                name: args.name,
                kind: args.kind,
                person: args.person,
                scopes: args.scope,
                networks: cidrs,
                expires_at: args.expires,
                certificate: args.certificate.as_deref().map(digest_of).transpose()?,
            };
            let created = create(&vault, new).await?;
            output.print(&created, |created| format!("{}\n", created.token));
        }
        TokenCommand::List { tenant } => {
            let number = match &tenant {
                Some(slug) => Some(tenant::find(&vault, slug).await?.number),
                None => None,
            };
            let tenants = vault.catalog.tenants().await?;
            let slug = |number| tenants.iter().find(|tenant| Some(tenant.number) == number).map(|tenant| &tenant.slug);
            vault.note(number.unwrap_or(HOUSE), Action::TokenList, |entry| entry).await?;
            let rows = vault.catalog.tokens(number).await?;
            let tokens = rows.into_iter().map(|row| (slug(row.tenant), row));
            let tokens = tokens.map(|(slug, row)| TokenView::of(row, slug)).collect();
            output.print(&TokensView { tokens }, |list| describe(&list.tokens));
        }
        TokenCommand::Revoke { id } => {
            let found = vault.catalog.token(TokenKey::Id(id)).await?;
            let tenant = found.and_then(|bearer| bearer.token.tenant).unwrap_or(HOUSE);
            vault.note(tenant, Action::TokenRevoke, |entry| entry.about(id)).await?;
            vault.catalog.revoke_token(id, vault.clock.now()).await.map_err(|error| match error {
                CatalogError::NotFound => Failure::Failed(format!("there is no token {id}")),
                error => error.into(),
            })?;
            output.print(&Revoked { id: id.to_string() }, |revoked| format!("{} is revoked\n", revoked.id));
        }
    }
    Ok(())
}

pub async fn create(vault: &Vault, new: NewToken) -> Result<Created, Failure> {
    let token = Token::random();
    let created_at = vault.clock.now();
    let scopes = new.scopes.iter().copied().collect();
    let kind = kind_of(new.kind, new.tenant.is_some(), new.person.is_some(), scopes).map_err(Failure::Config)?;
    let row = TokenRow {
        id: TokenId::new(created_at, random()),
        tenant: new.tenant,
        kind,
        person: new.person,
        name: checked_name(new.name)?,
        scopes,
        hash: token.hash(),
        created_at,
        expires_at: new.expires_at,
        revoked_at: None,
        last_used_at: None,
        networks: new.networks,
        certificate: new.certificate,
    };
    let id = row.id.to_string();
    let told = format!("{} with {}", row.kind, row.scopes);
    vault.note(new.tenant.unwrap_or(HOUSE), Action::TokenCreate, |entry| entry.about(&id).noting(told)).await?;
    vault.catalog.create_token(row).await.map_err(|error| match error {
        CatalogError::NotFound => Failure::Failed("there is no such person: see 'callvault person list'".into()),
        CatalogError::WrongState => {
            Failure::Failed("the tenant was offboarded, or the certificate belongs to another token".into())
        }
        error => error.into(),
    })?;
    Ok(Created { id, token: token.reveal().to_owned() })
}

/// The digest of the first certificate in a file.
fn digest_of(path: &Path) -> Result<[u8; 32], Failure> {
    let read = CertificateDer::from_pem_file(path);
    let certificate =
        read.map_err(|error| Failure::Config(format!("{} holds no certificate in PEM: {error}", path.display())))?;
    Ok(Sha256::digest(certificate.as_ref()).into())
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
            let used = token.last_used_at.map_or("never".into(), |at| format!("{at:.0}"));
            let tenant = token.tenant.clone().unwrap_or_else(|| "-".into());
            vec![token.id.clone(), token.name.clone(), token.kind.into(), tenant, token.scopes.join(" "), state, used]
        })
        .collect();
    table(&["ID", "NAME", "KIND", "TENANT", "SCOPES", "STATE", "LAST USED"], &rows)
}
