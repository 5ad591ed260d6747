//! The provider of single sign-on: which one, what its tokens may be, and what their claims stand for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::raw::Oidc;
use super::{ConfigError, duration, size};
use crate::model::{Scope, Scopes};
use crate::sso::{self, Algorithm, Claim, KeyTimes, KeysAt, Place, Rights, Settings, Tenants};

/// What providers sign with; RSA with longer hashes and larger curves are allowed by name.
const ALGORITHMS: [Algorithm; 4] = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];
// Limit: clocks that are kept by NTP differ by less than a second; this is for one that is not.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);
// Limit: a token with the roles of a hundred clients in it is 8 KiB.
const TOKEN_LEN_MAX: u64 = 16 << 10;
const TOKEN_LEN_MAX_MAX: u64 = 64 << 10;
// Limit: how long a key is still believed that the provider withdrew.
const KEYS_REFRESH: Duration = Duration::from_secs(300);
// Limit: a stranger's tokens make six requests a minute, and the first token of a new key waits for no longer.
const KEYS_PAUSE: Duration = Duration::from_secs(10);
// Limit: a provider that is down for a day locks nobody out who has a token; a key that it withdrew meanwhile lives as long.
const KEYS_MAX_AGE: Duration = Duration::from_secs(24 * 3_600);
const KEYS_MAX_AGE_MAX: Duration = Duration::from_secs(168 * 3_600);
const TIMEOUT: Duration = Duration::from_secs(5);

const SCOPES_CLAIM: &str = "scope";
/// Stands for every tenant, where a setting says so; no slug looks like it.
const ANY_TENANT: &str = "*";

pub(super) fn check(raw: Oidc) -> Result<Option<Settings>, ConfigError> {
    let Some(issuer) = raw.issuer else { return refuse_without_issuer(&raw) };
    let wrong = |name: &str, text: &str, error: String| ConfigError(format!("oidc.{name} {text:?}: {error}"));
    let discovery = sso::issuer(&issuer).map_err(|error| wrong("issuer", &issuer, error))?;
    let audiences = raw.audience.unwrap_or_default();
    if audiences.is_empty() || audiences.iter().any(String::is_empty) {
        return Err(ConfigError(
            "oidc.audience is needed with oidc.issuer: without it a token for any other service of the provider would open \
             this vault; name what the provider calls this one"
                .into(),
        ));
    }
    let keys_at = match &raw.jwks_url {
        None => KeysAt::Discovered(discovery),
        Some(url) => KeysAt::Named(Place::parse(url).map_err(|error| wrong("jwks_url", url, error))?),
    };
    let algorithms = match &raw.algorithms {
        None => ALGORITHMS.to_vec(),
        Some(names) => {
            let parse = |name: &String| sso::algorithm(name).map_err(|error| wrong("algorithms", name, error));
            super::some("oidc.algorithms", names.iter().map(parse).collect::<Result<_, _>>()?)?
        }
    };
    let keys = KeyTimes {
        refresh: duration("oidc.keys_refresh", raw.keys_refresh.as_deref(), KEYS_REFRESH)?,
        pause: duration("oidc.keys_pause", raw.keys_pause.as_deref(), KEYS_PAUSE)?,
        max_age: duration("oidc.keys_max_age", raw.keys_max_age.as_deref(), KEYS_MAX_AGE)?,
        timeout: duration("oidc.timeout", raw.timeout.as_deref(), TIMEOUT)?,
    };
    if keys.max_age < keys.refresh || keys.max_age > KEYS_MAX_AGE_MAX {
        return Err(ConfigError("oidc.keys_max_age: at least oidc.keys_refresh, and at most 168h".into()));
    }
    let clock_skew = duration("oidc.clock_skew", raw.clock_skew.as_deref(), CLOCK_SKEW)?;
    if clock_skew > CLOCK_SKEW_MAX {
        return Err(ConfigError("oidc.clock_skew: at most 5m; set the clocks by NTP".into()));
    }
    let token_len_max = size("oidc.token_len_max", raw.token_len_max.as_deref(), TOKEN_LEN_MAX)?;
    if !(1..=TOKEN_LEN_MAX_MAX).contains(&token_len_max) {
        return Err(ConfigError("oidc.token_len_max: at most 64KiB".into()));
    }
    if raw.tenants.is_some() && raw.tenants_claim.is_none() {
        return Err(ConfigError("oidc.tenants is of no use without oidc.tenants_claim: name the claim".into()));
    }
    let rights = Rights {
        scopes_claim: claim("scopes_claim", raw.scopes_claim.unwrap_or_else(|| SCOPES_CLAIM.to_owned()))?,
        scopes: scopes(raw.scopes.unwrap_or_default())?,
        tenants_claim: raw.tenants_claim.map(|name| claim("tenants_claim", name)).transpose()?,
        tenants: tenants(raw.tenants.unwrap_or_default())?,
    };
    let token_len_max = token_len_max as usize;
    let authorities = raw.ca;
    Ok(Some(Settings { issuer, audiences, keys_at, authorities, algorithms, clock_skew, token_len_max, keys, rights }))
}

/// A setting that does nothing is a mistake somewhere.
fn refuse_without_issuer(raw: &Oidc) -> Result<Option<Settings>, ConfigError> {
    let is_set = [
        raw.audience.is_some(),
        raw.jwks_url.is_some(),
        raw.ca.is_some(),
        raw.algorithms.is_some(),
        raw.clock_skew.is_some(),
        raw.token_len_max.is_some(),
        raw.keys_refresh.is_some(),
        raw.keys_pause.is_some(),
        raw.keys_max_age.is_some(),
        raw.timeout.is_some(),
        raw.scopes_claim.is_some(),
        raw.scopes.is_some(),
        raw.tenants_claim.is_some(),
        raw.tenants.is_some(),
    ];
    if is_set.contains(&true) {
        return Err(ConfigError("settings of oidc are of no use without oidc.issuer: name the provider".into()));
    }
    Ok(None)
}

fn claim(setting: &str, name: String) -> Result<Claim, ConfigError> {
    match name.is_empty() || name.contains(char::is_whitespace) {
        true => Err(ConfigError(format!(
            "oidc.{setting} {name:?}: a claim's name, or a pointer such as /realm_access/roles"
        ))),
        false => Ok(Claim(name)),
    }
}

fn scopes(raw: BTreeMap<String, Vec<String>>) -> Result<BTreeMap<String, Scopes>, ConfigError> {
    let parse = |(value, names): (String, Vec<String>)| {
        let wrong = |error: &str| ConfigError(format!("oidc.scopes {value:?}: {error}"));
        let scopes: Scopes = names
            .iter()
            .map(|name| name.parse::<Scope>())
            .collect::<Result<_, _>>()
            .map_err(|error: String| wrong(&error))?;
        match scopes.has(Scope::Ingest) {
            true => Err(wrong("a person does not upload: leave the scope 'ingest' out")),
            false => Ok((value, scopes)),
        }
    };
    raw.into_iter().map(parse).collect()
}

fn tenants(raw: BTreeMap<String, Vec<String>>) -> Result<BTreeMap<String, Tenants>, ConfigError> {
    let parse = |(value, slugs): (String, Vec<String>)| {
        if slugs == [ANY_TENANT] {
            return Ok((value, Tenants::Any));
        }
        match slugs.iter().map(|slug| slug.parse()).collect::<Result<_, String>>() {
            Ok(slugs) => Ok((value, Tenants::These(slugs))),
            Err(error) => Err(ConfigError(format!("oidc.tenants {value:?}: {error}, or [\"*\"] for every tenant"))),
        }
    };
    raw.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(toml: &str) -> Result<Option<Settings>, ConfigError> {
        check(toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}")))
    }

    fn with(toml: &str) -> Result<Settings, ConfigError> {
        let text = format!("issuer = \"https://id.example.com\"\naudience = [\"callvault\"]\n{toml}");
        checked(&text).map(|settings| settings.expect("there is an issuer"))
    }

    #[test]
    fn a_provider_needs_an_issuer_and_an_audience_and_nothing_else() {
        let settings = with("").expect("defaults");

        assert_eq!(settings.algorithms, ALGORITHMS);
        assert_eq!((settings.clock_skew, settings.token_len_max), (CLOCK_SKEW, 16 << 10));
        assert_eq!(settings.rights.scopes_claim, Claim("scope".into()));
        assert!(matches!(settings.keys_at, KeysAt::Discovered(_)));
        assert!(checked("").expect("nothing").is_none());
        for bad in [
            "issuer = \"https://id.example.com\"",
            "issuer = \"https://id.example.com\"\naudience = []",
            "issuer = \"http://id.example.com\"\naudience = [\"x\"]",
            "audience = [\"x\"]",
            "clock_skew = \"1s\"",
            "[tenants]\na = [\"acme\"]",
        ] {
            assert!(checked(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn what_a_value_stands_for_is_checked_before_anybody_is_let_in() {
        let settings = with(
            "tenants_claim = \"groups\"\n[scopes]\nlistener = [\"read\", \"play:customer\"]\n[tenants]\nall = [\"*\"]\nsome = [\"acme\", \"beta\"]",
        );
        let rights = settings.expect("sound").rights;
        assert_eq!(rights.scopes["listener"].to_string(), "read play:customer");
        assert_eq!(rights.tenants["all"], Tenants::Any);
        assert!(rights.tenants["some"].has(&"beta".parse().expect("a slug")));

        for bad in [
            "[scopes]\nlistener = [\"listen\"]",
            "[scopes]\nlistener = [\"read\", \"ingest\"]",
            "tenants_claim = \"groups\"\n[tenants]\nall = [\"*\", \"acme\"]",
            "tenants_claim = \"groups\"\n[tenants]\nall = [\"Acme\"]",
            "[tenants]\nall = [\"*\"]",
            "tenants_claim = \"\"",
            "scopes_claim = \"a b\"",
        ] {
            assert!(with(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn the_example_of_the_readme_is_taken_as_it_stands() {
        let readme = include_str!("../../README.md");
        let example = readme.split("```toml\n[oidc]\n").nth(1).and_then(|rest| rest.split("```").next());

        let example = example.expect("there is one").replace("[oidc.", "[");
        let settings = checked(&example).expect("sound").expect("it names an issuer");

        assert_eq!(settings.rights.scopes["trainer"].to_string(), "read play:training");
        assert_eq!(settings.rights.tenants["head-office"], Tenants::Any);
    }

    #[test]
    fn limits_of_the_sign_on_have_bounds_of_their_own() {
        for bad in [
            "clock_skew = \"301s\"",
            "clock_skew = \"0s\"",
            "token_len_max = \"65KiB\"",
            "token_len_max = \"0\"",
            "keys_max_age = \"169h\"",
            "keys_max_age = \"1m\"",
            "keys_pause = \"0s\"",
            "timeout = \"soon\"",
            "algorithms = [\"HS256\"]",
            "algorithms = [\"none\"]",
            "algorithms = []",
            "jwks_url = \"http://id.example.com/keys\"",
        ] {
            assert!(with(bad).is_err(), "{bad} was taken");
        }
        let settings =
            with("clock_skew = \"5m\"\ntoken_len_max = \"64KiB\"\nkeys_refresh = \"1s\"\nkeys_max_age = \"1s\"");
        assert_eq!(settings.expect("sound").clock_skew, CLOCK_SKEW_MAX);
    }
}
