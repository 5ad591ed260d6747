//! Logs: lines on stderr that read alone, with fields that can be searched.
//!
//! # Secrecy
//! No number, name, token, key or query string is ever a field. Requests are not logged as such: the audit is for that. What the
//! HTTP/2 library says of a peer's frames is left out at every level.

#[cfg(debug_assertions)]
pub mod journal;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Text for a person at a terminal, JSON lines otherwise; `CALLVAULT_LOG` sets the level (`info`, `debug`, ...) where the
/// default is not right.
pub fn init(default_level: &str) {
    let filter = EnvFilter::try_from_env("CALLVAULT_LOG").unwrap_or_else(|_| EnvFilter::new(default_level));
    let filter = filter.add_directive("h2=off".parse().expect("a directive"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second call (tests in one process) keeps the first.
    let _ = if std::io::stderr().is_terminal() { builder.compact().try_init() } else { builder.json().try_init() };
}
