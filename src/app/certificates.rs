//! What TLS is made of: certificate, key and authorities, from their files to a configuration for handshakes, and again when
//! they change.
//!
//! # Promise
//! A configuration that is in use was whole when it was read: the key is the certificate's, is not readable by others, and the
//! authorities are certificates. What is wrong at the start stops the start. What is wrong later is told and left alone: the
//! one from before goes on. Connections that are open keep theirs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::config::{Clients, ConfigError, TlsFiles, refuse_readable_by_others};
use crate::http::tls::{PROTOCOLS, Present};

/// The files are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
// Limit: of each file. A chain has four certificates of 2 KiB; all authorities of a browser are 250 KiB.
const FILE_LEN_MAX: u64 = 1 << 20;

/// Looks for a certificate that was renewed, until it is dropped.
pub struct Certificates {
    present: Present,
    watching: JoinHandle<()>,
}

impl Certificates {
    /// Reads the files, which must be good, and begins to watch them.
    pub fn start(files: TlsFiles) -> Result<Certificates, ConfigError> {
        let texts = Texts::read(&files)?;
        let (sender, present) = watch::channel(texts.configure(&files)?);
        Ok(Certificates { present, watching: tokio::spawn(follow(files, texts.digest(), sender)) })
    }

    pub fn present(&self) -> Present {
        self.present.clone()
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// What was seen in the files.
type Seen = [u8; 32];

/// What was read and cannot be used.
enum Unusable {
    /// It is looked at once more: two files are not written at one moment.
    Seen(Option<Seen>),
    Told(Option<Seen>),
}

async fn follow(files: TlsFiles, mut used: Seen, sender: watch::Sender<Arc<ServerConfig>>) {
    let files = Arc::new(files);
    let mut unusable: Option<Unusable> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let read = files.clone();
        let Ok((seen, configured)) = tokio::task::spawn_blocking(move || look(&read, used)).await else { continue };
        unusable = match configured {
            None => None,
            Some(Ok(configuration)) => {
                used = seen.unwrap_or(used);
                sender.send_replace(configuration);
                tracing::info!("the TLS certificate was read anew; connections from now on get it");
                None
            }
            Some(Err(error)) => match unusable {
                Some(Unusable::Told(told)) if told == seen => Some(Unusable::Told(seen)),
                Some(Unusable::Seen(before)) if before == seen => {
                    tracing::error!(
                        %error,
                        "the new TLS files are not used, and the certificate from before is served until it ends: put files \
                         that belong together in the places of tls.cert and tls.key; they are read again by themselves"
                    );
                    Some(Unusable::Told(seen))
                }
                _ => Some(Unusable::Seen(seen)),
            },
        };
    }
}

/// What the files hold; `None` behind it: what is in use.
fn look(files: &TlsFiles, used: Seen) -> (Option<Seen>, Option<Result<Arc<ServerConfig>, ConfigError>>) {
    let texts = match Texts::read(files) {
        Ok(texts) => texts,
        Err(error) => return (None, Some(Err(error))),
    };
    let seen = texts.digest();
    (Some(seen), (seen != used).then(|| texts.configure(files)))
}

/// The files as they are.
struct Texts {
    cert: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    authorities: Option<Zeroizing<Vec<u8>>>,
}

impl Texts {
    fn read(files: &TlsFiles) -> Result<Texts, ConfigError> {
        refuse_readable_by_others(&files.key)?;
        let authorities = match &files.clients {
            Clients::Unasked => None,
            Clients::May(path) | Clients::Must(path) => Some(read("tls.client_ca", path)?),
        };
        Ok(Texts { cert: read("tls.cert", &files.cert)?, key: read("tls.key", &files.key)?, authorities })
    }

    fn digest(&self) -> Seen {
        let digests = [Some(&self.cert), Some(&self.key), self.authorities.as_ref()]
            .map(|text| Sha256::digest(text.map_or(&[][..], |text| text)));
        Sha256::digest(digests.concat()).into()
    }

    /// TLS 1.2 and 1.3 with what rustls holds to be safe; hybrid post-quantum key exchange where the client can.
    fn configure(&self, files: &TlsFiles) -> Result<Arc<ServerConfig>, ConfigError> {
        let chain = certificates("tls.cert", &files.cert, &self.cert)?;
        // Secrecy: what the parser says of a key may not be repeated; its place is enough.
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            wrong(
                "tls.key",
                &files.key,
                "it holds no private key in PEM ('-----BEGIN PRIVATE KEY-----'), or one with a passphrase",
            )
        })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = versions.expect("the provider has suites for both versions");
        let mut config =
            builder.with_client_cert_verifier(self.verifier(files)?).with_single_cert(chain, key).map_err(|error| {
                let said = format!("{error}; tls.key {} must be its key", files.key.display());
                wrong("tls.cert", &files.cert, &said)
            })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        if self.authorities.is_some() {
            // A session that is resumed is not verified again: a client's certificate would outlive its end.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    }

    fn verifier(&self, files: &TlsFiles) -> Result<Arc<dyn ClientCertVerifier>, ConfigError> {
        let (path, text) = match (&files.clients, &self.authorities) {
            (Clients::May(path) | Clients::Must(path), Some(text)) => (path, text),
            _ => return Ok(Arc::new(NoClientAuth)),
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates("tls.client_ca", path, text)? {
            roots.add(authority).map_err(|error| wrong("tls.client_ca", path, &error.to_string()))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = match &files.clients {
            Clients::Must(_) => verifier,
            _ => verifier.allow_unauthenticated(),
        };
        verifier.build().map_err(|error| wrong("tls.client_ca", path, &error.to_string()))
    }
}

fn read(setting: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    let unreadable = |error: std::io::Error| wrong(setting, path, &format!("it cannot be read: {error}"));
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_LEN_MAX {
        return Err(wrong(setting, path, "it is longer than 1 MiB"));
    }
    Ok(Zeroizing::new(std::fs::read(path).map_err(unreadable)?))
}

fn certificates(setting: &str, path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    parsed
        .ok()
        .filter(|parsed| !parsed.is_empty())
        .ok_or_else(|| wrong(setting, path, "it holds no certificates in PEM ('-----BEGIN CERTIFICATE-----')"))
}

fn wrong(setting: &str, path: &Path, what: &str) -> ConfigError {
    ConfigError(format!("{setting} {}: {what}", path.display()))
}
