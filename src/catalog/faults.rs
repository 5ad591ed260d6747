//! What the catalog did not do since this process began, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::CatalogError;

static FULL: AtomicU64 = AtomicU64::new(0);
static UNAVAILABLE: AtomicU64 = AtomicU64::new(0);
static DAMAGED: AtomicU64 = AtomicU64::new(0);

impl CatalogError {
    /// Counts a failure of the backend; where the backend says what failed, and nowhere else.
    pub(super) fn counted(self) -> CatalogError {
        match &self {
            CatalogError::Full(_) => FULL.fetch_add(1, Relaxed),
            CatalogError::Unavailable(_) => UNAVAILABLE.fetch_add(1, Relaxed),
            CatalogError::Damaged(_) => DAMAGED.fetch_add(1, Relaxed),
            // What a caller asked for and may not have is no failure.
            _ => 0,
        };
        self
    }
}

/// By kind, as a label of metrics.
pub fn faults() -> [(&'static str, u64); 3] {
    [("full", FULL.load(Relaxed)), ("unavailable", UNAVAILABLE.load(Relaxed)), ("damaged", DAMAGED.load(Relaxed))]
}
