//! One server for one spool and one embedded catalog: a second one would take the first one's running uploads for leftovers.
//! A catalog in PostgreSQL has many servers, each with a spool of its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::AppError;
use crate::config::{CatalogPlace, Config};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What a server that was told to stop may need besides its drain timeout.
const MARGIN: Duration = Duration::from_secs(10);

/// Held while a server is at work; the kernel takes it back when its process dies, however it dies.
pub struct Exclusive {
    _locks: Vec<File>,
}

impl Exclusive {
    /// Waits for a server that is stopping; refuses beside one that goes on.
    pub async fn take(config: &Config) -> Result<Exclusive, AppError> {
        let deadline = Instant::now() + config.drain_timeout + MARGIN;
        // The spool's directory itself, so that nothing lies in it but segments; a file beside the catalog, since closing a
        // second handle of the catalog would end SQLite's own locks.
        let mut locks = vec![lock(File::open(&config.spool_dir), &config.spool_dir, deadline).await?];
        if let CatalogPlace::Sqlite(catalog) = &config.catalog {
            let mut path = catalog.as_os_str().to_owned();
            path.push(".serve-lock");
            let path = PathBuf::from(path);
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
            locks.push(lock(file, &path, deadline).await?);
        }
        Ok(Exclusive { _locks: locks })
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
