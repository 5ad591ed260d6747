//! Which provider is believed, and how it is asked. What is in here was checked.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::rights::Rights;

#[derive(Clone, Debug)]
pub struct Settings {
    /// As tokens and discovery say it, byte for byte.
    pub issuer: String,
    /// A token is for one of these.
    pub audiences: Vec<String>,
    pub keys_at: KeysAt,
    /// Authorities of the provider's TLS certificate, PEM; `None`: the system's.
    pub authorities: Option<PathBuf>,
    pub algorithms: Vec<Algorithm>,
    /// By how much the provider's clock and this one may differ.
    pub clock_skew: Duration,
    pub token_len_max: usize,
    pub keys: KeyTimes,
    pub rights: Rights,
}

/// Where a provider's keys are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysAt {
    /// Where `<issuer>/.well-known/openid-configuration` says (OpenID Connect Discovery 1.0).
    Discovered(Place),
    Named(Place),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTimes {
    /// Keys are fetched this often: what the provider withdrew is refused after that.
    pub refresh: Duration,
    /// Between two fetches that tokens with unknown keys cause, and after one that failed.
    pub pause: Duration,
    /// Fetched keys are used for so long while the provider is down.
    pub max_age: Duration,
    /// Of one fetch, discovery included.
    pub timeout: Duration,
}

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
}

pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The document of an issuer that says where its keys are (OpenID Connect Discovery 1.0, section 4).
pub fn issuer(text: &str) -> Result<Place, String> {
    // A space would end the issuer in a person's subject.
    if text.contains('?') || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("an issuer is an address without a query and without spaces".into());
    }
    Place::parse(text)?;
    Place::parse(&format!("{}/.well-known/openid-configuration", text.trim_end_matches('/')))
}

/// An algorithm whose keys are public on one side: with a shared secret, whoever verifies could sign.
pub fn algorithm(text: &str) -> Result<Algorithm, String> {
    let parsed = match text {
        // The name of RFC 9864; no key of another curve is taken under either.
        "Ed25519" => Some(Algorithm::EdDSA),
        name => name.parse().ok(),
    };
    parsed.filter(|algorithm: &Algorithm| algorithm.family() != AlgorithmFamily::Hmac).ok_or_else(|| {
        "an algorithm is one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA (Ed25519)".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_asked_by_https_or_on_this_machine() {
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

    #[test]
    fn the_place_of_discovery_stands_below_the_issuer_with_or_without_a_last_slash() {
        let at = |text| issuer(text).expect("an issuer").target;

        assert_eq!(at("https://id.example.com"), "/.well-known/openid-configuration");
        assert_eq!(at("https://id.example.com/"), "/.well-known/openid-configuration");
        assert_eq!(at("https://id.example.com/realms/staff"), "/realms/staff/.well-known/openid-configuration");
        for other in ["https://id.example.com/?x=1", "https://id.example.com/a b", "http://id.example.com"] {
            assert!(issuer(other).is_err(), "{other}");
        }
    }

    #[test]
    fn algorithms_with_a_shared_secret_and_none_cannot_be_allowed() {
        assert_eq!(algorithm("ES256"), Ok(Algorithm::ES256));
        assert_eq!(algorithm("Ed25519"), algorithm("EdDSA"));
        for other in ["none", "None", "HS256", "HS384", "HS512", "rs256", "", "ES256K"] {
            assert!(algorithm(other).is_err(), "{other} was allowed");
        }
    }
}
