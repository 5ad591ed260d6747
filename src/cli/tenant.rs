//! `callvault tenant`

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::output::{Output, table};
use super::{Failure, Outcome};
use crate::app::Vault;
use crate::catalog::{NewTenant, Tenant, TenantChange};
use crate::model::trail::{Action, HOUSE};
use crate::model::{Slug, Term, Timestamp};

#[derive(Subcommand)]
pub enum TenantCommand {
    /// Make a tenant
    Create(CreateArgs),
    /// List tenants
    List,
    /// Show a tenant
    Show { slug: Slug },
    /// Change a tenant; terms hold for recordings that begin afterwards
    Set(SetArgs),
    /// End a tenant: tokens are revoked at once, the next expire run destroys its key and with it everything it has
    Offboard { slug: Slug },
}

#[derive(Args)]
pub struct CreateArgs {
    /// In URLs and commands: a-z, 0-9 and '-'
    slug: Slug,
    /// The customer's name
    #[arg(long)]
    name: Option<String>,
    /// Whether the customer switched recording on
    #[arg(long, value_enum, default_value = "off")]
    recording: Switch,
    /// <n>d (30..365) or <n>mo (1..12)
    #[arg(long, default_value = "90d")]
    customer_term: Term,
    #[arg(long, default_value = "30d")]
    training_term: Term,
    #[arg(long, default_value = "6mo")]
    cdr_term: Term,
}

#[derive(Args)]
pub struct SetArgs {
    slug: Slug,
    #[arg(long)]
    name: Option<String>,
    #[arg(long, value_enum)]
    recording: Option<Switch>,
    #[arg(long)]
    customer_term: Option<Term>,
    #[arg(long)]
    training_term: Option<Term>,
    #[arg(long)]
    cdr_term: Option<Term>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl Switch {
    pub fn is_on(self) -> bool {
        self == Switch::On
    }
}

#[derive(Serialize)]
struct TenantView {
    slug: String,
    number: u32,
    name: String,
    recording: bool,
    customer_term: String,
    training_term: String,
    cdr_term: String,
    created_at: Timestamp,
    offboarded_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct TenantsView {
    tenants: Vec<TenantView>,
}

pub async fn run(vault: Vault, command: TenantCommand, output: Output) -> Outcome {
    let tenant = match command {
        TenantCommand::List => {
            let tenants = vault.catalog.tenants().await?.into_iter().map(view).collect();
            output.print(&TenantsView { tenants }, |list| describe(&list.tenants));
            return Ok(());
        }
        TenantCommand::Create(args) => create(&vault, args).await?,
        TenantCommand::Show { slug } => find(&vault, &slug).await?,
        TenantCommand::Set(args) => set(&vault, args).await?,
        TenantCommand::Offboard { slug } => {
            let tenant = find(&vault, &slug).await?;
            vault.note(tenant.number, Action::TenantOffboard, |entry| entry.about(&slug)).await?;
            vault.catalog.offboard_tenant(tenant.number, vault.clock.now()).await?;
            find(&vault, &slug).await?
        }
    };
    output.print(&view(tenant), |tenant| describe(std::slice::from_ref(tenant)));
    Ok(())
}

pub async fn find(vault: &Vault, slug: &Slug) -> Result<Tenant, Failure> {
    let tenant = vault.catalog.tenant(slug).await?;
    tenant.ok_or_else(|| Failure::Failed(format!("there is no tenant '{slug}'; 'callvault tenant list' shows them")))
}

async fn create(vault: &Vault, args: CreateArgs) -> Result<Tenant, Failure> {
    let tenant = NewTenant {
        name: args.name.unwrap_or_else(|| args.slug.to_string()),
        slug: args.slug,
        recording: args.recording.is_on(),
        customer_term: args.customer_term,
        training_term: args.training_term,
        cdr_term: args.cdr_term,
        created_at: vault.clock.now(),
    };
    let slug = tenant.slug.clone();
    // Its own trail begins with it.
    vault.note(HOUSE, Action::TenantCreate, |entry| entry.about(&slug)).await?;
    let made = vault.catalog.create_tenant(tenant).await.map_err(|error| match error {
        crate::catalog::CatalogError::SlugTaken => Failure::Failed(format!("there is a tenant '{slug}' already")),
        error => error.into(),
    })?;
    let terms = (made.customer_term, made.training_term, made.cdr_term);
    vault
        .note(made.number, Action::TenantCreate, |entry| entry.about(&slug).noting(told(made.recording, terms)))
        .await?;
    Ok(made)
}

/// What is agreed, for the trail.
fn told(recording: bool, (customer, training, cdr): (Term, Term, Term)) -> String {
    let recording = if recording { "on" } else { "off" };
    format!("recording {recording}, customer {customer}, training {training}, cdr {cdr}")
}

async fn set(vault: &Vault, args: SetArgs) -> Result<Tenant, Failure> {
    let tenant = find(vault, &args.slug).await?;
    let change = TenantChange {
        name: args.name,
        recording: args.recording.map(Switch::is_on),
        customer_term: args.customer_term,
        training_term: args.training_term,
        cdr_term: args.cdr_term,
    };
    let terms = (
        change.customer_term.unwrap_or(tenant.customer_term),
        change.training_term.unwrap_or(tenant.training_term),
        change.cdr_term.unwrap_or(tenant.cdr_term),
    );
    let told = told(change.recording.unwrap_or(tenant.recording), terms);
    vault.note(tenant.number, Action::TenantSet, |entry| entry.about(&args.slug).noting(told)).await?;
    Ok(vault.catalog.set_tenant(tenant.number, change).await?)
}

fn view(tenant: Tenant) -> TenantView {
    TenantView {
        slug: tenant.slug.to_string(),
        number: tenant.number.0,
        name: tenant.name,
        recording: tenant.recording,
        customer_term: tenant.customer_term.to_string(),
        training_term: tenant.training_term.to_string(),
        cdr_term: tenant.cdr_term.to_string(),
        created_at: tenant.created_at,
        offboarded_at: tenant.offboarded_at,
    }
}

fn describe(tenants: &[TenantView]) -> String {
    let rows: Vec<_> = tenants
        .iter()
        .map(|tenant| {
            let recording = match (tenant.offboarded_at, tenant.recording) {
                (Some(_), _) => "offboarded",
                (None, true) => "on",
                (None, false) => "off",
            };
            let terms = [&tenant.customer_term, &tenant.training_term, &tenant.cdr_term].map(Clone::clone);
            let [customer, training, cdr] = terms;
            vec![tenant.slug.clone(), tenant.name.clone(), recording.into(), customer, training, cdr]
        })
        .collect();
    table(&["TENANT", "NAME", "RECORDING", "CUSTOMER", "TRAINING", "CDR"], &rows)
}
