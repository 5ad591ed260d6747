//! From a request's head to a principal with a scope. It happens before a body is polled.
//!
//! credentials -> token, certificate or access token of a provider -> its address -> its tenant -> its scope -> a person's clearance -> its rate
//!
//! # Secrecy
//! A token is hashed at once and never logged. What is wrong with a token is not told: unknown, revoked, expired, and its
//! tenant's or its person's end are one answer.
//!
//! Nothing of it is kept between requests: a token that was revoked, or a clearance that ran out, is refused by the next, on
//! every server.

mod address;
mod credentials;
mod licence;
mod reason;
mod signed_on;
mod uses;
mod watch;

use std::net::IpAddr;

use hyper::http::request::Parts;

pub use credentials::ClientCertificate;
pub use licence::{Grounds, LOOKED_AT_EVERY, Licence, Still, still};
pub use uses::LastUses;
pub use watch::{Watch, WatchLimits};

use self::address::is_in_networks;
use self::credentials::{Credentials, Shown};
use super::Face;
use super::trail::{note_address, note_tenant, note_who};
use crate::catalog::{Bearer, CatalogError, Person, Tenant, TokenKey, TokenRow};
use crate::crypto::token::Token;
use crate::model::trail::Who;
use crate::model::{
    Class, Error, PersonId, Principal, PrincipalKind, Problem, Result, Scope, Scopes, Slug, Standing, Timestamp,
    TokenId,
};
use crate::sso::{Tenants, is_jwt};

/// Who asks, with the tenant's row.
pub struct Caller {
    pub principal: Principal,
    pub tenant: Tenant,
    /// Of a person: what his clearance was worth when he was let in.
    pub standing: Option<Standing>,
    pub address: Option<IpAddr>,
    /// The end of his token.
    pub expires_at: Option<Timestamp>,
}

/// Who administers, and how far it reaches.
pub struct Administrator {
    pub kind: PrincipalKind,
    pub token: Option<TokenId>,
    pub person: Option<PersonId>,
    /// `None`: every tenant.
    pub tenant: Option<Tenant>,
    /// Whether he belongs to the one tenant, and did not merely name it.
    pub is_bound: bool,
    pub address: Option<IpAddr>,
}

/// Who showed credentials that are good, from an address that may; nothing is decided yet of what for.
struct Known {
    kind: PrincipalKind,
    token: Option<TokenId>,
    person: Option<Person>,
    scopes: Scopes,
    /// The only tenant.
    bound_to: Option<Tenant>,
    /// Without one: those of which a request may name one.
    may_name: Tenants,
    /// The tenant that the request names.
    named: Option<String>,
    address: Option<IpAddr>,
    /// The end of the token; an access token of a provider is asked for anew with each request.
    expires_at: Option<Timestamp>,
}

impl Face {
    /// Lets a request in if its token has the scope.
    pub async fn authorise(&self, parts: &Parts, scope: Scope) -> Result<Caller> {
        self.authorise_any(parts, &[scope]).await
    }

    /// Lets a listener in; which class he may open is decided by [`may_play`].
    pub async fn authorise_listener(&self, parts: &Parts) -> Result<Caller> {
        self.authorise_any(parts, &[Scope::PlayCustomer, Scope::PlayTraining]).await
    }

    /// Lets in who has `admin`, for the tenant that his token belongs to or that he names.
    pub async fn authorise_admin(&self, parts: &Parts) -> Result<Administrator> {
        let known = self.know(parts, &[Scope::Admin]).await?;
        let tenant = match (&known.bound_to, &known.named) {
            (None, None) if known.may_name == Tenants::Any => None,
            _ => Some(self.tenant_of(&known).await?),
        };
        if let Some(tenant) = &tenant {
            note_tenant(parts, tenant.number);
        }
        let is_bound = known.bound_to.is_some() || known.may_name != Tenants::Any;
        let Known { kind, token, person, address, .. } = known;
        let person = person.map(|person| person.id);
        Ok(Administrator { kind, token, person, tenant, is_bound, address })
    }

    /// Lets in who may read a trail: of the tenant that his token belongs to or that he names; `None`: of the house.
    pub async fn authorise_auditor(&self, parts: &Parts) -> Result<Option<Tenant>> {
        let known = self.know(parts, &[Scope::Audit]).await?;
        if known.bound_to.is_none() && known.named.is_none() && known.may_name == Tenants::Any {
            return Ok(None);
        }
        let tenant = self.tenant_of(&known).await?;
        note_tenant(parts, tenant.number);
        Ok(Some(tenant))
    }

    /// Says what was decided behind the door; a refusal is counted.
    pub fn refuse(&self, caller: &Caller, error: Error) -> Error {
        let Principal { token, person, .. } = caller.principal;
        self.refuse_known(caller.address, token, person, error)
    }

    /// The same of whoever administers.
    pub fn refuse_admin(&self, admin: &Administrator, error: Error) -> Error {
        self.refuse_known(admin.address, admin.token, admin.person, error)
    }

    fn refuse_known(
        &self,
        address: Option<IpAddr>,
        token: Option<TokenId>,
        person: Option<PersonId>,
        error: Error,
    ) -> Error {
        if is_denial(&error) { self.watch.denied(address, counted_as(token, person), error) } else { error }
    }

    async fn authorise_any(&self, parts: &Parts, wanted: &[Scope]) -> Result<Caller> {
        let known = self.know(parts, wanted).await?;
        let tenant = self.tenant_of(&known).await?;
        note_tenant(parts, tenant.number);
        let standing = known.person.as_ref().map(|person| person.clearance.standing(self.clock.now()));
        let is_touched = wanted.iter().any(|scope| scope.reaches_recordings());
        if let Some(standing) = standing.filter(|standing| is_touched && !standing.is_cleared()) {
            let error = Error::new(Problem::NotCleared, standing.to_string());
            return Err(self.watch.denied(known.address, known.counted_as(), error));
        }
        let principal = Principal {
            kind: known.kind,
            token: known.token,
            person: known.person.map(|person| person.id),
            tenant: tenant.number,
            slug: tenant.slug.clone(),
            scopes: known.scopes,
        };
        Ok(Caller { principal, tenant, standing, address: known.address, expires_at: known.expires_at })
    }

    /// Who it is, if he has one of the scopes. What was shown and refused is counted.
    async fn know(&self, parts: &Parts, wanted: &[Scope]) -> Result<Known> {
        let address = self.client_address(parts)?;
        note_address(parts, address);
        let credentials = credentials::read(parts, wanted)?;
        let known = match self.identify(parts, credentials, address).await {
            Ok(known) => known,
            Err(Refused { error, token }) if is_denial(&error) => return Err(self.watch.denied(address, token, error)),
            Err(Refused { error, .. }) => return Err(error),
        };
        if !wanted.iter().any(|scope| known.scopes.has(*scope)) {
            return Err(self.watch.denied(address, known.counted_as(), no_scope(wanted)));
        }
        if let Some(token) = known.counted_as().filter(|_| wanted != [Scope::Ingest]) {
            self.watch.admits(token)?;
        }
        Ok(known)
    }

    async fn identify(
        &self,
        parts: &Parts,
        credentials: Credentials,
        address: Option<IpAddr>,
    ) -> std::result::Result<Known, Refused> {
        let by = match &credentials.shown {
            Shown::Token(text) if is_jwt(text) => {
                let known = self.identify_signed_on(text, credentials.tenant, address).await?;
                known.note(parts, self.clock.now());
                return Ok(known);
            }
            Shown::Token(text) => TokenKey::Hash(Token::parse(text).ok_or_else(unknown)?.hash()),
            Shown::Certificate(certificate) => TokenKey::Certificate(certificate.0),
        };
        let found = self.catalog.token(by.clone()).await.map_err(not_looked_up)?;
        let Bearer { token, tenant, person } = found.ok_or_else(unknown)?;
        // The look-up is by hash already; this holds even for a catalog that compares carelessly.
        let is_his = match &by {
            TokenKey::Hash(hash) => token.hash.matches(hash),
            TokenKey::Certificate(digest) => token.certificate.as_ref() == Some(digest),
            TokenKey::Id(_) => false,
        };
        if !is_his {
            return Err(unknown().into());
        }
        if !is_alive(&token, tenant.as_ref(), person.as_ref(), self.clock.now()) {
            // It was one of ours, and speaks for itself.
            return Err(Refused { error: unknown(), token: Some(token.id) });
        }
        let known = Known {
            kind: token.kind,
            token: Some(token.id),
            person,
            scopes: token.scopes,
            bound_to: tenant,
            may_name: Tenants::Any,
            named: credentials.tenant,
            address,
            expires_at: token.expires_at,
        };
        known.note(parts, self.clock.now());
        if !is_in_networks(&token.networks, address) {
            let error = Error::new(Problem::AddressNotAllowed, "this token is not taken from your address");
            return Err(Refused { error, token: Some(token.id) });
        }
        self.last_uses.note(&self.catalog, &token, self.clock.now());
        Ok(known)
    }

    /// The one tenant that a request is for.
    async fn tenant_of(&self, known: &Known) -> Result<Tenant> {
        let named = match (&known.bound_to, &known.named) {
            (Some(tenant), named) if named.as_ref().is_none_or(|named| named == tenant.slug.as_str()) => {
                return Ok(tenant.clone());
            }
            // Whether the one that he names is there is not for him to know.
            (Some(_), _) => return Err(self.watch.denied(known.address, known.counted_as(), unknown())),
            (None, None) => {
                return Err(Error::new(Problem::TenantNeeded, "name the tenant in 'Callvault-Tenant: <slug>'"));
            }
            (None, Some(named)) => named,
        };
        let nobody = || Error::new(Problem::NotFound, "there is no such tenant");
        let slug = named.parse::<Slug>().map_err(|_| nobody())?;
        let tenant = self.catalog.tenant(&slug).await.map_err(not_looked_up)?;
        let tenant = tenant.filter(|tenant| tenant.offboarded_at.is_none() && known.may_name.has(&tenant.slug));
        tenant.ok_or_else(nobody)
    }
}

impl Known {
    fn note(&self, parts: &Parts, now: Timestamp) {
        note_who(parts, self.who(now), self.bound_to.as_ref().map(|tenant| tenant.number));
    }

    /// As a trail tells him.
    fn who(&self, now: Timestamp) -> Who {
        let standing = self.person.as_ref().map(|person| person.clearance.standing(now).word());
        Who {
            kind: self.kind.as_str(),
            id: self.person.as_ref().map(|person| person.id.to_string()),
            token: self.token,
            address: self.address,
            clearance: standing,
        }
    }

    fn counted_as(&self) -> Option<TokenId> {
        counted_as(self.token, self.person.as_ref().map(|person| person.id))
    }
}

impl Caller {
    /// By what he listens, and the first end of it that is known beforehand.
    pub fn grounds(&self) -> Grounds {
        let cleared_until = match self.standing {
            Some(Standing::Cleared { until }) => Some(until),
            _ => None,
        };
        Grounds {
            token: self.principal.token,
            person: self.principal.person,
            link: None,
            until: self.expires_at.into_iter().chain(cleared_until).min(),
        }
    }

    /// Why he does it: a person must say so, others may.
    pub fn reason(&self, parts: &Parts) -> Result<Option<String>> {
        let reason = reason::read(parts)?;
        if reason.is_none() && self.principal.kind == PrincipalKind::Person {
            return Err(Error::new(Problem::ReasonNeeded, "send 'Callvault-Reason: <why you listen>'"));
        }
        Ok(reason)
    }
}

pub fn may_play(caller: &Caller, class: Class) -> bool {
    caller.principal.scopes.has(Scope::play(class))
}

/// Why somebody is not known; with the token where it is one of ours.
struct Refused {
    error: Error,
    token: Option<TokenId>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused { error, token: None }
    }
}

/// Under what somebody's requests are counted: his token or, by single sign-on, his own id, which no token has.
fn counted_as(token: Option<TokenId>, person: Option<PersonId>) -> Option<TokenId> {
    token.or_else(|| person.map(|person| TokenId::from_bytes(*person.as_bytes())))
}

/// Whether a token counts at all.
pub fn is_alive(token: &TokenRow, tenant: Option<&Tenant>, person: Option<&Person>, now: Timestamp) -> bool {
    token.is_current(now)
        && tenant.is_none_or(|tenant| tenant.offboarded_at.is_none())
        && person.is_none_or(|person| person.disabled_at.is_none())
}

fn is_denial(error: &Error) -> bool {
    matches!(error.problem.status(), 401 | 403)
}

fn unknown() -> Error {
    Error::new(Problem::Unauthorized, "the token is not valid here")
}

fn no_scope(wanted: &[Scope]) -> Error {
    let detail = match wanted {
        [scope] => format!("this token has no scope '{scope}'"),
        _ => "this token has neither 'play:customer' nor 'play:training'".into(),
    };
    Error::new(Problem::Forbidden, detail)
}

fn not_looked_up(error: CatalogError) -> Error {
    Error::new(Problem::Unavailable, "the catalog does not answer; try again").because(error)
}
