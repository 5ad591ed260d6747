//! A permission while it is used: an answer that goes on ends with whatever made it right.
//!
//! # Promise
//! A link's end, a token's and a clearance's cut a running answer at their second. What is withdrawn meanwhile (a token or a link
//! that was revoked, a person who was disabled) cuts it within [`LOOKED_AT_EVERY`]. A catalog that does not answer withdraws
//! nothing: it is asked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::is_alive;
use crate::catalog::{CatalogError, SharedCatalog, TokenKey};
use crate::model::error::chain;
use crate::model::{Clock, LinkId, PersonId, Scope, Timestamp, TokenId};
use crate::playback::Cut;

pub const LOOKED_AT_EVERY: Duration = Duration::from_secs(10);

/// By what somebody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grounds {
    pub token: Option<TokenId>,
    /// Who signed on, or whose the token is.
    pub person: Option<PersonId>,
    pub link: Option<LinkId>,
    /// The first of all ends that are known beforehand.
    pub until: Option<Timestamp>,
}

/// What became of those by whom somebody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Still {
    Allowed,
    /// The person's clearance is over.
    NotCleared,
    Withdrawn,
}

/// Whether a token, or a person without one, still counts; `scope`: for what.
pub async fn still(
    catalog: &SharedCatalog,
    (token, person): (Option<TokenId>, Option<PersonId>),
    scope: Scope,
    now: Timestamp,
) -> Result<Still, CatalogError> {
    let person = match (token, person) {
        (Some(token), _) => {
            let Some(bearer) = catalog.token(TokenKey::Id(token)).await? else { return Ok(Still::Withdrawn) };
            let counts = is_alive(&bearer.token, bearer.tenant.as_ref(), bearer.person.as_ref(), now);
            if !counts || !bearer.token.scopes.has(scope) {
                return Ok(Still::Withdrawn);
            }
            bearer.person
        }
        (None, Some(person)) => match catalog.person(person).await? {
            Some(person) if person.disabled_at.is_none() => Some(person),
            _ => return Ok(Still::Withdrawn),
        },
        (None, None) => return Ok(Still::Withdrawn),
    };
    let is_cleared = person.is_none_or(|person| person.clearance.standing(now).is_cleared());
    Ok(if is_cleared { Still::Allowed } else { Still::NotCleared })
}

/// Grounds that are looked at while bytes leave on them.
#[derive(Clone)]
pub struct Licence(Arc<Looked>);

struct Looked {
    catalog: SharedCatalog,
    clock: Arc<dyn Clock>,
    grounds: Grounds,
    scope: Scope,
    since: Instant,
    /// Seconds after `since`.
    last_s: AtomicU64,
}

impl Licence {
    pub fn new(catalog: SharedCatalog, clock: Arc<dyn Clock>, grounds: Grounds, scope: Scope) -> Licence {
        let looked = Looked { catalog, clock, grounds, scope, since: Instant::now(), last_s: AtomicU64::new(0) };
        Licence(Arc::new(looked))
    }

    /// Lets a stream's pieces pass as long as it holds.
    pub fn hold(
        self,
        stream: impl Stream<Item = Result<Bytes, Cut>> + Send,
    ) -> impl Stream<Item = Result<Bytes, Cut>> + Send {
        stream.then(move |piece| {
            let looked = self.0.clone();
            async move { if looked.holds().await { piece } else { Err(Cut::Withdrawn) } }
        })
    }
}

impl Looked {
    async fn holds(&self) -> bool {
        let now = self.clock.now();
        if self.grounds.until.is_some_and(|until| now >= until) {
            return false;
        }
        let (at_s, last_s) = (self.since.elapsed().as_secs(), self.last_s.load(Relaxed));
        if at_s < last_s + LOOKED_AT_EVERY.as_secs() {
            return true;
        }
        self.last_s.store(at_s, Relaxed);
        self.look(now).await.unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "whether a listener may go on cannot be asked; he goes on");
            true
        })
    }

    async fn look(&self, now: Timestamp) -> Result<bool, CatalogError> {
        let Grounds { token, person, link, .. } = self.grounds;
        if let Some(link) = link
            && self.catalog.link(link).await?.is_none_or(|link| link.revoked_at.is_some())
        {
            return Ok(false);
        }
        Ok(still(&self.catalog, (token, person), self.scope, now).await? == Still::Allowed)
    }
}
