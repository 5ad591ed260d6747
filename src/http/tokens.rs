//! `/v1/tokens`: who may do what, for scope `admin`. A token's text is shown once, in the answer that makes it.

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::Administrator;
use super::recordings::{json, method_not_allowed};
use super::trail::{note_count, note_subject, note_tenant, note_what};
use super::{Face, SharedFace};
use crate::catalog::{CatalogError, TokenKey, TokenRow};
use crate::crypto::random::random;
use crate::crypto::token::Token;
use crate::model::network::networks;
use crate::model::shape::Moment;
use crate::model::{
    Error, PersonId, PrincipalKind, Problem, Result, Scope, Slug, TenantNumber, Timestamp, TokenId, principal,
};

// Limit: a line of a table.
const NAME_LEN_MAX: usize = 200;

/// What is to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What the token is for.
    #[schemars(length(min = 1, max = 200))]
    name: String,
    #[schemars(with = "Vec<Scope>")]
    scopes: Vec<String>,
    /// The tenant's slug; without one the token is the provider's own, or a person's for every tenant.
    tenant: Option<String>,
    /// `pbx`, `app` or `person`; told from the rest where it is left out.
    #[schemars(with = "Option<PrincipalKind>")]
    kind: Option<String>,
    /// Whose it is, of kind `person`.
    #[schemars(with = "Option<PersonId>")]
    person: Option<String>,
    /// The networks from which it is taken; none: any.
    #[serde(default)]
    cidrs: Vec<String>,
    #[schemars(with = "Option<Moment>")]
    expires_at: Option<Timestamp>,
}

/// The only time that a token's text leaves the process.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreatedToken")]
pub struct Created {
    #[schemars(with = "TokenId")]
    id: String,
    token: String,
}

/// Tokens as a list.
#[derive(Serialize, JsonSchema)]
pub struct Tokens {
    tokens: Vec<TokenView>,
}

/// A token as it is shown: without its text.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Token")]
pub struct TokenView {
    #[schemars(with = "TokenId")]
    pub id: String,
    pub name: String,
    #[schemars(with = "PrincipalKind")]
    pub kind: &'static str,
    /// `null`: the provider's own.
    pub tenant: Option<String>,
    #[schemars(with = "Option<PersonId>")]
    pub person: Option<String>,
    #[schemars(with = "Vec<Scope>")]
    pub scopes: Vec<&'static str>,
    pub cidrs: Vec<String>,
    /// SHA-256 of the client certificate that stands for it.
    pub certificate: Option<String>,
    #[schemars(with = "Moment")]
    pub created_at: Timestamp,
    #[schemars(with = "Option<Moment>")]
    pub expires_at: Option<Timestamp>,
    #[schemars(with = "Option<Moment>")]
    pub revoked_at: Option<Timestamp>,
    /// To within a minute or so.
    #[schemars(with = "Option<Moment>")]
    pub last_used_at: Option<Timestamp>,
}

impl TokenView {
    pub fn of(row: TokenRow, tenant: Option<&Slug>) -> TokenView {
        TokenView {
            id: row.id.to_string(),
            name: row.name,
            kind: row.kind.as_str(),
            tenant: tenant.map(Slug::to_string),
            person: row.person.map(|person| person.to_string()),
            scopes: row.scopes.iter().map(Scope::as_str).collect(),
            cidrs: row.networks,
            certificate: row.certificate.map(|digest| crate::model::text::hex(&digest)),
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        }
    }
}

/// `/v1/tokens`
pub async fn collection(face: SharedFace, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answered = match parts.method {
        Method::GET | Method::HEAD => face.list_tokens(&parts).await,
        Method::POST => face.create_token(&parts, body).await,
        _ => return method_not_allowed("GET, HEAD, POST"),
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

/// `/v1/tokens/{id}`
pub async fn item(face: SharedFace, request: Request, id: String) -> Response {
    let (parts, _) = request.into_parts();
    match parts.method {
        Method::DELETE => face.revoke_token(&parts, &id).await.unwrap_or_else(IntoResponse::into_response),
        _ => method_not_allowed("DELETE"),
    }
}

impl Face {
    async fn list_tokens(&self, parts: &Parts) -> Result<Response> {
        let admin = self.authorise_admin(parts).await?;
        let rows = self.catalog.tokens(admin.tenant.as_ref().map(|tenant| tenant.number)).await.map_err(not_done)?;
        let tenants = self.catalog.tenants().await.map_err(not_done)?;
        let slug = |number| tenants.iter().find(|tenant| Some(tenant.number) == number).map(|tenant| &tenant.slug);
        let rows: Vec<_> = rows.into_iter().filter(|row| admin.sees(row)).collect();
        note_count(parts, rows.len());
        let tokens = rows.into_iter().map(|row| (slug(row.tenant), row)).map(|(slug, row)| TokenView::of(row, slug));
        Ok(json(StatusCode::OK, &Tokens { tokens: tokens.collect() }))
    }

    async fn create_token(&self, parts: &Parts, body: Body) -> Result<Response> {
        let admin = self.authorise_admin(parts).await?;
        self.must_give_rights(&admin)?;
        let new: NewToken = self.read_document(parts, body).await?;
        let tenant = self.tenant_of_new(&admin, new.tenant.as_deref()).await?;
        let person = new.person.map(|id| id.parse::<PersonId>()).transpose();
        let person = person.map_err(|_| unprocessable("'person' is a person's id"))?;
        let scopes = new.scopes.iter().map(|scope| scope.parse::<Scope>()).collect::<std::result::Result<_, _>>();
        let kind = new.kind.map(|kind| kind.parse::<PrincipalKind>()).transpose().map_err(unprocessable)?;
        let token = Token::random();
        let created_at = self.clock.now();
        let row = TokenRow {
            id: TokenId::new(created_at, random()),
            tenant,
            kind: PrincipalKind::App,
            person,
            name: checked_name(new.name)?,
            scopes: scopes.map_err(unprocessable)?,
            hash: token.hash(),
            created_at,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
            networks: networks(&new.cidrs).map_err(unprocessable)?.iter().map(ToString::to_string).collect(),
            certificate: None,
        };
        let kind = principal::kind_of(kind, row.tenant.is_some(), row.person.is_some(), row.scopes);
        let row = TokenRow { kind: kind.map_err(unprocessable)?, ..row };
        if row.kind == PrincipalKind::Person {
            self.must_be_of_the_house(&admin)?;
        }
        if admin.is_bound && row.scopes.has(Scope::PlayTraining) {
            let detail = "training recordings are the provider's own: his administration gives 'play:training'";
            return Err(self.refuse_admin(&admin, forbidden(detail)));
        }
        if row.expires_at.is_some_and(|expires_at| expires_at <= created_at) {
            return Err(unprocessable("'expires_at' has passed"));
        }
        let created = Created { id: row.id.to_string(), token: token.reveal().to_owned() };
        if let Some(tenant) = row.tenant {
            note_tenant(parts, tenant);
        }
        note_subject(parts, &created.id);
        note_what(parts, format!("{} with {}", row.kind, row.scopes));
        self.note_granted(parts).await?;
        self.catalog.create_token(row).await.map_err(not_created)?;
        Ok(json(StatusCode::CREATED, &created))
    }

    /// The tenant of a token that is to be made: the administrator's own, if he has one.
    async fn tenant_of_new(&self, admin: &Administrator, named: Option<&str>) -> Result<Option<TenantNumber>> {
        match (&admin.tenant, named) {
            (Some(own), None) => Ok(Some(own.number)),
            (Some(own), Some(named)) if own.slug.as_str() == named => Ok(Some(own.number)),
            (Some(_), Some(_)) => Err(forbidden("this token administers another tenant")),
            (None, None) => Ok(None),
            (None, Some(named)) => {
                let nobody = || unprocessable("there is no such tenant");
                let slug = named.parse::<Slug>().map_err(|_| nobody())?;
                let tenant = self.catalog.tenant(&slug).await.map_err(not_done)?.ok_or_else(nobody)?;
                Ok(Some(tenant.number))
            }
        }
    }

    async fn revoke_token(&self, parts: &Parts, id: &str) -> Result<Response> {
        let admin = self.authorise_admin(parts).await?;
        let unknown = || Error::new(Problem::NotFound, "there is no such token");
        let id = id.parse::<TokenId>().map_err(|_| unknown())?;
        let found = self.catalog.token(TokenKey::Id(id)).await.map_err(not_done)?.ok_or_else(unknown)?;
        let is_theirs = admin.tenant.as_ref().is_none_or(|own| found.token.tenant == Some(own.number));
        if !is_theirs || !admin.sees(&found.token) {
            return Err(unknown());
        }
        if let Some(tenant) = found.token.tenant {
            note_tenant(parts, tenant);
        }
        note_subject(parts, id);
        self.note_granted(parts).await?;
        self.catalog.revoke_token(id, self.clock.now()).await.map_err(not_done)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

impl Administrator {
    /// The provider's people are no tenant's business.
    fn sees(&self, token: &TokenRow) -> bool {
        !self.is_bound || token.kind != PrincipalKind::Person
    }
}

impl Face {
    pub(super) fn must_be_of_the_house(&self, admin: &Administrator) -> Result<()> {
        let detail = "the provider's people are administered by a token that belongs to no tenant";
        if admin.is_bound { Err(self.refuse_admin(admin, forbidden(detail))) } else { Ok(()) }
    }

    /// A person takes rights away and gives none: neither to himself, nor to a second one that he would be.
    pub(super) fn must_give_rights(&self, admin: &Administrator) -> Result<()> {
        let detail = "a person gives no rights and no clearance: a token of kind 'app', or the command line, does";
        if admin.kind == PrincipalKind::Person { Err(self.refuse_admin(admin, forbidden(detail))) } else { Ok(()) }
    }
}

/// What a token or a person is called.
pub fn checked_name(name: String) -> Result<String> {
    let sound = (1..=NAME_LEN_MAX).contains(&name.trim().len()) && !name.chars().any(char::is_control);
    sound
        .then(|| name.trim().to_owned())
        .ok_or_else(|| unprocessable(format!("'name' is 1 to {NAME_LEN_MAX} bytes without control characters")))
}

pub(super) fn unprocessable(detail: impl Into<String>) -> Error {
    Error::new(Problem::Unprocessable, detail)
}

fn forbidden(detail: &str) -> Error {
    Error::new(Problem::Forbidden, detail)
}

fn not_created(error: CatalogError) -> Error {
    match error {
        CatalogError::NotFound => unprocessable("there is no such person"),
        CatalogError::WrongState => Error::new(Problem::Conflict, "the tenant was offboarded"),
        error => not_done(error),
    }
}

pub(super) fn not_done(error: CatalogError) -> Error {
    let problem = match error {
        CatalogError::Unavailable(_) | CatalogError::Full(_) => Problem::Unavailable,
        _ => Problem::Internal,
    };
    Error::new(problem, "the catalog cannot be asked; try again").because(error)
}
