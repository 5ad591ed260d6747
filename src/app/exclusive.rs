//! One server for one spool and one embedded catalog: a second one would take the first one's running uploads for leftovers.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::AppError;
use crate::config::Config;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What a server that was told to stop may need besides its drain timeout.
const MARGIN: Duration = Duration::from_secs(10);

/// Held while a server is at work; the kernel takes it back when its process dies, however it dies.
pub struct Exclusive {
    _locks: [File; 2],
}

impl Exclusive {
    /// Waits for a server that is stopping; refuses beside one that goes on.
    pub async fn take(config: &Config) -> Result<Exclusive, AppError> {
        let mut catalog = config.catalog.as_os_str().to_owned();
        catalog.push(".serve-lock");
        let deadline = Instant::now() + config.drain_timeout + MARGIN;
        let catalog = PathBuf::from(catalog);
        // The spool's directory itself, so that nothing lies in it but segments; a file beside the catalog, since closing a
        // second handle of the catalog would end SQLite's own locks.
        let spool = lock(File::open(&config.spool_dir), &config.spool_dir, deadline).await?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&catalog);
        Ok(Exclusive { _locks: [spool, lock(file, &catalog, deadline).await?] })
    }
}

async fn lock(file: io::Result<File>, path: &Path, deadline: Instant) -> Result<File, AppError> {
    let failed = |source: io::Error| AppError::Io { what: path.display().to_string(), source };
    let file = file.map_err(failed)?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let place = path.display();
                let message = format!("another server holds {place}: stop it, or give this one a vault of its own");
                return Err(AppError::Refused(message));
            }
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}
