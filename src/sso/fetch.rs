//! A provider's documents over HTTPS: bounded in length and time, from where the settings say and from nowhere else.
//!
//! # Promise
//! No redirect is followed, and no address taken that is less secured than the issuer's. Certificates are verified for the name.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::ACCEPT;
use hyper::{Request, StatusCode};
use serde::Deserialize;

use super::jwks::KeySet;
use super::{KeysAt, Settings};
use crate::model::error::chain;
use crate::outward::{Failed, Outward, Place};

// Limit: a set of ten keys with their certificates is 40 KiB; discovery of a large provider 10 KiB.
const DOCUMENT_LEN_MAX: usize = 256 << 10;

/// Where keys come from.
pub struct Source {
    issuer: String,
    keys_at: KeysAt,
    outward: Outward,
}

/// What is read of a provider's description of itself.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Source {
    pub fn new(settings: &Settings) -> Result<Source, String> {
        let outward = Outward::new(settings.authorities.as_deref()).map_err(|error| format!("oidc.ca {error}"))?;
        Ok(Source { issuer: settings.issuer.clone(), keys_at: settings.keys_at.clone(), outward })
    }

    /// The keys as they are published at present. The text of an error names no address.
    pub async fn fetch(&self, timeout: Duration) -> Result<Arc<KeySet>, String> {
        match tokio::time::timeout(timeout, self.keys()).await {
            Ok(fetched) => fetched.map_err(|error| chain(&*error)),
            Err(_) => Err(format!("there was no answer within {} ms (oidc.timeout)", timeout.as_millis())),
        }
    }

    async fn keys(&self) -> Result<Arc<KeySet>, Failed> {
        let discovered;
        let place = match &self.keys_at {
            KeysAt::Named(place) => place,
            KeysAt::Discovered(at) => {
                discovered = self.discover(at).await?;
                &discovered
            }
        };
        Ok(Arc::new(KeySet::parse(&self.get(place).await?)?))
    }

    async fn discover(&self, at: &Place) -> Result<Place, Failed> {
        let text = self.get(at).await?;
        let discovery: Discovery = serde_json::from_slice(&text)
            .map_err(|_| "what stands below the issuer is no OpenID Connect configuration")?;
        // Whoever serves another's configuration is not believed (OpenID Connect Discovery 1.0, section 4.3).
        if discovery.issuer != self.issuer {
            return Err("the configuration is another issuer's: write oidc.issuer exactly as it says".into());
        }
        let place = Place::parse(&discovery.jwks_uri).map_err(|_| "jwks_uri is no address that may be asked")?;
        if at.is_secured && !place.is_secured {
            return Err("jwks_uri is not secured, and the issuer is".into());
        }
        Ok(place)
    }

    async fn get(&self, place: &Place) -> Result<Bytes, Failed> {
        let request = Request::get("/").header(ACCEPT, "application/json, application/jwk-set+json");
        let answer = self.outward.ask(place, request.body(Full::default())?).await?;
        match answer.status {
            StatusCode::OK => answer.read(DOCUMENT_LEN_MAX).await,
            status if status.is_redirection() => {
                Err(format!("the provider answers {}, and redirects are not followed", status.as_u16()).into())
            }
            status => Err(format!("the provider answers {}", status.as_u16()).into()),
        }
    }
}
