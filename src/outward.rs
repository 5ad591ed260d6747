//! Requests to services outside: over HTTPS, or plain on this machine. Each has a connection of its own.
//!
//! # Promise
//! No redirect is followed, and no proxy used. Certificates are verified for the name. Plain HTTP stays on this machine,
//! whatever its name resolves to.
//! # Limits
//! Of an answer's body: what the asker says. Time is his to limit.
//! # Cancel safety
//! Dropping a request, or its answer, breaks the connection off.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// An address that may be asked: HTTPS, or plain HTTP on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub host: String,
    pub port: u16,
    pub is_secured: bool,
    /// Path and query.
    pub target: String,
}

impl Place {
    pub fn parse(text: &str) -> Result<Place, String> {
        let advice = || {
            "https://<host>[:<port>]/<path>, without a user, a password or a fragment; http:// is taken on loopback only"
                .to_owned()
        };
        let uri = text.parse::<Uri>().ok().filter(|_| !text.contains('#')).ok_or_else(advice)?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(advice)?;
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let is_secured = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(&host) => false,
            _ => return Err(advice()),
        };
        let port = authority.port_u16().unwrap_or(if is_secured { 443 } else { 80 });
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        match host.is_empty() {
            true => Err(advice()),
            false => Ok(Place { host, port, is_secured, target }),
        }
    }

    /// As a request names it: without the port that goes without saying.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.is_secured, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Asks; knows whose certificates to believe.
pub struct Outward {
    tls: TlsConnector,
}

/// An answer whose body is still to be read.
pub struct Answer {
    pub status: StatusCode,
    body: Incoming,
    _guard: Guard,
}

/// Breaks the connection off when it is dropped.
struct Guard(tokio::task::JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Outward {
    /// `authorities`: a PEM file of those that sign the services' certificates; `None`: the system's.
    pub fn new(authorities: Option<&Path>) -> Result<Outward, String> {
        Ok(Outward { tls: connector(authorities)? })
    }

    pub async fn ask(&self, place: &Place, request: Request<Full<Bytes>>) -> Result<Answer, Failed> {
        let stream = connect(place).await?;
        stream.set_nodelay(true)?;
        if !place.is_secured {
            return ask(stream, place, request).await;
        }
        let name = ServerName::try_from(place.host.clone())?;
        ask(self.tls.connect(name, stream).await?, place, request).await
    }
}

impl Answer {
    pub async fn read(self, len_max: usize) -> Result<Bytes, Failed> {
        Ok(Limited::new(self.body, len_max).collect().await?.to_bytes())
    }
}

async fn connect(place: &Place) -> Result<TcpStream, Failed> {
    let addresses = tokio::net::lookup_host((place.host.as_str(), place.port)).await?;
    let allowed: Vec<_> = addresses.filter(|address| place.is_secured || address.ip().is_loopback()).collect();
    Ok(TcpStream::connect(&*allowed).await?)
}

async fn ask<S>(stream: S, place: &Place, mut request: Request<Full<Bytes>>) -> Result<Answer, Failed>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    *request.uri_mut() = place.target.parse()?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(place.authority())?);
    headers.insert(USER_AGENT, HeaderValue::from_static("callvault"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends, the answer tells.
    let guard = Guard(tokio::spawn(async move { drop(connection.await) }));
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok(Answer { status: head.status, body, _guard: guard })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn connector(authorities: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_by_https_or_on_this_machine() {
        for sound in
            ["https://id.example.com/realms/staff", "http://127.0.0.1:8080", "http://localhost/x", "http://[::1]:1/"]
        {
            assert!(Place::parse(sound).is_ok(), "{sound}");
        }
        for other in [
            "http://id.example.com/",
            "http://127.0.0.1.example.com/",
            "https://user:secret@id.example.com/",
            "https://id.example.com/#x",
            "ftp://127.0.0.1/",
            "id.example.com",
            "/x",
            "https://",
            "",
        ] {
            assert!(Place::parse(other).is_err(), "{other:?} was taken");
        }
    }
}
