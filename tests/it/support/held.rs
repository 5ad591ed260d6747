//! A vault inside this process, at a time that the test holds: for what is decided by a second, or by a fault.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use callvault::app;
use callvault::catalog::{Recording, Tenant};
use callvault::config::KeyPlace;
use callvault::http::auth::{LastUses, Watch};
use callvault::http::{Face, WireLimits, serve::serve};
use callvault::ingest::{BodyBreak, Upload, digest::ExpectedDigests};
use callvault::model::clock::SystemClock;
use callvault::model::{CallData, Class, Clock, RecordingId, Timestamp};
use callvault::reading::ReadError;

use super::Vault;

/// The time as the machine has it.
pub fn now() -> Timestamp {
    SystemClock.now()
}

/// A clock that stands until it is moved.
#[derive(Clone)]
pub struct HeldClock(Arc<AtomicI64>);

impl HeldClock {
    pub fn at(instant: Timestamp) -> HeldClock {
        HeldClock(Arc::new(AtomicI64::new(instant.as_millisecond())))
    }

    pub fn set(&self, instant: Timestamp) {
        self.0.store(instant.as_millisecond(), SeqCst);
    }

    pub fn read(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(SeqCst)).expect("it was set to an instant")
    }

    pub fn as_clock(&self) -> Arc<dyn Clock> {
        let held = self.clone();
        Arc::new(move || held.read())
    }
}

/// What an upload in this process is made of.
pub struct Call<'a> {
    pub tenant: &'a str,
    pub name: &'a str,
    pub classes: &'a [Class],
    pub data: CallData,
}

impl<'a> Call<'a> {
    pub fn named(name: &'a str) -> Call<'a> {
        Call { tenant: "acme", name, classes: &[Class::Customer], data: CallData::default() }
    }
}

/// [`app::Vault`] with a held clock.
pub struct HeldVault {
    pub app: Arc<app::Vault>,
    pub clock: HeldClock,
}

impl Vault {
    /// Opens this vault inside this process.
    pub async fn held(&self, at: Timestamp) -> HeldVault {
        self.try_held(at).await.unwrap_or_else(|error| panic!("the vault opens: {error:?}"))
    }

    pub async fn try_held(&self, at: Timestamp) -> Result<HeldVault, app::AppError> {
        super::journal::watch_this_process();
        let clock = HeldClock::at(at);
        let app = Arc::new(app::Vault::open_at(self.config(), clock.as_clock()).await?);
        Ok(HeldVault { app, clock })
    }
}

impl HeldVault {
    pub async fn tenant(&self, slug: &str) -> Tenant {
        let slug = slug.parse().expect("a slug");
        self.app.catalog.tenant(&slug).await.expect("the catalog answers").expect("the tenant is there")
    }

    /// An upload that must be taken.
    pub async fn upload(&self, call: Call<'_>, bytes: Vec<u8>) -> Recording {
        let upload = Upload {
            tenant: self.tenant(call.tenant).await,
            by: std::sync::Arc::new(callvault::model::trail::Who::SYSTEM),
            name: Some(call.name.to_owned()),
            classes: call.classes.to_vec(),
            media_type: "audio/wav".into(),
            call: call.data,
            declared_len: Some(bytes.len() as u64),
            range: None,
            digests: ExpectedDigests::default(),
        };
        let body = futures::stream::iter([Ok::<_, BodyBreak>(bytes::Bytes::from(bytes))]);
        self.app.ingest.receive(Box::new(upload), body).await.expect("the upload is taken").recording
    }

    pub async fn row(&self, id: RecordingId) -> Recording {
        self.app.catalog.recording(None, id).await.expect("the catalog answers").expect("the row is there")
    }

    /// All bytes of a row, past what `http` would refuse.
    pub async fn read(&self, row: &Recording, class: Class) -> Result<Vec<u8>, ReadError> {
        let data_key = self.app.reader.data_key(row, class)?;
        let opened = self.app.reader.open(row, &data_key).await?;
        let mut bytes = Vec::new();
        let len = opened.geometry().plain_len();
        while let Some(range) = callvault::model::range::ByteRange::new(bytes.len() as u64, len - 1, len) {
            for piece in opened.window(bytes.len() as u64, range).await? {
                bytes.extend_from_slice(&piece);
            }
        }
        Ok(bytes)
    }

    /// Serves it on a free port, without the work that a server does beside.
    pub async fn serve(&self) -> HeldServer {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address: SocketAddr = listener.local_addr().expect("it is bound");
        let face = Face {
            catalog: self.app.catalog.clone(),
            ingest: self.app.ingest.clone(),
            playback: self.app.playback.clone(),
            reader: self.app.reader.clone(),
            clock: self.app.latest.clone(),
            limits: WireLimits {
                descriptors_max: u64::MAX,
                body_idle: Duration::from_secs(30),
                rate_min: 256,
                rate_window: Duration::from_secs(60),
                header_timeout: Duration::from_secs(10),
                drain_timeout: Duration::from_secs(10),
                trusted_proxies: Vec::new(),
                cors_origins: Vec::new(),
                links: self.app.config.access.links,
                four_eyes: self.app.config.access.four_eyes,
            },
            drain: Arc::default(),
            expire_stats: Arc::default(),
            probes: Default::default(),
            peers: self.app.peers(),
            watch: Watch::new(self.app.config.access.watch),
            last_uses: LastUses::default(),
            traces: callvault::http::trail::Traces::new(self.app.trail.clone(), self.app.config.audit.sessions),
            sign_on: None,
        };
        let task = tokio::spawn(serve(listener, Arc::new(face), None, std::future::pending()));
        HeldServer { url: format!("http://{address}"), task }
    }

    /// Closes its catalog, so that files can be exchanged below it.
    pub fn close(self) {
        Arc::into_inner(self.app).expect("nothing else uses the vault");
    }
}

/// A [`HeldVault`] that serves.
pub struct HeldServer {
    pub url: String,
    task: tokio::task::JoinHandle<()>,
}

impl HeldServer {
    pub fn audio(&self, id: RecordingId) -> String {
        format!("{}/v1/recordings/{id}/audio", self.url)
    }

    /// Breaks off whatever runs.
    pub async fn stop(self) {
        self.task.abort();
        self.task.await.expect_err("it was aborted");
    }
}

/// The catalog and the objects as they were at one moment.
pub struct Backup(PathBuf);

impl Vault {
    /// The argument for `at` that lets a command begin at this instant.
    pub fn shift(at: Timestamp) -> String {
        format!("{:+}", at.as_second() - now().as_second())
    }

    /// An `expire` at this instant, confirmed by its `--floor`, that must succeed.
    pub fn expire(&self, at: Timestamp) -> serde_json::Value {
        self.ok_at(&["expire", "--floor", &at.to_string()], Some(&Vault::shift(at)))
    }

    /// Copies what a backup holds: catalog and objects, never the key store.
    pub fn back_up(&self) -> Backup {
        let backup = Backup(self.beside(&format!("backup-{}", super::unique())));
        std::fs::create_dir(&backup.0).expect("it is new");
        for name in self.backed_up() {
            super::copy_dir(&self.path().join(&name), &backup.0.join(&name));
        }
        backup
    }

    /// Puts a backup in the place of what is there.
    pub fn restore(&self, backup: &Backup) {
        for name in self.backed_up() {
            let path = self.path().join(name);
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.expect("removed");
        }
        let names = std::fs::read_dir(&backup.0).expect("the backup is there").flatten();
        names.for_each(|entry| super::copy_dir(&entry.path(), &self.path().join(entry.file_name())));
    }

    fn backed_up(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("the vault's directory").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let belongs = |name: &String| ["catalog.db", "catalog.db-wal", "catalog.db-shm", "objects"].contains(&&**name);
        names.filter(belongs).collect()
    }

    /// The files of the key store and of the generation store, by mirror.
    pub fn key_files(&self) -> Vec<PathBuf> {
        let config = self.config();
        config.key_store.iter().chain(&config.generation_store).flat_map(|place| super::files(dir_of(place))).collect()
    }

    /// One file of one generation on each mirror, and no other.
    pub fn assert_one_generation(&self, generation: u64) {
        let config = self.config();
        for (kind, dirs) in [("ring", &config.key_store), ("generation", &config.generation_store)] {
            for dir in dirs.iter().map(dir_of) {
                assert_eq!(super::files(dir), [dir.join(format!("{kind}.{generation}"))]);
            }
        }
    }
}

/// The directory of a mirror that is one.
pub fn dir_of(place: &KeyPlace) -> &Path {
    match place {
        KeyPlace::Dir(dir) => dir,
        KeyPlace::Bucket(bucket) => panic!("s3://{bucket} is no directory"),
    }
}
