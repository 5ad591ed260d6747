//! The audit trail: who did what to which recording or right, in chains that cannot be changed unseen.
//!
//! entry -> the tenant's chain in the catalog, durable -> the answer it is about; at each expire run a signed checkpoint
//!
//! # Promise
//! [`Trail::append`] answers `Ok` after the entry is durable. What an answer reveals leaves behind it, or not at all: a trail
//! that cannot be written is a refusal ([`Problem::Unavailable`]), never silence.
//! # Limits
//! Who can write to the database and holds the master key can write another history. Who holds only the database cannot sign
//! it: an entry that was altered, moved, left out or added is found, and so is a tail that was cut off below the last
//! checkpoint. Above it a cut is not seen, but by whoever has an export, a checkpoint or a later entry elsewhere; `expire`
//! logs each checkpoint, so that the log is one such place.
//!
//! | file | what it holds |
//! |---|---|
//! | `audit/checkpoints.rs` | signed statements about heads; old entries are cut with one |
//! | `audit/chain.rs` | what is wrong with entries, and where |
//! | `audit/line.rs` | entries as lines of JSON |
//! | `audit/sessions.rs` | what a listener was served, however many requests it took |
//! | `audit/strangers.rs` | refusals that are told as counts |
//! | `audit/verify.rs` | whole trails, in the catalog and in exported files |

mod chain;
mod checkpoints;
mod line;
mod sessions;
mod strangers;
mod verify;

use std::sync::Arc;

pub use checkpoints::{Checkpoint, Sealed, sealed};
pub use line::{checkpoint_line, line};
pub use sessions::{Listening, Playing, SessionLimits, Sessions};
pub use strangers::{Refused, Strangers};
pub use verify::{Exported, TrailReport, exported, verify_catalog, verify_lines};

use crate::catalog::{CatalogError, SharedCatalog};
use crate::model::trail::{Action, Entry, Who};
use crate::model::{Clock, Error, Problem, Result, TenantNumber};

/// Where entries go.
#[derive(Clone)]
pub struct Trail {
    pub catalog: SharedCatalog,
    pub clock: Arc<dyn Clock>,
}

impl Trail {
    /// An entry of this moment, to be completed and appended.
    pub fn entry(&self, action: Action, who: Who) -> Entry {
        Entry::new(self.clock.now(), action, who)
    }

    /// Makes it durable, and returns its number.
    pub async fn append(&self, tenant: TenantNumber, entry: Entry) -> Result<u64> {
        let numbers = self.append_all(vec![(tenant, entry)]).await?;
        Ok(numbers.first().copied().expect("one number for each entry"))
    }

    pub async fn append_all(&self, entries: Vec<(TenantNumber, Entry)>) -> Result<Vec<u64>> {
        self.catalog.append_trail(entries).await.map_err(not_appended)
    }
}

/// Nothing is revealed, and nothing is done, without its entry.
fn not_appended(error: CatalogError) -> Error {
    Error::new(Problem::Unavailable, "the audit trail cannot be written, and nothing happens without it; try again")
        .because(error)
}

#[cfg(test)]
mod tests;
