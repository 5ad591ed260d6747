//! The collector of traces: which one, and how long anything waits for it.

use std::time::Duration;

use super::raw::Otlp;
use super::{ConfigError, duration};
use crate::outward::Place;
use crate::spans::Settings;

// Limit: a playback of an hour of G.711 has 110 spans, most requests have three; each takes some 400 bytes while it waits.
const QUEUE_MAX: usize = 4_096;
const QUEUE_MAX_MAX: usize = 1_000_000;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Of traces, below the endpoint (OTLP/HTTP).
const SIGNAL: &str = "/v1/traces";

pub(super) fn check(raw: Otlp) -> Result<Option<Settings>, ConfigError> {
    let Some(endpoint) = raw.endpoint.filter(|endpoint| !endpoint.is_empty()) else {
        return match raw.queue_max.is_some() || raw.timeout.is_some() {
            true => Err(ConfigError("settings of otlp are of no use without otlp.endpoint: name the collector".into())),
            false => Ok(None),
        };
    };
    // Secrecy: what was written may be a URL with a password.
    let wrong = |error: &str| ConfigError(format!("otlp.endpoint: {error}"));
    if endpoint.contains('?') {
        return Err(wrong("an address without a query, such as http://127.0.0.1:4318"));
    }
    let place = Place::parse(&format!("{}{SIGNAL}", endpoint.trim_end_matches('/'))).map_err(|error| wrong(&error))?;
    let queue_max = raw.queue_max.unwrap_or(QUEUE_MAX);
    if !(1..=QUEUE_MAX_MAX).contains(&queue_max) {
        return Err(ConfigError(format!("otlp.queue_max is a number from 1 to {QUEUE_MAX_MAX}")));
    }
    Ok(Some(Settings { place, queue_max, timeout: duration("otlp.timeout", raw.timeout.as_deref(), TIMEOUT)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(toml: &str) -> Result<Option<Settings>, ConfigError> {
        check(toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}")))
    }

    #[test]
    fn a_collector_is_reached_by_https_or_on_this_machine_and_not_at_all_by_default() {
        assert!(checked("").expect("nothing").is_none());
        assert!(checked("endpoint = \"\"").expect("nothing").is_none());
        for (endpoint, port, target) in [
            ("http://127.0.0.1:4318", 4318, "/v1/traces"),
            ("http://localhost:4318/", 4318, "/v1/traces"),
            ("https://otel.example.com/otlp", 443, "/otlp/v1/traces"),
        ] {
            let settings = checked(&format!("endpoint = \"{endpoint}\"")).expect("sound").expect("it is named");
            assert_eq!((settings.place.port, &*settings.place.target), (port, target), "{endpoint}");
            assert_eq!((settings.queue_max, settings.timeout), (QUEUE_MAX, TIMEOUT));
        }
        for bad in [
            "http://otel.example.com:4318",
            "https://user:secret@otel.example.com",
            "https://otel.example.com/?token=secret",
            "127.0.0.1:4318",
            "grpc://127.0.0.1:4317",
        ] {
            let error = checked(&format!("endpoint = \"{bad}\"")).expect_err(bad).to_string();
            assert!(error.starts_with("otlp.endpoint: ") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn limits_of_traces_have_bounds_and_need_a_collector() {
        let endpoint = "endpoint = \"http://127.0.0.1:4318\"\n";
        let settings = checked(&format!("{endpoint}queue_max = 1\ntimeout = \"100ms\"")).expect("sound");
        assert_eq!(settings.expect("it is named").timeout, Duration::from_millis(100));
        for bad in ["queue_max = 0", "queue_max = 1000001", "timeout = \"0s\"", "timeout = \"soon\""] {
            assert!(checked(&format!("{endpoint}{bad}")).is_err(), "{bad} was taken");
        }
        for alone in ["queue_max = 1", "timeout = \"1s\""] {
            assert!(checked(alone).is_err(), "{alone} was taken");
        }
    }
}
