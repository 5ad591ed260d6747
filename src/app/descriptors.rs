//! Open files: the limit is raised as far as the system allows, and whether it is enough is told.
//!
//! A call that goes on takes one descriptor, its connection; its segment is opened for each chunk and closed again. A listener
//! takes two, his connection and the object.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

// Limit: what is open besides connections. Process, catalog and locks 32; logs and key stores 16; segments that are written or
// synced 96; objects on their way to the store 16.
pub const BESIDE_CONNECTIONS: u64 = 160;

/// How many files this process may have open; `None`: as many as the system can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors(Option<u64>);

impl Descriptors {
    /// Raises the soft limit to the hard one.
    pub fn raise() -> Descriptors {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current == maximum {
            return Descriptors(current);
        }
        match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => Descriptors(maximum),
            Err(error) => {
                tracing::warn!(%error, "the limit of open files cannot be raised to the hard limit");
                Descriptors(current)
            }
        }
    }

    /// How many may be open when a connection is taken; the rest is for what the work on it opens.
    pub fn for_connections(self) -> u64 {
        self.0.map_or(u64::MAX, |limit| limit.saturating_sub(BESIDE_CONNECTIONS).max(limit / 4))
    }

    /// What to do, where so many uploads do not fit.
    pub fn warning(self, uploads_max: usize) -> Option<String> {
        let (limit, uploads_max) = (self.0?, uploads_max as u64);
        let needed = uploads_max.saturating_add(BESIDE_CONNECTIONS);
        (limit < needed).then(|| {
            let fit = self.for_connections();
            format!(
                "this process may have {limit} files open: about {fit} uploads fit at once, and upload.count_max is \
                 {uploads_max}; more clients wait to be connected. Raise the hard limit to {needed} ('ulimit -Hn', or \
                 LimitNOFILE= of the systemd unit), or lower upload.count_max"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_too_low_is_told_with_what_fits_and_what_is_needed() {
        assert_eq!(Descriptors(None).warning(10_000), None);
        assert_eq!(Descriptors(Some(10_160)).warning(10_000), None);
        let warning = Descriptors(Some(1_024)).warning(10_000).expect("it does not suffice");
        assert!(warning.contains("864 uploads") && warning.contains("10160"), "{warning}");
    }

    #[test]
    fn a_limit_below_what_else_is_open_leaves_a_quarter_for_connections() {
        assert_eq!(Descriptors(None).for_connections(), u64::MAX);
        assert_eq!(Descriptors(Some(20_000)).for_connections(), 19_840);
        assert_eq!(Descriptors(Some(100)).for_connections(), 25);
    }
}
