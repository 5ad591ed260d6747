//! Settings of the audit trail: `audit.*`.

use std::time::Duration;

use super::{ConfigError, duration, raw};
use crate::audit::SessionLimits;
use crate::model::trail::TrailTerm;

// Limit: who seeks in a player does it within minutes; what he listens to without asking anew is one request that goes on.
const SESSION_IDLE: Duration = Duration::from_secs(300);
// Limit: what a crash may leave untold of a session, whose beginning is on record.
const SESSION_WRITE: Duration = Duration::from_secs(900);

/// Settings that were checked.
#[derive(Clone, Copy, Debug)]
pub struct AuditConfig {
    pub term: TrailTerm,
    pub sessions: SessionLimits,
}

impl AuditConfig {
    pub(super) fn check(raw: &raw::Audit) -> Result<AuditConfig, ConfigError> {
        let term = raw.term.as_deref().map_or(Ok(TrailTerm::DEFAULT), str::parse);
        let idle = duration("audit.session_idle", raw.session_idle.as_deref(), SESSION_IDLE)?;
        let write_every = duration("audit.session_write", raw.session_write.as_deref(), SESSION_WRITE)?;
        Ok(AuditConfig {
            term: term.map_err(|advice| ConfigError(format!("audit.term: {advice}")))?,
            sessions: SessionLimits { idle, write_every },
        })
    }
}
