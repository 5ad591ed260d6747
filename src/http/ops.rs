//! For those who run it: health, readiness, metrics.

mod metrics;
mod readiness;

pub use metrics::metrics;
pub use readiness::{Probes, Readiness, readyz};

/// `GET /healthz`: the process answers.
pub async fn healthz() -> &'static str {
    "ok\n"
}
