//! How a server stops, as its requests see it.
//!
//! | phase | an upload that would begin or go on | an upload that runs | everything else |
//! |---|---|---|---|
//! | serving | is taken | goes on | is answered |
//! | draining | is refused: 503 `draining` | goes on | is answered, and its connection closed |
//! | over | is refused | ends; what came of it is kept | is cut off soon |

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;

use crate::model::{Error, Problem, Result};

/// When the drain begins: a request on a connection that was made before may be on its way for this long.
pub const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The last answers are written and read within this, after the last upload.
pub const PART_TIME_MAX: Duration = Duration::from_secs(1);

/// When a connection was accepted. Its task may run for the first time much later.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Came {
    BeforeDrain,
    InDrain,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    #[default]
    Serving,
    Draining,
    Over,
}

#[derive(Default)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    /// The last phase once more, for bodies: each asks with every frame.
    is_over: AtomicBool,
}

impl Drain {
    pub fn begin(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    pub fn end(&self) {
        self.is_over.store(true, Relaxed);
        // Connections wake up by it, and poll their bodies, which look at the flag.
        self.phase.send_replace(Phase::Over);
    }

    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// Resolves when this phase, or a later one, has come.
    pub fn reached(&self, phase: Phase) -> impl Future<Output = ()> + Send + use<> {
        let mut watched = self.phase.subscribe();
        async move {
            let reached = watched.wait_for(|present| *present >= phase).await;
            reached.expect("a drain outlives those who wait for it");
        }
    }

    /// Asked before the body of an upload is polled.
    pub fn admit(&self) -> Result<()> {
        if self.is_draining() {
            let detail = "the server is stopping and takes no new upload; send it again after 'Retry-After'";
            return Err(Error::new(Problem::Draining, detail));
        }
        Ok(())
    }
}
