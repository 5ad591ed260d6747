//! What a request shows to be let in: a token in one of its places, or a client certificate.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderName};
use hyper::http::request::Parts;

use crate::http::metadata::query;
use crate::model::{Error, Problem, Result, Scope};
use crate::sso::is_jwt;

/// The tenant that a request is for, where its token is bound to none.
const TENANT: HeaderName = HeaderName::from_static("callvault-tenant");

/// SHA-256 of the certificate that a connection's client showed, and proved to have.
#[derive(Clone, Copy, Debug)]
pub struct ClientCertificate(pub [u8; 32]);

pub struct Credentials {
    pub shown: Shown,
    /// The tenant that is named: in `Callvault-Tenant`, or as the user of Basic.
    pub tenant: Option<String>,
}

pub enum Shown {
    /// Its text, not looked at yet.
    Token(String),
    Certificate(ClientCertificate),
}

/// For `ingest` alone also `?token=` or `?key=`: some PBXes cannot set headers. A token comes before a certificate.
/// Secrecy: a person's access token is not taken from an address, which is written down on its way (RFC 6750 section 5.3).
pub fn read(parts: &Parts, wanted: &[Scope]) -> Result<Credentials> {
    if parts.headers.contains_key(AUTHORIZATION) {
        return in_header(parts);
    }
    let in_query =
        || query(parts).into_iter().find(|(name, value)| (name == "token" || name == "key") && !is_jwt(value));
    let in_query = if wanted == [Scope::Ingest] { in_query() } else { None };
    let shown = match (in_query, parts.extensions.get::<ClientCertificate>()) {
        (Some((_, token)), _) => Shown::Token(token),
        (None, Some(certificate)) => Shown::Certificate(*certificate),
        (None, None) => return Err(missing()),
    };
    Ok(Credentials { shown, tenant: named_tenant(parts)? })
}

/// `Authorization: Bearer <token>`, or Basic with `tenant:token`.
fn in_header(parts: &Parts) -> Result<Credentials> {
    let header = parts.headers.get(AUTHORIZATION).ok_or_else(missing)?.to_str().map_err(|_| missing())?;
    let (scheme, value) = header.trim().split_once(' ').ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Credentials { shown: Shown::Token(value.trim().to_owned()), tenant: named_tenant(parts)? });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(missing());
    }
    let decoded = STANDARD.decode(value.trim()).map_err(|_| missing())?;
    let decoded = String::from_utf8(decoded).map_err(|_| missing())?;
    let (user, token) = decoded.split_once(':').ok_or_else(missing)?;
    let user = Some(user.to_owned()).filter(|user| !user.is_empty());
    let tenant = match (user, named_tenant(parts)?) {
        (Some(user), Some(header)) if user != header => {
            return Err(Error::new(Problem::Unauthorized, "Basic and 'Callvault-Tenant' name two tenants"));
        }
        (user, header) => user.or(header),
    };
    Ok(Credentials { shown: Shown::Token(token.to_owned()), tenant })
}

fn named_tenant(parts: &Parts) -> Result<Option<String>> {
    let Some(value) = parts.headers.get(TENANT) else { return Ok(None) };
    let named = value.to_str().ok().map(str::trim).filter(|slug| !slug.is_empty());
    let advice = || Error::new(Problem::BadRequest, "'Callvault-Tenant' is a tenant's slug");
    Ok(Some(named.ok_or_else(advice)?.to_owned()))
}

fn missing() -> Error {
    Error::new(Problem::Unauthorized, "send 'Authorization: Bearer <token>', or Basic with tenant:token")
}
