//! How the runs of this process went, for metrics. A run of a job of its own is seen by the ring that it leaves.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{ExpireError, Report};
use crate::timing::Timing;

#[derive(Debug, Default)]
pub struct ExpireStats {
    done: AtomicU64,
    failed: AtomicU64,
    pending: AtomicU64,
    guarded: AtomicU64,
    destruction: Timing,
    rows: Timing,
    sweep: Timing,
}

impl ExpireStats {
    pub fn note(&self, run: &Result<Report, ExpireError>) {
        let count = match run {
            Ok(report) => {
                self.destruction.note(Duration::from_millis(report.destruction_ms));
                self.rows.note(Duration::from_millis(report.rows_ms));
                self.sweep.note(Duration::from_millis(report.sweep_ms));
                &self.done
            }
            Err(ExpireError::Failed(_) | ExpireError::Misconfigured(_) | ExpireError::Overtaken(_)) => &self.failed,
            Err(ExpireError::Pending(_)) => &self.pending,
            Err(ExpireError::Guarded(_)) => &self.guarded,
        };
        count.fetch_add(1, Relaxed);
    }

    /// By result.
    pub fn runs(&self) -> [(&'static str, u64); 4] {
        let counts =
            [("done", &self.done), ("failed", &self.failed), ("pending", &self.pending), ("guarded", &self.guarded)];
        counts.map(|(result, count)| (result, count.load(Relaxed)))
    }

    /// Of runs that were done: steps 5 to 8, 9 and 10.
    pub fn steps(&self) -> [(&'static str, &Timing); 3] {
        [("destruction", &self.destruction), ("rows", &self.rows), ("sweep", &self.sweep)]
    }
}
