//! What the store was asked for, how long it took and how it failed: counts since the start, for metrics, and spans.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tracing::Instrument;

use super::{Result, StoreError};
use crate::spans;
use crate::timing::Timing;

/// What is asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Put,
    Get,
    /// Of many objects at once.
    Delete,
}

impl Operation {
    pub const ALL: [Operation; 3] = [Operation::Put, Operation::Get, Operation::Delete];

    pub fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Delete => "delete",
        }
    }

    fn span(self) -> &'static str {
        match self {
            Operation::Put => "store put",
            Operation::Get => "store get",
            Operation::Delete => "store delete",
        }
    }
}

/// How a request fails, as a label of metrics.
pub const FAILURES: [&str; 5] = ["missing", "wrong_length", "full", "unavailable", "misconfigured"];

#[derive(Debug, Default)]
pub struct StoreStats {
    durations: [Timing; Operation::ALL.len()],
    /// By operation, then as in [`FAILURES`].
    failures: [[AtomicU64; FAILURES.len()]; Operation::ALL.len()],
}

impl StoreStats {
    /// Requests that failed count among the durations too: a store that stalls is slow before it is down.
    pub(super) async fn watch<T>(&self, operation: Operation, asked: impl Future<Output = Result<T>>) -> Result<T> {
        let (begun, span) = (Instant::now(), spans::request_to(operation.span()));
        let result = asked.instrument(span.clone()).await;
        self.durations[operation as usize].note(begun.elapsed());
        if let Err(error) = &result {
            let kind = failure(error);
            self.failures[operation as usize][kind].fetch_add(1, Relaxed);
            spans::failed(&span, FAILURES[kind]);
        }
        result
    }

    pub fn durations(&self) -> impl Iterator<Item = (Operation, &Timing)> {
        Operation::ALL.into_iter().zip(&self.durations)
    }

    /// Every operation with every kind of failure, also those that never were.
    pub fn failures(&self) -> impl Iterator<Item = (Operation, &'static str, u64)> {
        Operation::ALL.into_iter().zip(&self.failures).flat_map(|(operation, counts)| {
            FAILURES.into_iter().zip(counts).map(move |(kind, count)| (operation, kind, count.load(Relaxed)))
        })
    }
}

fn failure(error: &StoreError) -> usize {
    match error {
        StoreError::Missing => 0,
        StoreError::WrongLength(_) => 1,
        StoreError::Full(_) => 2,
        StoreError::Unavailable(_) => 3,
        StoreError::Misconfigured(_) => 4,
    }
}
