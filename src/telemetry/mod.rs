//! Logs: lines on stderr that read alone, with fields that can be searched. And traces, where they are asked for.
//!
//! # Secrecy
//! No number, name, token, key or query string is ever a field. Requests are not logged as such: the audit is for that. What the
//! HTTP/2 library says of a peer's frames is left out at every level.

#[cfg(debug_assertions)]
pub mod journal;
mod traces;

use std::env::VarError;
use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

pub use traces::{Sending, Traces};

use crate::spans;

/// `info`, `debug`, ..., or what tracing-subscriber calls directives.
const LEVEL: &str = "CALLVAULT_LOG";
/// `text` or `json`.
const FORMAT: &str = "CALLVAULT_LOG_FORMAT";

/// Begins to log, at `CALLVAULT_LOG` and in `CALLVAULT_LOG_FORMAT`; where that is not set, as text for a person at a terminal
/// and as JSON lines otherwise. What is set and means nothing is refused, and the message says what it may be.
///
/// Where there is a collector for traces, spans are gathered for it; what is given back sends them. `instance` names this
/// server to it.
pub fn init(default_level: &str, collector: Option<spans::Settings>, instance: &str) -> Result<Option<Traces>, String> {
    let filter = match variable(LEVEL)? {
        None => EnvFilter::new(default_level),
        // A word that is no level would be taken for the name of a module, and nothing would be logged.
        Some(level) if level.contains('=') || level.parse::<LevelFilter>().is_ok() => {
            EnvFilter::try_new(level).map_err(|error| format!("{LEVEL}: {error}"))?
        }
        Some(_) => return Err(format!("{LEVEL} is a level: error, warn, info, debug, trace or off")),
    };
    let is_json = match variable(FORMAT)?.as_deref() {
        None => !std::io::stderr().is_terminal(),
        Some("json") => true,
        Some("text") => false,
        Some(_) => return Err(format!("{FORMAT} is 'text' or 'json'")),
    };
    let filter = filter.add_directive("h2=off".parse().expect("a directive"));
    // A line says everything itself: spans are for traces.
    let events = filter_fn(|metadata| metadata.is_event()).with_max_level_hint(LevelFilter::TRACE);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match is_json {
        true => lines.json().flatten_event(true).with_filter(filter.and(events)).boxed(),
        false => lines.with_ansi(std::io::stderr().is_terminal()).compact().with_filter(filter.and(events)).boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines);
    // A second call (tests in one process) keeps the first.
    let Some(collector) = collector else {
        let _ = registry.try_init();
        return Ok(None);
    };
    let (gathering, traces) = traces::traces(collector, instance.to_owned());
    if registry.with(gathering.with_filter(traces::ours())).try_init().is_ok() {
        spans::switch_on();
    }
    Ok(Some(traces))
}

fn variable(name: &str) -> Result<Option<String>, String> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not text")),
    }
}
