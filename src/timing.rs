//! How long work takes, for whoever watches: histograms that verbs fill and `/metrics` shows.
//!
//! # Limits
//! Sixteen buckets, the same for all, from half a millisecond to a minute: fine enough for a p99 to be read off, and few
//! enough for a series of each.

use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds in seconds.
const BOUNDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Durations of one kind of work. Clones count together.
#[derive(Clone, Debug)]
pub struct Timing(Histogram);

impl Timing {
    pub fn note(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }

    pub fn histogram(&self) -> &Histogram {
        &self.0
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing(Histogram::new(BOUNDS))
    }
}
