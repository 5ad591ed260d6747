//! The keyring: the ring in memory, its files on every mirror, and the only code that destroys them.
//!
//! # Promise
//! [`Keyring::succeed`] leaves the next generation durable and read back on every mirror, or an error and the present one
//! untouched. [`Keyring::retire`] is the point of no return: after `Ok`, no mirror holds anything that opens an older
//! generation.
//! # Secrecy
//! Keys go out of here only wrapped; data keys come out of [`Keyring::unwrap`] one at a time and die with their session.
//! # Limits
//! What a file system or a snapshot kept of overwritten blocks is out of reach; [`filesystem`] warns of those that keep.

mod bucket;
mod files;
pub mod filesystem;
mod mirrors;
mod succession;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use thiserror::Error;
use zeroize::Zeroizing;

pub use bucket::BucketKeyStore;
pub use files::FileKeyStore;
pub use mirrors::{MirrorState, Mirrors};
pub use succession::{Destroyed, Present, Successor};

use crate::crypto::keys::{DataKey, IndexField, IndexKey, Kek, KekScope, MasterKey, NameKey, PeerKey};
use crate::crypto::receipt::Signer;
use crate::crypto::ring::{Level, Ring, RingHead};
use crate::crypto::wrap::{self, Binding, WRAP_LEN};
use crate::crypto::{CryptoError, random::random};
use crate::model::epoch::EPOCHS_PER_DAY;
use crate::model::{Day, Epoch, Tag, TenantNumber, TimePath, Timestamp};

/// A place that keeps small files and can truly destroy them. One store is one mirror.
///
/// # Contract
/// `create` refuses a name that exists, and is durable when it returns. `destroy` overwrites the bytes, makes that durable,
/// removes the name, and makes that durable; destroying what is not there is `Ok`.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    async fn names(&self) -> Result<Vec<String>, KeyStoreError>;
    async fn create(&self, name: &str, bytes: &[u8]) -> Result<(), KeyStoreError>;
    async fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError>;
    async fn destroy(&self, name: &str) -> Result<(), KeyStoreError>;
    /// For `status` and errors: the kind of place and where it is.
    fn describe(&self) -> String;
    /// Why destruction may not be physical here; said at every start.
    fn warning(&self) -> Option<String>;
    /// Whether the place keeps this contract, tried by writing and destroying: for whoever is about to write.
    async fn vet(&self) -> Result<(), KeyringError> {
        Ok(())
    }
    /// The part of [`KeyStore::vet`] that writes nothing.
    async fn vet_for_reading(&self) -> Result<(), KeyringError> {
        Ok(())
    }
}

#[derive(Debug, Error)]
#[error("the key store {place} cannot {verb} {name}")]
pub struct KeyStoreError {
    pub place: String,
    pub verb: &'static str,
    pub name: String,
    #[source]
    pub source: std::io::Error,
}

#[derive(Debug, Error)]
pub enum KeyringError {
    /// The key was destroyed: the end of the term, an erasure, an offboarded tenant.
    #[error("the key was destroyed")]
    Gone,
    /// A row is not what was written.
    #[error("a sealed key does not open: {0}")]
    Integrity(CryptoError),
    #[error("no ring opens with this master key and is at or above generation {watermark}; {found}")]
    NoRing { watermark: u64, found: String },
    #[error("there is a ring already, of generation {0}")]
    RingExists(u64),
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    #[error("generation {generation} was not read back from {place} as it was written")]
    NotReadBack { generation: u64, place: String },
    #[error(
        "the mirror {0} is empty: is its disk mounted? 'callvault init' fills a new mirror; take one that is lost out of the \
         settings"
    )]
    EmptyMirror(String),
    /// A place that does not destroy, or lets two write.
    #[error("{0}")]
    Unfit(String),
    /// Another run, which knew nothing of this one, has made or is making this generation: look again.
    #[error("another run has made generation {0}")]
    Overtaken(u64),
    /// What stands in the way of the next generation, on the mirror that decides.
    #[error(
        "{name} on {place} is there and does not open: is the master key the right one, and are all mirrors of one vault?"
    )]
    InTheWay { name: String, place: String },
    #[error("the canary of generation {0} failed: a live path changed or a dead one lives")]
    Canary(u64),
}

/// Days that one key of upload names spans: a look-up then needs at most 13 keys for the longest term, and a name's token
/// dies at most this long after its recording.
const NAME_WINDOW_DAYS: u32 = 32;
/// Days in which a recording that begins today can end: 12 months, and a day for rounding.
const TERM_DAYS_MAX: u32 = 367;
// Limit: name keys kept in memory, 13 for each of this many tenants.
const NAME_KEYS_MAX: usize = 13 * 512;

/// The ring in memory.
pub struct Keyring {
    master: MasterKey,
    level: Level,
    rings: Mirrors,
    generations: Mirrors,
    loaded: RwLock<Option<Loaded>>,
    name_keys: Mutex<HashMap<(TenantNumber, u32), NameKey>>,
}

struct Loaded {
    head: RingHead,
    ring: Ring,
    /// The floor in the file; the ring's own may be ahead of it.
    floor_on_disk: Epoch,
}

/// What of the ring may be shown.
#[derive(Clone, Debug)]
pub struct RingView {
    pub level: u8,
    pub generation: u64,
    pub floor: Epoch,
    /// When the run that made this generation wrote it.
    pub created_at: Timestamp,
    pub cover_count: usize,
}

impl Keyring {
    /// Nothing is read yet. Without a generation store the level is 1: the master key alone.
    pub fn new(master: MasterKey, rings: Mirrors, generations: Mirrors) -> Keyring {
        let level = if generations.is_empty() { Level::MasterOnly } else { Level::GenerationFile };
        Keyring { master, level, rings, generations, loaded: RwLock::new(None), name_keys: Mutex::default() }
    }

    pub fn level(&self) -> Level {
        self.level
    }

    /// Each mirror and what it holds, and how far it is behind the ring in memory.
    pub async fn mirrors(&self) -> Vec<MirrorState> {
        let present = self.view().map_or(0, |view| view.generation);
        let (rings, generations) = futures::join!(self.rings.states(present), self.generations.states(present));
        rings.into_iter().chain(generations).collect()
    }

    pub fn warnings(&self) -> Vec<String> {
        let of_places = self.rings.warnings().chain(self.generations.warnings());
        of_places.chain(self.rings.shared_with(&self.generations)).collect()
    }

    /// Before anything is written: every mirror that answers creates a name once and destroys for good.
    pub async fn vet(&self) -> Result<(), KeyringError> {
        self.rings.vet().await?;
        self.generations.vet().await
    }

    /// What of [`Keyring::vet`] can be seen with the right to read.
    pub async fn vet_for_reading(&self) -> Result<(), KeyringError> {
        self.rings.vet_for_reading().await?;
        self.generations.vet_for_reading().await
    }

    pub fn view(&self) -> Option<RingView> {
        self.loaded().as_ref().map(|loaded| RingView {
            level: loaded.head.level as u8,
            generation: loaded.head.generation,
            floor: loaded.ring.floor(),
            created_at: i64::try_from(loaded.head.created_at_s)
                .ok()
                .and_then(|second| Timestamp::from_second(second).ok())
                .unwrap_or(Timestamp::MAX),
            cover_count: loaded.ring.cover_count(),
        })
    }

    pub fn signer(&self) -> Signer {
        Signer::new(&self.master.signing_seed())
    }

    /// A new place in the time tree for a key that ends with `expires_at`.
    pub fn new_path(&self, expires_at: Timestamp) -> Result<TimePath, KeyringError> {
        let tree = self.with_ring(|ring| Ok(ring.newest_tree()))?;
        let tag = Tag::from_random(u64::from_be_bytes(random()));
        Ok(TimePath { tree, epoch: Epoch::of(expires_at), tag })
    }

    pub fn wrap(
        &self,
        scope: &KekScope,
        data_key: &DataKey,
        binding: &Binding,
    ) -> Result<[u8; WRAP_LEN], KeyringError> {
        Ok(wrap::wrap(&self.kek(scope)?, data_key, binding))
    }

    pub fn unwrap(&self, scope: &KekScope, wrapped: &[u8], binding: &Binding) -> Result<DataKey, KeyringError> {
        wrap::unwrap(&self.kek(scope)?, wrapped, binding).map_err(KeyringError::Integrity)
    }

    /// Whether a key on this path can still be derived for the tenant.
    pub fn is_alive(&self, tenant: TenantNumber, path: &TimePath) -> bool {
        self.loaded().as_ref().is_some_and(|loaded| loaded.ring.is_alive(path) && loaded.ring.is_tenant_alive(tenant))
    }

    /// The search token of a value for a recording that ends on `day`.
    pub fn search_token(
        &self,
        tenant: TenantNumber,
        day: Day,
        field: IndexField,
        value: &str,
    ) -> Result<[u8; 16], KeyringError> {
        self.with_ring(|ring| {
            let key = IndexKey::derive(ring.leaf(&index_path(ring, day))?, &ring.tenant_key(tenant)?, tenant, day);
            Ok(key.token(field, value))
        })
    }

    /// The search tokens of a value under each of `fields`, for every day on which a living recording can end.
    pub fn search_tokens(
        &self,
        tenant: TenantNumber,
        now: Timestamp,
        fields: &[IndexField],
        value: &str,
    ) -> Result<Vec<[u8; 16]>, KeyringError> {
        let today = Day::of(now);
        self.with_ring(|ring| {
            let tenant_key = ring.tenant_key(tenant)?;
            let days = (today.0..=today.0 + TERM_DAYS_MAX).map(Day);
            let alive = days.filter(|day| ring.is_alive(&index_path(ring, *day)));
            let mut tokens = Vec::new();
            for day in alive {
                let key = IndexKey::derive(ring.leaf(&index_path(ring, day))?, &tenant_key, tenant, day);
                tokens.extend(fields.iter().map(|field| key.token(*field, value)));
            }
            Ok(tokens)
        })
    }

    /// For what servers of this vault tell each other.
    pub fn peer_key(&self) -> PeerKey {
        self.master.peer_key()
    }

    /// The token of an upload's name for a recording that ends on `day`.
    pub fn name_token(&self, tenant: TenantNumber, day: Day, name: &str) -> Result<[u8; 16], KeyringError> {
        self.with_name_key(tenant, day.0 / NAME_WINDOW_DAYS, |key| key.token(name))
    }

    /// The tokens under which a living recording of this name can stand.
    pub fn name_tokens(&self, tenant: TenantNumber, now: Timestamp, name: &str) -> Result<Vec<[u8; 16]>, KeyringError> {
        let today = Day::of(now).0;
        let windows = today / NAME_WINDOW_DAYS..=(today + TERM_DAYS_MAX) / NAME_WINDOW_DAYS;
        windows.map(|window| self.with_name_key(tenant, window, |key| key.token(name))).collect()
    }

    fn kek(&self, scope: &KekScope) -> Result<Kek, KeyringError> {
        self.with_ring(|ring| Ok(Kek::derive(ring.leaf(&scope.path)?, &ring.tenant_key(scope.tenant)?, scope)))
    }

    fn with_name_key<T>(
        &self,
        tenant: TenantNumber,
        window: u32,
        use_key: impl FnOnce(&NameKey) -> T,
    ) -> Result<T, KeyringError> {
        if let Some(key) = self.name_keys().get(&(tenant, window)) {
            return Ok(use_key(key));
        }
        let key = self.with_ring(|ring| {
            let last_day = Day(window * NAME_WINDOW_DAYS + NAME_WINDOW_DAYS - 1);
            Ok(NameKey::derive(ring.leaf(&index_path(ring, last_day))?, &ring.tenant_key(tenant)?, tenant, window))
        })?;
        let result = use_key(&key);
        let mut name_keys = self.name_keys();
        if name_keys.len() >= NAME_KEYS_MAX {
            name_keys.clear();
        }
        name_keys.insert((tenant, window), key);
        Ok(result)
    }

    fn with_ring<T>(&self, step: impl FnOnce(&Ring) -> Result<T, CryptoError>) -> Result<T, KeyringError> {
        let loaded = self.loaded();
        let loaded =
            loaded.as_ref().ok_or_else(|| KeyringError::NoRing { watermark: 0, found: "none is loaded".into() })?;
        step(&loaded.ring).map_err(|error| match error {
            CryptoError::Punctured => KeyringError::Gone,
            error => KeyringError::Integrity(error),
        })
    }

    fn loaded(&self) -> RwLockReadGuard<'_, Option<Loaded>> {
        self.loaded.read().expect("no holder of the ring's lock panics")
    }

    fn name_keys(&self) -> MutexGuard<'_, HashMap<(TenantNumber, u32), NameKey>> {
        self.name_keys.lock().expect("no holder of the name keys' lock panics")
    }

    fn set_loaded(&self, loaded: Loaded) {
        // Secrecy: keys of what the new ring no longer derives must not stay behind.
        self.name_keys().clear();
        *self.loaded.write().expect("no holder of the ring's lock panics") = Some(loaded);
    }
}

/// The reserved leaf of a day's last epoch.
fn index_path(ring: &Ring, day: Day) -> TimePath {
    TimePath { tree: ring.newest_tree(), epoch: day.last_epoch(), tag: Tag::INDEX }
}

const _: () = assert!(EPOCHS_PER_DAY == 24, "a day's index leaf is that of its 24th epoch");

pub type SharedKeyring = Arc<Keyring>;

#[cfg(test)]
mod tests;
