//! One server for one spool, and one for one name among those that share a catalog: a second one would take the first one's
//! running uploads for leftovers. Over an embedded catalog every server has the same name unless it is given another, so that
//! there is one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::{AppError, Vault};
use crate::catalog::{CatalogError, Lease};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What a server that was told to stop may need besides its drain timeout.
const MARGIN: Duration = Duration::from_secs(10);

/// Held while a server is at work; the kernel, or the catalog, takes it back when its process dies, however it dies.
pub struct Exclusive {
    _spool: File,
    _name: Lease,
}

impl Exclusive {
    /// Waits for a server that is stopping; refuses beside one that goes on.
    pub async fn take(vault: &Vault) -> Result<Exclusive, AppError> {
        let config = &vault.config;
        let deadline = Instant::now() + config.drain_timeout + MARGIN;
        // The spool's directory itself, so that nothing lies in it but segments.
        let spool = lock(File::open(&config.spool_dir), &config.spool_dir, deadline).await?;
        Ok(Exclusive { _spool: spool, _name: enter(vault, deadline).await? })
    }
}

/// Takes the server's name among those that share the catalog.
async fn enter(vault: &Vault, deadline: Instant) -> Result<Lease, AppError> {
    let replica = &vault.config.replica;
    loop {
        match vault.catalog.enter_replica(&replica.name, replica.url.as_deref()).await {
            Ok(lease) => return Ok(lease),
            Err(CatalogError::WrongState) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            Err(CatalogError::WrongState) => {
                return Err(AppError::Refused(format!(
                    "another server has the name '{}': stop it, or give this one a name of its own (replica.name)",
                    replica.name
                )));
            }
            Err(error) => return Err(error.into()),
        }
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
