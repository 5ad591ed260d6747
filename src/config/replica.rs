//! What a server is called among those that share its catalog, and how they reach it.

use hyper::Uri;

use super::ConfigError;
use super::raw::Replica;
use crate::http::peers::ElsewherePlayback;
use crate::model::ReplicaName;

/// Over an embedded catalog there is one server: its rows are its own, whatever its host is called today.
const ALONE: &str = "callvault";

#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    pub name: ReplicaName,
    /// Scheme and authority, without a path.
    pub url: Option<String>,
    pub playback: ElsewherePlayback,
}

impl ReplicaConfig {
    pub(super) fn check(raw: Replica, catalog: Option<&str>) -> Result<ReplicaConfig, ConfigError> {
        let is_shared = catalog.is_some_and(|url| !url.starts_with("sqlite://"));
        let name = match raw.name {
            Some(name) => name,
            None if is_shared => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            None => ALONE.to_owned(),
        };
        let name = name.parse().map_err(|error| ConfigError(format!("replica.name {name:?}: {error}")))?;
        let playback = match raw.playback.as_deref() {
            None | Some("proxy") => ElsewherePlayback::Proxy,
            Some("refuse") => ElsewherePlayback::Refuse,
            Some(other) => return Err(ConfigError(format!("replica.playback {other:?}: it is proxy or refuse"))),
        };
        Ok(ReplicaConfig { name, url: raw.url.as_deref().map(check_url).transpose()?, playback })
    }
}

fn check_url(text: &str) -> Result<String, ConfigError> {
    let advice =
        || ConfigError(format!("replica.url {text:?}: http://<host>:<port>, where the other servers reach this one"));
    let uri = text.parse::<Uri>().map_err(|_| advice())?;
    let is_sound = uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
    match uri.authority().filter(|authority| is_sound && !authority.as_str().contains('@')) {
        Some(authority) => Ok(format!("http://{authority}")),
        None => Err(advice()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: Option<&str>, url: Option<&str>, catalog: Option<&str>) -> Result<ReplicaConfig, ConfigError> {
        let raw = Replica { name: name.map(Into::into), url: url.map(Into::into), playback: None };
        ReplicaConfig::check(raw, catalog)
    }

    #[test]
    fn a_lone_server_has_one_name_on_every_host_and_a_shared_catalog_takes_the_hosts() {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux has it");

        assert_eq!(checked(None, None, None).expect("defaults").name.as_str(), "callvault");
        assert_eq!(checked(None, None, Some("sqlite:///x")).expect("defaults").name.as_str(), "callvault");
        assert_eq!(checked(None, None, Some("postgres://db/x")).expect("defaults").name.as_str(), host.trim());
        assert_eq!(checked(Some("vault-3"), None, None).expect("a name").name.as_str(), "vault-3");
        assert!(checked(Some("vault 3"), None, None).is_err());
    }

    #[test]
    fn an_address_for_replicas_is_a_scheme_and_a_host_and_nothing_else() {
        let url = |text| checked(None, Some(text), None).map(|config| config.url);

        assert_eq!(url("http://vault-0.vault:8787/").expect("sound"), Some("http://vault-0.vault:8787".into()));
        for other in
            ["vault-0:8787", "https://vault-0", "http://a:b@vault-0", "http://vault-0/x", "http://vault-0/?x=1"]
        {
            assert!(url(other).is_err(), "{other} was taken");
        }
    }
}
