//! When a token was last used: written down once a minute at most, behind the request that used it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;

use crate::catalog::{SharedCatalog, TokenRow};
use crate::model::{Timestamp, TokenId};

const EVERY: SignedDuration = SignedDuration::from_secs(60);
// Limit: about 4 MB; what was written longest ago does not matter.
const KNOWN_MAX: usize = 100_000;

/// What this server has written down of late.
#[derive(Clone, Default)]
pub struct LastUses(Arc<Mutex<HashMap<TokenId, Timestamp>>>);

impl LastUses {
    /// A catalog that cannot write it down now is asked again a minute later; the request goes on.
    pub fn note(&self, catalog: &SharedCatalog, token: &TokenRow, now: Timestamp) {
        let is_recent = |at: Timestamp| now.duration_since(at) < EVERY;
        if token.last_used_at.is_some_and(is_recent) || !self.claim(token.id, now) {
            return;
        }
        let (catalog, id) = (catalog.clone(), token.id);
        tokio::spawn(async move {
            if let Err(error) = catalog.touch_token(id, now).await {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "the last use of a token was not written down");
            }
        });
    }

    /// Of many requests at once one writes.
    fn claim(&self, token: TokenId, now: Timestamp) -> bool {
        let mut known = self.0.lock().expect("nobody panics with it");
        if known.len() >= KNOWN_MAX {
            known.retain(|_, at| now.duration_since(*at) < EVERY);
        }
        if known.get(&token).is_some_and(|at| now.duration_since(*at) < EVERY) {
            return false;
        }
        known.insert(token, now);
        true
    }
}
