//! The catalog in one SQLite file: the embedded shape.
//!
//! verb -> queue -> one writer thread -> one commit for all that waited -> answers; reads go past it, each in its own
//! snapshot.
//!
//! # Promise
//! A verb that writes answers `Ok` only after the commit that holds it was synced (`synchronous=FULL`). A verb that
//! answers an error left nothing. A read sees everything that was acknowledged before it began, also by another process.
//! # Cancel safety
//! Dropping the future of a writing verb before it was queued does nothing; afterwards the verb is carried out whole, as
//! if nobody had left. Dropping [`Sqlite`] finishes what is queued.
//! # Limits
//! Many processes may share the file, on one machine and a local disk: WAL needs shared memory.

mod access;
mod ending;
mod errors;
mod expiry;
mod house;
mod listing;
mod locks;
mod open;
mod readers;
mod recordings;
mod replicas;
mod rows;
mod shred;
mod tenants;
mod trail;
mod writer;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::Connection;

use self::readers::Readers;
use self::writer::Writer;
use super::{
    Announcement, Catalog, CatalogError, ClassCount, CommittedGeneration, Counts, Ending, Finished, GuardedRow,
    HeldCount, Lease, Listing, NewRecording, NewTenant, QueuedPuncture, ReceiptRow, Recording, Replica, Result, Resume,
    RingMark, Run, Tenant, TenantChange,
};
use crate::model::{Epoch, ObjectId, RecordingId, ReplicaName, Slug, State, TenantNumber, Timestamp};

pub use self::open::OpenError;

/// [`Catalog`] on SQLite.
pub struct Sqlite {
    path: PathBuf,
    // Invariant: before `readers`, so that the queue is worked off while nothing else is taken down.
    writer: Writer,
    readers: Readers,
}

impl Sqlite {
    /// Opens the catalog, makes the file (mode 0600) when there is none, and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Sqlite> {
        open::create_file(path)?;
        Sqlite::open_existing(path)
    }

    /// As [`Sqlite::open`], but refuses when there is no file: a wrong path must not become an empty catalog.
    pub fn open_existing(path: &Path) -> Result<Sqlite> {
        let writer = open::writer(path)?;
        let readers = Readers::open(path)?;
        Ok(Sqlite { path: path.to_owned(), writer: Writer::start(writer, path)?, readers })
    }

    /// Commits so far by this handle: one commit carries many verbs.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    async fn write<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.writer.write(verb).await
    }

    fn lives(&self, replica: &ReplicaName) -> bool {
        locks::is_held(&self.path, &replica_lock(replica))
    }

    async fn look_up<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.readers.look_up(verb).await
    }

    async fn read<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.readers.read(verb).await
    }
}

const EXPIRE_LOCK: &str = "expire-lock";

fn replica_lock(replica: &ReplicaName) -> String {
    format!("replica-{replica}")
}

#[async_trait]
impl Catalog for Sqlite {
    async fn create_tenant(&self, tenant: NewTenant) -> Result<Tenant> {
        self.write(move |db| tenants::create(db, &tenant)).await
    }

    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>> {
        let slug = slug.clone();
        self.look_up(move |db| tenants::by_slug(db, &slug)).await
    }

    async fn tenant_by_number(&self, number: TenantNumber) -> Result<Option<Tenant>> {
        self.look_up(move |db| tenants::by_number(db, number)).await
    }

    async fn tenants(&self) -> Result<Vec<Tenant>> {
        self.read(tenants::all).await
    }

    async fn set_tenant(&self, number: TenantNumber, change: TenantChange) -> Result<Tenant> {
        self.write(move |db| tenants::set(db, number, change)).await
    }

    async fn offboard_tenant(&self, number: TenantNumber, at: Timestamp) -> Result<()> {
        self.write(move |db| tenants::offboard(db, number, at)).await
    }

    async fn begin(&self, recording: NewRecording) -> Result<()> {
        self.write(move |db| recordings::begin(db, &recording)).await
    }

    async fn finish(&self, finished: Finished) -> Result<()> {
        assert!(matches!(finished.state, State::Spooled | State::Stored), "the contract of `Finished`");
        self.write(move |db| recordings::finish(db, &finished)).await?
    }

    async fn stored(&self, id: RecordingId, object: ObjectId, at: Timestamp) -> Result<()> {
        self.write(move |db| recordings::stored(db, id, object, at)).await?
    }

    async fn set_resume(&self, id: RecordingId, resume: Option<Resume>) -> Result<()> {
        self.write(move |db| recordings::set_resume(db, id, resume)).await
    }

    async fn abandon(&self, id: RecordingId) -> Result<()> {
        self.write(move |db| ending::abandon(db, id)).await
    }

    async fn recording(&self, tenant: Option<TenantNumber>, id: RecordingId) -> Result<Option<Recording>> {
        self.look_up(move |db| recordings::find(db, tenant, id)).await
    }

    async fn recording_by_name(&self, tenant: TenantNumber, tokens: &[[u8; 16]]) -> Result<Option<Recording>> {
        let tokens = tokens.to_vec();
        self.look_up(move |db| listing::by_name(db, tenant, &tokens)).await
    }

    async fn list(&self, listing: Listing) -> Result<Vec<Recording>> {
        self.read(move |db| listing::list(db, &listing)).await
    }

    async fn in_state(
        &self,
        state: State,
        holder: Option<&ReplicaName>,
        after: Option<RecordingId>,
        limit: u32,
    ) -> Result<Vec<Recording>> {
        let holder = holder.cloned();
        self.read(move |db| listing::in_state(db, state, holder.as_ref(), after, limit)).await
    }

    async fn entrust(&self, id: RecordingId, replica: &ReplicaName) -> Result<ReplicaName> {
        let replica = replica.clone();
        self.write(move |db| recordings::entrust(db, id, &replica)).await
    }

    async fn end(&self, id: RecordingId, ending: Ending, at: Timestamp) -> Result<Recording> {
        self.write(move |db| ending::end(db, id, ending, at)).await
    }

    async fn ring_mark(&self) -> Result<RingMark> {
        self.look_up(expiry::ring_mark).await
    }

    async fn set_first_generation(&self, generation: u64, floor: Epoch) -> Result<()> {
        self.write(move |db| expiry::set_first_generation(db, generation, floor)).await
    }

    async fn lease_expiry(&self) -> Result<Option<Lease>> {
        Ok(locks::take(&self.path, EXPIRE_LOCK)?.map(|lock| Box::new(lock) as Lease))
    }

    async fn punctures(&self) -> Result<Vec<QueuedPuncture>> {
        self.read(expiry::punctures).await
    }

    async fn guarded_row(&self, floor: Epoch, young_after: Timestamp) -> Result<Option<GuardedRow>> {
        self.read(move |db| expiry::guarded_row(db, floor, young_after)).await
    }

    async fn announce(&self, announcement: Announcement) -> Result<Run> {
        self.write(move |db| expiry::announce(db, &announcement)).await
    }

    async fn commit_generation(&self, run: u64, committed: CommittedGeneration) -> Result<()> {
        self.write(move |db| expiry::commit_generation(db, run, committed)).await
    }

    async fn catch_up(&self, generation: u64, floor: Epoch) -> Result<()> {
        self.write(move |db| expiry::catch_up(db, generation, floor)).await
    }

    async fn shred(&self, run: u64, limit: u32, at: Timestamp) -> Result<u64> {
        self.write(move |db| shred::shred(db, run, limit, at)).await
    }

    async fn run_tenants(&self, run: u64) -> Result<Vec<TenantNumber>> {
        self.read(move |db| expiry::run_tenants(db, run)).await
    }

    async fn run_classes(&self, run: u64, tenant: TenantNumber) -> Result<Vec<ClassCount>> {
        self.read(move |db| expiry::run_classes(db, run, tenant)).await
    }

    async fn run_recordings(
        &self,
        run: u64,
        tenant: TenantNumber,
        after: Option<RecordingId>,
        limit: u32,
    ) -> Result<Vec<(RecordingId, Option<[u8; 32]>)>> {
        self.read(move |db| expiry::run_recordings(db, run, tenant, after, limit)).await
    }

    async fn finish_run(&self, run: u64, receipts: Vec<ReceiptRow>) -> Result<()> {
        self.write(move |db| expiry::finish_run(db, run, &receipts)).await
    }

    async fn receipts(&self, tenant: TenantNumber) -> Result<Vec<ReceiptRow>> {
        self.read(move |db| expiry::receipts(db, tenant)).await
    }

    async fn last_receipt(&self, tenant: TenantNumber) -> Result<Option<ReceiptRow>> {
        self.read(move |db| expiry::last_receipt(db, tenant)).await
    }

    async fn objects_to_sweep(&self, limit: u32) -> Result<Vec<ObjectId>> {
        self.read(move |db| house::objects_to_sweep(db, limit)).await
    }

    async fn swept(&self, objects: &[ObjectId]) -> Result<()> {
        let objects = objects.to_vec();
        self.write(move |db| house::swept(db, &objects)).await
    }

    async fn enter_replica(&self, replica: &ReplicaName, url: Option<&str>) -> Result<Lease> {
        let lock = locks::take(&self.path, &replica_lock(replica))?.ok_or(CatalogError::WrongState)?;
        for (dead, holds) in self.read(replicas::listed).await? {
            if !holds && !self.lives(&dead.name) {
                self.forget_replica(&dead.name).await?;
            }
        }
        let (replica, url) = (replica.clone(), url.map(str::to_owned));
        self.write(move |db| replicas::enter(db, &replica, url.as_deref())).await?;
        Ok(Box::new(lock))
    }

    async fn set_replica_generation(&self, replica: &ReplicaName, generation: u64, at: Timestamp) -> Result<()> {
        let replica = replica.clone();
        self.write(move |db| replicas::set_generation(db, &replica, generation, at)).await
    }

    async fn replicas(&self) -> Result<Vec<Replica>> {
        let listed = self.read(replicas::listed).await?.into_iter();
        let told = listed.map(|(replica, holds)| (Replica { is_alive: self.lives(&replica.name), ..replica }, holds));
        Ok(told.filter(|(replica, holds)| *holds || replica.is_alive).map(|(replica, _)| replica).collect())
    }

    async fn held(&self, replica: &ReplicaName) -> Result<HeldCount> {
        let replica = replica.clone();
        self.read(move |db| replicas::held(db, &replica)).await
    }

    async fn adopt(&self, replica: &ReplicaName) -> Result<u64> {
        let replica = replica.clone();
        self.write(move |db| replicas::adopt(db, &replica)).await
    }

    async fn release(&self, replica: &ReplicaName) -> Result<u64> {
        let replica = replica.clone();
        self.write(move |db| replicas::release(db, &replica)).await
    }

    async fn forget_replica(&self, replica: &ReplicaName) -> Result<()> {
        // Held while it is forgotten, so that nobody enters under the name meanwhile.
        let _lock = locks::take(&self.path, &replica_lock(replica))?.ok_or(CatalogError::WrongState)?;
        let replica = replica.clone();
        self.write(move |db| replicas::forget(db, &replica)).await
    }

    async fn now(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    async fn counts(&self) -> Result<Counts> {
        self.read(house::counts).await
    }

    fn describe(&self) -> String {
        let version = rusqlite::version();
        format!("SQLite {version}, {} (WAL, synchronous=FULL, secure_delete=ON)", self.path.display())
    }
}

#[cfg(test)]
mod tests;
