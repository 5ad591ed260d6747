//! The catalog in PostgreSQL: the shape of many servers.
//!
//! verb -> pool -> one transaction -> answer; PostgreSQL commits in groups by itself. `postgres/pool.rs` says how a verb
//! survives a restart of the database, and how one whose commit is in doubt is found out.
//!
//! # Promise
//! As the contract in [`crate::catalog`] says; and rows go without being touched.
//!
//! # How rows end
//! Five million recordings a day end after three months as they came: five million a day. To update or delete their rows one
//! by one would be as much work again as to write them, and would leave the dead in the tables until vacuum comes.
//!
//! So what has an end lies in *partitions by epoch*, four weeks each: `recording` (what is told of a recording), `content` (its
//! label and tokens), `call`, and `wrap` (the sealed keys). A recording lies where its last audio wrap ends, and `ends`,
//! `ends_tree`, `ends_tag` are that wrap's path.
//!
//! Paths have an order, in which they die. The one row of `shredded` is the *mark*: a path, below which everything is dead. To
//! shred is to move it on (`postgres/shred.rs`). No row of a recording that has died of its term changes: **every read
//! holds rows against the mark**, and tells what lies below it as shredded, without its wraps, label and tokens, at the
//! instant of the run that passed it (`recordings::recording`). Listings and searches leave out whole partitions below the
//! mark (`LIVES`).
//!
//! A run that passes a recording still has to tell its object to the sweep and its id to the receipt: two narrow lines,
//! written in bulk in the order of the tables, a thousand in a few milliseconds, taken away by the sweep itself and by
//! `TRUNCATE` at the next run.
//!
//! A period that lies wholly below the mark, with its run finished, loses `content`, `call` and `wrap` by one `DROP TABLE`:
//! files go, nothing is vacuumed. `recording` stays for `postgres.gone_keep` (400 days), so that reads answer 410, and is
//! dropped in the same way; after that they answer 404. The ends of the classes stand in the recording's row, so that a
//! dead class is still told where a longer one lives on.
//!
//! What ends *before* its time (deleted, erased, a tenant that left) is not in the order, and is written row by row, as in
//! SQLite: its wraps carry the run that punctured them, and the mark counts them no more when it comes by.
//!
//! Partitions are made at every start, and by every run, for 15 periods ahead (twelve months are 13.1), one table at a time
//! under a lock, with `ATTACH` and a lock timeout of 200 ms. A row for which there is none lies in the partition of the
//! rest, works as any other, and is moved by the next look. A held recording lies beyond all epochs (`Place::NEVER`), in the
//! rest, so that no mark passes it; whoever sets a hold moves the row and its content there, and back.
//!
//! # Who may not meet whom
//! Constraints, where PostgreSQL has them: a path is the key of `wrap`, a name is unique in each partition of `content`. A
//! unique index over all partitions would have to hold the epoch, and would be no guard; so whoever begins under a name, or
//! with a call, takes a lock of that name first and then looks (`Lock::Name`, `Lock::Call`). Transactions are READ COMMITTED
//! with the row of the recording held; a verb on a recording that a run may just be passing also waits for that (`Lock::Shred`).
//! Punctures get their numbers under a lock, so that a run which has seen one has seen all before it.
//!
//! # Limits
//! Sessions must be real: locks and settings are of a session, so a pooler between must pool sessions, not transactions.
//! A failover to a standby loses what was not replicated: acknowledged means durable on the standby only with
//! `synchronous_standby_names` set there. Dead wraps, labels and tokens stay in the files of their partition until it is
//! dropped; the keys that they need are gone.

mod access;
mod ending;
mod errors;
mod expiry;
mod house;
mod leases;
mod listing;
mod open;
mod partitions;
mod pool;
mod recordings;
mod replicas;
mod rows;
mod settings;
mod shred;
mod tenants;
mod tls;
mod trail;

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use self::errors::Outcome;
use self::leases::Leases;
use self::open::Vault;
use self::pool::{Pool, Session};
use super::{
    Announcement, Catalog, CatalogError, ClassCount, CommittedGeneration, Counts, Ending, Finished, GuardedRow,
    HeldCount, Lease, Listing, NewRecording, NewTenant, QueuedPuncture, ReceiptRow, Recording, Replica, Result, Resume,
    RingMark, Run, Tenant, TenantChange,
};
use crate::model::epoch::EPOCH_S;
use crate::model::{Epoch, ObjectId, RecordingId, ReplicaName, Slug, State, TenantNumber, Timestamp};

pub use self::open::OpenError;
pub use self::settings::{Limits, Settings};

/// A recording `r` that is not gone. Both conditions of the mark: the first leaves partitions out, the second is exact.
const LIVES: &str = "NOT r.gone AND r.ends >= (SELECT epoch FROM shredded)
    AND (r.ends, r.ends_tree, r.ends_tag) >= (SELECT epoch, tree, tag FROM shredded)";
/// A recording `r` that the mark has passed.
const REACHED: &str = "r.ends <= (SELECT epoch FROM shredded)
    AND (r.ends, r.ends_tree, r.ends_tag) < (SELECT epoch, tree, tag FROM shredded)";

/// Kinds of locks: of which there is one, of a tenant, of a server.
const ONE: i32 = 1;
const TENANT_LOCK: i32 = 2;
const REPLICA_LOCK: i32 = 3;
const NUMBERS_LOCK: i32 = 1;
const PUNCTURES_LOCK: i32 = 2;
const SHRED_LOCK: i32 = 3;
const MIGRATE_LOCK: i32 = 4;
const PARTITIONS_LOCK: i32 = 5;
const EXPIRE_LOCK: i32 = 6;
const ASKED_LOCK: i32 = 7;

/// What a transaction waits for, and holds until its end.
#[derive(Clone, Copy)]
enum Lock {
    Numbers,
    Asked,
    Punctures,
    Partitions,
    /// Excludes the shared one: a run that passes recordings, and a verb on one of them.
    Shred,
    ShredShared,
    Tenant(TenantNumber),
    TenantShared(TenantNumber),
    Name([u8; 16]),
    Call(Uuid),
}

async fn locked(db: &Session, lock: Lock) -> Outcome<()> {
    let (exclusive, shared) = ("SELECT pg_advisory_xact_lock($1, $2)", "SELECT pg_advisory_xact_lock_shared($1, $2)");
    let of_tenant = |tenant: TenantNumber| tenant.0 as i32;
    let (sql, kind, key) = match lock {
        Lock::Numbers => (exclusive, ONE, NUMBERS_LOCK),
        Lock::Asked => (exclusive, ONE, ASKED_LOCK),
        Lock::Punctures => (exclusive, ONE, PUNCTURES_LOCK),
        Lock::Partitions => (exclusive, ONE, PARTITIONS_LOCK),
        Lock::Shred => (exclusive, ONE, SHRED_LOCK),
        Lock::ShredShared => (shared, ONE, SHRED_LOCK),
        Lock::Tenant(tenant) => (exclusive, TENANT_LOCK, of_tenant(tenant)),
        Lock::TenantShared(tenant) => (shared, TENANT_LOCK, of_tenant(tenant)),
        // Random bits: of two that share them by chance, one waits for the other.
        Lock::Name(token) => return locked_bits(db, token).await,
        Lock::Call(id) => return locked_bits(db, id.into_bytes()).await,
    };
    db.execute(sql, &[&kind, &key]).await?;
    Ok(())
}

async fn locked_bits(db: &Session, bytes: [u8; 16]) -> Outcome<()> {
    let last: [u8; 8] = bytes[8..].try_into().expect("the half of 16");
    let bits = i64::from_be_bytes(bytes[..8].try_into().expect("the half of 16")) ^ i64::from_be_bytes(last);
    db.execute("SELECT pg_advisory_xact_lock($1)", &[&bits]).await?;
    Ok(())
}

/// [`Catalog`] on PostgreSQL.
pub struct Postgres {
    pool: Pool,
    leases: Leases,
    appender: Arc<trail::Appender>,
    description: String,
    /// How long a recording that is gone is told as such.
    gone_epochs: i32,
}

impl Postgres {
    /// Opens the catalog, makes it in a database that has none, and brings its schema up to date.
    pub async fn open(settings: &Settings) -> Result<Postgres> {
        Postgres::open_as(settings, Vault::IsMade).await
    }

    /// As [`Postgres::open`], but refuses a database that has no catalog: a wrong one must not become an empty vault.
    pub async fn open_existing(settings: &Settings) -> Result<Postgres> {
        Postgres::open_as(settings, Vault::MustExist).await
    }

    async fn open_as(settings: &Settings, vault: Vault) -> Result<Postgres> {
        let opened = open::open(settings, vault).await?;
        let pool = Pool::new(opened.server.clone(), opened.connector.clone(), settings)?;
        partitions::make(&pool).await?;
        Ok(Postgres {
            pool,
            leases: Leases { server: opened.server, connector: opened.connector },
            appender: Arc::default(),
            description: opened.description,
            gone_epochs: (settings.limits.gone_keep.as_secs() / EPOCH_S as u64).min(1 << 20) as i32,
        })
    }

    /// What is dead goes, what is needed comes. Nothing depends on it: what fails is tried again by the next run.
    async fn tend(&self) {
        let tended = async {
            partitions::drop_dead(&self.pool, self.gone_epochs).await?;
            partitions::make(&self.pool).await?;
            self.pool.write(|db| async move { house::fold_tally(&db).await }).await?;
            let old = "DELETE FROM verb_mark WHERE at < now() - interval '1 day'";
            self.pool.write(move |db| async move { db.execute(old, &[]).await }).await
        };
        if let Err(error) = tended.await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the catalog's partitions were not looked after; the next run does it");
        }
    }
}

/// `write!(self, (a, b) => verb(db, &a, b))`: the verb in a transaction, with what it needs for another try.
macro_rules! write {
    ($self:ident, ($($name:ident),*) => $verb:expr, $db:ident) => {{
        let given = Arc::new(($($name,)*));
        $self.pool.write(move |$db| {
            let given = Arc::clone(&given);
            async move {
                let ($($name,)*) = &*given;
                $verb.await
            }
        }).await
    }};
}

use write;

#[async_trait]
impl Catalog for Postgres {
    async fn create_tenant(&self, tenant: NewTenant) -> Result<Tenant> {
        write!(self, (tenant) => tenants::create(&db, tenant), db)
    }

    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>> {
        self.pool.read(|db| async move { tenants::by_slug(&db, slug).await }).await
    }

    async fn tenant_by_number(&self, number: TenantNumber) -> Result<Option<Tenant>> {
        self.pool.read(|db| async move { tenants::by_number(&db, number).await }).await
    }

    async fn tenants(&self) -> Result<Vec<Tenant>> {
        self.pool.read(|db| async move { tenants::all(&db).await }).await
    }

    async fn set_tenant(&self, number: TenantNumber, change: TenantChange) -> Result<Tenant> {
        write!(self, (number, change) => tenants::set(&db, *number, change), db)
    }

    async fn offboard_tenant(&self, number: TenantNumber, at: Timestamp) -> Result<()> {
        self.pool.write(move |db| async move { tenants::offboard(&db, number, at).await }).await
    }

    async fn begin(&self, recording: NewRecording) -> Result<()> {
        write!(self, (recording) => recordings::begin(&db, recording), db)
    }

    async fn finish(&self, finished: Finished) -> Result<()> {
        assert!(matches!(finished.state, State::Spooled | State::Stored), "the contract of `Finished`");
        write!(self, (finished) => recordings::finish(&db, finished), db)?
    }

    async fn stored(&self, id: RecordingId, object: ObjectId, at: Timestamp) -> Result<()> {
        self.pool.write(move |db| async move { recordings::stored(&db, id, object, at).await }).await?
    }

    async fn set_resume(&self, id: RecordingId, resume: Option<Resume>) -> Result<()> {
        self.pool.write(move |db| async move { recordings::set_resume(&db, id, resume).await }).await
    }

    async fn abandon(&self, id: RecordingId) -> Result<()> {
        self.pool.write(move |db| async move { ending::abandon(&db, id).await }).await
    }

    async fn recording(&self, tenant: Option<TenantNumber>, id: RecordingId) -> Result<Option<Recording>> {
        let found = self.pool.read(|db| async move { recordings::find(&db, tenant, id).await }).await?;
        Ok(found.map(|(recording, _)| recording))
    }

    async fn recording_by_name(&self, tenant: TenantNumber, tokens: &[[u8; 16]]) -> Result<Option<Recording>> {
        self.pool.read(|db| async move { listing::by_name(&db, tenant, tokens).await }).await
    }

    async fn list(&self, listing: Listing) -> Result<Vec<Recording>> {
        let listing = &listing;
        self.pool.read(|db| async move { listing::list(&db, listing).await }).await
    }

    async fn in_state(
        &self,
        state: State,
        holder: Option<&ReplicaName>,
        after: Option<RecordingId>,
        limit: u32,
    ) -> Result<Vec<Recording>> {
        self.pool.read(|db| async move { listing::in_state(&db, state, holder, after, limit).await }).await
    }

    async fn entrust(&self, id: RecordingId, replica: &ReplicaName) -> Result<ReplicaName> {
        let replica = replica.clone();
        write!(self, (replica) => recordings::entrust(&db, id, replica), db)
    }

    async fn end(&self, id: RecordingId, ending: Ending, at: Timestamp) -> Result<Recording> {
        self.pool.write(move |db| async move { ending::end(&db, id, ending, at).await }).await
    }

    async fn ring_mark(&self) -> Result<RingMark> {
        self.pool.read(|db| async move { expiry::ring_mark(&db).await }).await
    }

    async fn set_first_generation(&self, generation: u64, floor: Epoch) -> Result<()> {
        self.pool.write(move |db| async move { expiry::set_first_generation(&db, generation, floor).await }).await
    }

    async fn lease_expiry(&self) -> Result<Option<Lease>> {
        self.leases.take(ONE, EXPIRE_LOCK).await
    }

    async fn punctures(&self) -> Result<Vec<QueuedPuncture>> {
        self.pool.read(|db| async move { expiry::punctures(&db).await }).await
    }

    async fn guarded_row(&self, floor: Epoch, young_after: Timestamp) -> Result<Option<GuardedRow>> {
        self.pool.read(|db| async move { expiry::guarded_row(&db, floor, young_after).await }).await
    }

    async fn announce(&self, announcement: Announcement) -> Result<Run> {
        write!(self, (announcement) => expiry::announce(&db, announcement), db)
    }

    async fn commit_generation(&self, run: u64, committed: CommittedGeneration) -> Result<()> {
        self.pool.write(move |db| async move { expiry::commit_generation(&db, run, committed).await }).await
    }

    async fn catch_up(&self, generation: u64, floor: Epoch) -> Result<()> {
        self.pool.write(move |db| async move { expiry::catch_up(&db, generation, floor).await }).await
    }

    async fn shred(&self, run: u64, limit: u32, at: Timestamp) -> Result<u64> {
        self.pool.write(move |db| async move { shred::shred(&db, run, limit, at).await }).await
    }

    async fn run_tenants(&self, run: u64) -> Result<Vec<TenantNumber>> {
        self.pool.read(|db| async move { expiry::run_tenants(&db, run).await }).await
    }

    async fn run_classes(&self, run: u64, tenant: TenantNumber) -> Result<Vec<ClassCount>> {
        self.pool.read(|db| async move { expiry::run_classes(&db, run, tenant).await }).await
    }

    async fn run_recordings(
        &self,
        run: u64,
        tenant: TenantNumber,
        after: Option<RecordingId>,
        limit: u32,
    ) -> Result<Vec<(RecordingId, Option<[u8; 32]>)>> {
        self.pool.read(|db| async move { expiry::run_recordings(&db, run, tenant, after, limit).await }).await
    }

    async fn finish_run(&self, run: u64, receipts: Vec<ReceiptRow>) -> Result<()> {
        write!(self, (receipts) => expiry::finish_run(&db, run, receipts), db)?;
        self.tend().await;
        Ok(())
    }

    async fn receipts(&self, tenant: TenantNumber) -> Result<Vec<ReceiptRow>> {
        self.pool.read(|db| async move { expiry::receipts(&db, tenant).await }).await
    }

    async fn last_receipt(&self, tenant: TenantNumber) -> Result<Option<ReceiptRow>> {
        self.pool.read(|db| async move { expiry::last_receipt(&db, tenant).await }).await
    }

    async fn objects_to_sweep(&self, limit: u32) -> Result<Vec<ObjectId>> {
        self.pool.read(|db| async move { house::objects_to_sweep(&db, limit).await }).await
    }

    async fn swept(&self, objects: &[ObjectId]) -> Result<()> {
        let objects = objects.to_vec();
        write!(self, (objects) => house::swept(&db, objects), db)
    }

    async fn enter_replica(&self, replica: &ReplicaName, url: Option<&str>) -> Result<Lease> {
        let name = replica.clone();
        let slot = write!(self, (name) => replicas::slot(&db, name), db)?;
        let lease = self.leases.take(REPLICA_LOCK, slot).await?.ok_or(CatalogError::WrongState)?;
        let (name, url) = (replica.clone(), url.map(str::to_owned));
        write!(self, (name, url) => replicas::enter(&db, name, slot, url.as_deref()), db)?;
        Ok(lease)
    }

    async fn set_replica_generation(&self, replica: &ReplicaName, generation: u64, at: Timestamp) -> Result<()> {
        let name = replica.clone();
        write!(self, (name) => replicas::set_generation(&db, name, generation, at), db)
    }

    async fn replicas(&self) -> Result<Vec<Replica>> {
        self.pool.read(|db| async move { replicas::listed(&db).await }).await
    }

    async fn held(&self, replica: &ReplicaName) -> Result<HeldCount> {
        self.pool.read(|db| async move { replicas::held(&db, replica).await }).await
    }

    async fn adopt(&self, replica: &ReplicaName) -> Result<u64> {
        let name = replica.clone();
        write!(self, (name) => replicas::adopt(&db, name), db)
    }

    async fn release(&self, replica: &ReplicaName) -> Result<u64> {
        let name = replica.clone();
        write!(self, (name) => replicas::release(&db, name), db)
    }

    async fn forget_replica(&self, replica: &ReplicaName) -> Result<()> {
        let slot = self.pool.read(|db| async move { replicas::known_slot(&db, replica).await }).await?;
        let Some(slot) = slot else { return Ok(()) };
        // Held while it is forgotten, so that nobody enters under the name meanwhile.
        let _lease = self.leases.take(REPLICA_LOCK, slot).await?.ok_or(CatalogError::WrongState)?;
        let name = replica.clone();
        write!(self, (name) => replicas::forget(&db, name), db)
    }

    async fn now(&self) -> Result<Option<Timestamp>> {
        self.pool.read(|db| async move { replicas::now(&db).await }).await
    }

    async fn counts(&self) -> Result<Counts> {
        let (counts, has_grown) = self.pool.read(|db| async move { house::counts(&db).await }).await?;
        if has_grown {
            self.pool.write(|db| async move { house::fold_tally(&db).await }).await?;
        }
        Ok(counts)
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}

#[cfg(test)]
mod tests;
