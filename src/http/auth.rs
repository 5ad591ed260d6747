//! From a request's head to a principal with a scope. It happens before a body is polled.
//!
//! # Secrecy
//! A token is hashed at once and never logged. What is wrong with a token is not told: unknown, revoked, expired and
//! another network's are one answer.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use ipnet::IpNet;

use super::Face;
use super::metadata::query;
use crate::catalog::{CatalogError, Tenant, TokenRow};
use crate::crypto::token::Token;
use crate::model::{Class, Error, Principal, Problem, Result, Scope};

/// Who asks, with the tenant's row.
pub struct Caller {
    pub principal: Principal,
    pub tenant: Tenant,
}

impl Face {
    /// Lets a request in if its token has the scope.
    pub async fn authorise(&self, parts: &Parts, scope: Scope) -> Result<Caller> {
        let caller = self.authenticate(parts, read_credentials_for(parts, scope)?).await?;
        if caller.principal.scopes.has(scope) {
            return Ok(caller);
        }
        Err(Error::new(Problem::Forbidden, format!("this token has no scope '{scope}'")))
    }

    /// Lets a listener in; which class he may open is decided by [`may_play`].
    pub async fn authorise_listener(&self, parts: &Parts) -> Result<Caller> {
        let caller = self.authenticate(parts, read_credentials(parts)?).await?;
        if Class::AUDIO.iter().any(|class| may_play(&caller, *class)) {
            return Ok(caller);
        }
        Err(Error::new(Problem::Forbidden, "this token has neither 'play:customer' nor 'play:training'"))
    }

    async fn authenticate(&self, parts: &Parts, credentials: Credentials) -> Result<Caller> {
        let unknown = || Error::new(Problem::Unauthorized, "the token is not valid here");
        let token = Token::parse(&credentials.token).ok_or_else(unknown)?;
        let hash = token.hash();
        let found = self.catalog.token(&hash).await.map_err(not_looked_up)?;
        let (row, tenant) = found.ok_or_else(unknown)?;
        // The look-up is by hash already; this holds even for a catalog that compares carelessly.
        let address = self.client_address(parts)?;
        let is_valid = row.hash.matches(&hash)
            && tenant.offboarded_at.is_none()
            && self.is_current(&row)
            && is_in_networks(&row, address)
            && credentials.tenant.is_none_or(|slug| slug == tenant.slug.as_str());
        if !is_valid {
            return Err(unknown());
        }
        let principal =
            Principal { token: row.id, tenant: tenant.number, slug: tenant.slug.clone(), scopes: row.scopes };
        Ok(Caller { principal, tenant })
    }

    fn is_current(&self, row: &TokenRow) -> bool {
        let now = self.clock.now();
        row.revoked_at.is_none() && row.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// Who asks: as another server of this vault tells it, or the peer, or the address that a named proxy gives as the one it
    /// serves.
    pub(super) fn client_address(&self, parts: &Parts) -> Result<Option<IpAddr>> {
        match self.peers.passed_on_for(parts, self.clock.now())? {
            Some(client) => Ok(client),
            None => Ok(self.nearest_address(parts)),
        }
    }

    fn nearest_address(&self, parts: &Parts) -> Option<IpAddr> {
        // A socket that listens on both protocols shows an IPv4 peer as an IPv6 one; networks name him as he is.
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip().to_canonical();
        let trusts = |address: &IpAddr| self.limits.trusted_proxies.iter().any(|net| net.contains(address));
        if !trusts(&peer) {
            return Some(peer);
        }
        let forwarded = parts.headers.get_all("x-forwarded-for").iter();
        let texts: Vec<&str> = forwarded.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(',')).collect();
        for text in texts.iter().rev() {
            match text.trim().parse::<IpAddr>().map(|address| address.to_canonical()) {
                Ok(address) if trusts(&address) => continue,
                // What stands left of an address that cannot be read was written by who knows whom.
                parsed => return parsed.ok(),
            }
        }
        Some(peer)
    }
}

pub fn may_play(caller: &Caller, class: Class) -> bool {
    caller.principal.scopes.has(Scope::play(class))
}

struct Credentials {
    token: String,
    /// The user name of Basic, where there is one.
    tenant: Option<String>,
}

/// For `ingest` alone also `?token=` or `?key=`: some PBXes cannot set headers.
fn read_credentials_for(parts: &Parts, scope: Scope) -> Result<Credentials> {
    if scope == Scope::Ingest && !parts.headers.contains_key(AUTHORIZATION) {
        let in_query = query(parts).into_iter().find(|(name, _)| name == "token" || name == "key");
        if let Some((_, token)) = in_query {
            return Ok(Credentials { token, tenant: None });
        }
    }
    read_credentials(parts)
}

/// `Authorization: Bearer <token>`, or Basic with `tenant:token`.
fn read_credentials(parts: &Parts) -> Result<Credentials> {
    let missing =
        || Error::new(Problem::Unauthorized, "send 'Authorization: Bearer <token>', or Basic with tenant:token");
    let header = parts.headers.get(AUTHORIZATION).ok_or_else(missing)?.to_str().map_err(|_| missing())?;
    let (scheme, value) = header.trim().split_once(' ').ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Credentials { token: value.trim().to_owned(), tenant: None });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(missing());
    }
    let decoded = STANDARD.decode(value.trim()).map_err(|_| missing())?;
    let decoded = String::from_utf8(decoded).map_err(|_| missing())?;
    let (tenant, token) = decoded.split_once(':').ok_or_else(missing)?;
    Ok(Credentials { token: token.to_owned(), tenant: Some(tenant.to_owned()).filter(|tenant| !tenant.is_empty()) })
}

fn is_in_networks(row: &TokenRow, address: Option<IpAddr>) -> bool {
    if row.networks.is_empty() {
        return true;
    }
    let contains = |network: &String| {
        let network = network.parse::<IpNet>().ok();
        network.zip(address).is_some_and(|(network, address)| network.contains(&address))
    };
    row.networks.iter().any(contains)
}

fn not_looked_up(error: CatalogError) -> Error {
    Error::new(Problem::Unavailable, "the catalog does not answer; try again").because(error)
}
