//! Wiring: the only place that picks backends. From checked settings to verbs that are ready to run.

mod backends;
mod certificates;
mod descriptors;
mod exclusive;
mod follow;
mod latest;

use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use thiserror::Error;

pub use certificates::Certificates;
pub use descriptors::Descriptors;
pub use exclusive::Exclusive;
pub use follow::Follower;
pub use latest::Latest;

use crate::audit::Trail;
use crate::bucket::{Bucket, S3Settings};
use crate::catalog::{CatalogError, SharedCatalog};
use crate::config::{Config, ConfigError, KeyPlace, KeySource, ReplicaConfig, write_key};
use crate::crypto::keys::MasterKey;
use crate::crypto::random::random;
use crate::expire::{Expire, ExpireStats, NamedClock};
use crate::http::peers::Peers;
use crate::ingest::Ingest;
use crate::keyring::{BucketKeyStore, FileKeyStore, KeyStore, Keyring, KeyringError, Mirrors, Present};
use crate::model::clock::SystemClock;
use crate::model::trail::{Action, Entry, Who};
use crate::model::{Clock, Error, TenantNumber};
use crate::playback::Playback;
use crate::reading::Reader;
use crate::reading::live::Live;
use crate::spool::{Spool, SpoolError};
use crate::store::{Store, StoreError};

/// Why a vault cannot be opened; each says what to do.
#[derive(Debug, Error)]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0} is not initialised: run 'callvault init' (or 'callvault quickstart' to look around)")]
    NotInitialised(String),
    #[error("the catalog cannot be opened")]
    Catalog(#[from] CatalogError),
    #[error("the keys cannot be opened")]
    Keyring(#[from] KeyringError),
    #[error("the spool cannot be opened")]
    Spool(#[from] SpoolError),
    #[error("the object store cannot be opened")]
    Store(#[from] StoreError),
    #[error("{what} cannot be made")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{0}")]
    Verb(#[from] Error),
    #[error("{0}")]
    Refused(String),
}

/// A vault with everything in its place.
pub struct Vault {
    pub config: Config,
    pub catalog: SharedCatalog,
    pub keyring: Arc<Keyring>,
    pub ingest: Ingest,
    pub playback: Playback,
    pub expire: Expire,
    /// Of the runs of this process.
    pub expire_stats: Arc<ExpireStats>,
    pub reader: Reader,
    pub clock: Arc<dyn Clock>,
    pub trail: Trail,
    /// By which reads are refused.
    pub latest: Arc<Latest>,
}

/// What `init` found or made.
#[derive(Debug, serde::Serialize)]
pub struct Initialised {
    pub data_dir: String,
    pub master_key_made: bool,
    pub ring_made: bool,
    pub generation: u64,
    pub warnings: Vec<String>,
}

/// Makes everything that the embedded shape needs; what is there is left as it is.
pub async fn init(config: &Config) -> Result<Initialised, AppError> {
    let clock = SystemClock;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir);
    made.map_err(|source| AppError::Io { what: config.data_dir.display().to_string(), source })?;
    let catalog = backends::make_catalog(config).await?;
    let mark = catalog.ring_mark().await?;
    let master_key_made = make_master_key(config, mark.generation > 0)?;
    Store::open(&config.store, &config.s3)?.check().await?;
    Spool::open(&config.spool_dir, config.spool)?;
    let keyring = open_keyring(config, config.read_master_key()?, FileKeyStore::create)?;
    keyring.vet().await.map_err(unfit)?;
    let (present, ring_made) = match keyring.find(mark.generation).await {
        // Tenants would get numbers again whose keys may be destroyed.
        Ok(present) if mark.generation == 0 && present.generation > 1 => {
            return Err(AppError::Refused(format!(
                "the key store holds ring.{} of a vault whose catalog is missing: put the catalog back from its backup, or \
                 give an empty key_store and generation_store for a new vault",
                present.generation
            )));
        }
        Ok(present) => (present, false),
        Err(KeyringError::NoRing { .. }) if mark.generation == 0 => (first_ring(&keyring, clock.now()).await?, true),
        Err(error) => return Err(error.into()),
    };
    keyring.fill(&present).await?;
    if mark.generation == 0 {
        catalog.set_first_generation(present.generation, present.floor).await?;
    }
    Ok(Initialised {
        data_dir: config.data_dir.display().to_string(),
        master_key_made,
        ring_made,
        generation: present.generation,
        warnings: keyring.warnings(),
    })
}

impl Vault {
    /// Opens what [`init`] made, and loads the ring.
    pub async fn open(config: Config) -> Result<Vault, AppError> {
        Vault::open_at(config, Arc::new(SystemClock)).await
    }

    /// What a server makes sure of before it serves: that objects can be stored, and that keys lie where they can be destroyed.
    /// A store that is merely down is said, and waited for behind; nothing is written to a key store.
    pub async fn check(&self) -> Result<(), AppError> {
        self.keyring.vet_for_reading().await.map_err(unfit)?;
        match self.reader.store.check().await {
            Err(error @ StoreError::Misconfigured(_)) => Err(error.into()),
            Err(error) => {
                self.ingest.handover.is_down_at_start(&error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// [`Vault::open`] at the time of a clock.
    pub async fn open_at(config: Config, clock: Arc<dyn Clock>) -> Result<Vault, AppError> {
        let catalog = backends::open_catalog(&config).await?;
        let mark = catalog.ring_mark().await?;
        if mark.generation == 0 {
            return Err(backends::not_initialised(&config));
        }
        let master = config.read_master_key()?;
        let keyring = open_keyring(&config, master, |dir| Ok(FileKeyStore::open(dir)))?;
        keyring.load(mark.generation).await?;
        let keyring = Arc::new(keyring);
        let store = Store::open(&config.store, &config.s3)?;
        let spool = Spool::open(&config.spool_dir, config.spool)?;
        let reader = Reader { keyring: keyring.clone(), store: store.clone(), spool };
        let live = Live::default();
        let latest = Arc::new(Latest::of(clock.clone()));
        let trail = Trail { catalog: catalog.clone(), clock: clock.clone() };
        let system = NamedClock { name: "system", clock: clock.clone() };
        Ok(Vault {
            ingest: Ingest {
                replica: config.replica.name.clone(),
                catalog: catalog.clone(),
                trail: trail.clone(),
                reader: reader.clone(),
                clock: clock.clone(),
                limits: config.upload,
                live: live.clone(),
                leftovers: Default::default(),
                handover: Default::default(),
                open: Default::default(),
                stats: Arc::default(),
            },
            playback: Playback {
                replica: config.replica.name.clone(),
                catalog: catalog.clone(),
                reader: reader.clone(),
                clock: latest.clone(),
                live,
                stats: Arc::default(),
            },
            expire: Expire {
                catalog: catalog.clone(),
                keyring: keyring.clone(),
                store,
                clocks: vec![system],
                audit_term: config.audit.term,
            },
            trail,
            expire_stats: Arc::default(),
            config,
            catalog,
            keyring,
            reader,
            clock,
            latest,
        })
    }
}

impl Vault {
    /// What whoever runs a command does, in a trail before it is done.
    pub async fn note(
        &self,
        tenant: TenantNumber,
        action: Action,
        told: impl FnOnce(Entry) -> Entry,
    ) -> Result<(), Error> {
        let who = Who::operator(rustix::process::getuid().as_raw());
        self.trail.append(tenant, told(self.trail.entry(action, who))).await.map(|_| ())
    }

    /// This server among those that share the catalog, for [`crate::http::Face`].
    pub fn peers(&self) -> Peers {
        let ReplicaConfig { name, url, playback } = &self.config.replica;
        let (name, key, is_one_of_many) = (name.clone(), self.keyring.peer_key(), url.is_some());
        Peers { name, key, playback: *playback, is_one_of_many }
    }
}

/// Refuses to make a new key where rings were made under another.
fn make_master_key(config: &Config, is_in_use: bool) -> Result<bool, AppError> {
    let KeySource::File(path) = &config.master_key else { return Ok(false) };
    if path.exists() {
        return Ok(false);
    }
    if is_in_use {
        return Err(AppError::Refused(format!(
            "the master key {} is missing, and this vault was made with it: put it back; a new one would open nothing",
            path.display()
        )));
    }
    write_key(path, &MasterKey::take(&mut random()))?;
    Ok(true)
}

fn open_keyring(
    config: &Config,
    master: MasterKey,
    open: impl Fn(&std::path::Path) -> std::io::Result<FileKeyStore>,
) -> Result<Keyring, AppError> {
    let store = |name: &str, place: &KeyPlace| match place {
        KeyPlace::Dir(dir) => match open(dir) {
            Ok(store) => Ok(Arc::new(store) as Arc<dyn KeyStore>),
            Err(source) => Err(AppError::Io { what: dir.display().to_string(), source }),
        },
        KeyPlace::Bucket(place) => {
            let misconfigured = |reason: String| ConfigError(format!("{name} s3://{place}: {reason}"));
            let bucket = Bucket::open(place, &key_requests(&config.s3)).map_err(misconfigured)?;
            Ok(Arc::new(BucketKeyStore::new(bucket)) as Arc<dyn KeyStore>)
        }
    };
    let stores = |name: &str, places: &[KeyPlace]| {
        places.iter().map(|place| store(name, place)).collect::<Result<Vec<_>, AppError>>()
    };
    let rings = stores("key_store", &config.key_store)?;
    let generations = stores("generation_store", &config.generation_store)?;
    Ok(Keyring::new(master, Mirrors::rings(rings), Mirrors::generations(generations)))
}

/// A key's object is small: a store that takes longer for it is as good as silent, and servers follow within 15 s.
fn key_requests(s3: &S3Settings) -> S3Settings {
    S3Settings { request_timeout: s3.request_timeout.min(KEY_REQUEST_TIMEOUT_MAX), ..s3.clone() }
}

// Limit: a ring with 100,000 punctures is 4 MB.
const KEY_REQUEST_TIMEOUT_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// A place that cannot keep keys is a matter of settings.
fn unfit(error: KeyringError) -> AppError {
    match error {
        KeyringError::Unfit(reason) => AppError::Refused(reason),
        error => error.into(),
    }
}

async fn first_ring(keyring: &Keyring, now: jiff::Timestamp) -> Result<Present, AppError> {
    keyring.create_first(now).await.map_err(|error| match error {
        KeyringError::RingExists(generation) => AppError::Refused(format!(
            "the key store holds ring.{generation}, which does not open with this master key and these generation secrets: \
             give the right ones, or an empty key_store for a new vault"
        )),
        error => error.into(),
    })
}
