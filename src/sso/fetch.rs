//! A provider's documents over HTTPS: bounded in length and time, from where the settings say and from nowhere else.
//!
//! # Promise
//! No redirect is followed, and no address taken that is less secured than the issuer's. Certificates are verified for the name.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::jwks::KeySet;
use super::{KeysAt, Place, Settings};
use crate::model::error::chain;

// Limit: a set of ten keys with their certificates is 40 KiB; discovery of a large provider 10 KiB.
const DOCUMENT_LEN_MAX: usize = 256 << 10;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Where keys come from.
pub struct Source {
    issuer: String,
    keys_at: KeysAt,
    tls: TlsConnector,
}

/// What is read of a provider's description of itself.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Breaks the connection off when it is dropped.
struct Guard(tokio::task::JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Source {
    pub fn new(settings: &Settings) -> Result<Source, String> {
        let tls = connector(settings.authorities.as_deref())?;
        Ok(Source { issuer: settings.issuer.clone(), keys_at: settings.keys_at.clone(), tls })
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
        let stream = connect(place).await?;
        stream.set_nodelay(true)?;
        if !place.is_secured {
            return ask(stream, place).await;
        }
        let name = ServerName::try_from(place.host.clone())?;
        ask(self.tls.connect(name, stream).await?, place).await
    }
}

/// Plain HTTP stays on this machine, whatever its name resolves to.
async fn connect(place: &Place) -> Result<TcpStream, Failed> {
    let addresses = tokio::net::lookup_host((place.host.as_str(), place.port)).await?;
    let allowed: Vec<_> = addresses.filter(|address| place.is_secured || address.ip().is_loopback()).collect();
    Ok(TcpStream::connect(&*allowed).await?)
}

async fn ask<S>(stream: S, place: &Place) -> Result<Bytes, Failed>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends, the answer tells.
    let _guard = Guard(tokio::spawn(async move { drop(connection.await) }));
    let request = Request::get(&place.target)
        .header(HOST, authority(place))
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .header(USER_AGENT, "callvault")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    match answer.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => {
            return Err(format!("the provider answers {}, and redirects are not followed", status.as_u16()).into());
        }
        status => return Err(format!("the provider answers {}", status.as_u16()).into()),
    }
    Ok(Limited::new(answer.into_body(), DOCUMENT_LEN_MAX).collect().await?.to_bytes())
}

/// As a request names it: without the port that goes without saying.
fn authority(place: &Place) -> String {
    let host = if place.host.contains(':') { format!("[{}]", place.host) } else { place.host.clone() };
    match (place.is_secured, place.port) {
        (true, 443) | (false, 80) => host,
        (_, port) => format!("{host}:{port}"),
    }
}

fn connector(authorities: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| format!("oidc.ca {}: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"it holds no certificates in PEM ('-----BEGIN CERTIFICATE-----')"));
            }
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
