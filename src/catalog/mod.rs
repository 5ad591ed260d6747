//! The catalog: which recordings exist, for whom, until when, and their sealed keys.
//!
//! # Promise
//! A verb that returned `Ok` is durable: it survives `kill -9` and a power cut. A verb that returned an error changed
//! nothing. Verbs that write are atomic, whatever they touch.
//! # Secrecy
//! Nothing in here suffices to open a recording after its term: keys come in wrapped, under keys that the ring derives and
//! that this layer never sees. Numbers, names and media types come in sealed or as tokens.
//! # Limits
//! Rollback protection is not provided: a catalog restored from a backup believes the backup. The ring does not.
//!
//! [`Catalog`] is the contract. `conformance` holds every backend to it.

mod access;
mod faults;
pub mod postgres;
mod rules;
pub mod sqlite;
mod stored;
pub mod trail;

#[cfg(test)]
mod conformance;

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

pub use access::{
    Access, Asked, Bearer, Confirmation, LINK_KEPT, LinkRow, LinkSession, Person, PersonChange, TokenKey, TokenRow,
};
pub use faults::faults;
pub use trail::{CheckpointRow, TrailHead, TrailQuery, TrailRow, Trails};

use crate::crypto::wrap::WRAP_LEN;
use crate::model::ids::CallId;
use crate::model::{
    Class, Completeness, Epoch, ObjectId, RecordingId, ReplicaName, Slug, State, SubjectId, TenantNumber, Term,
    TimePath, Timestamp,
};

/// Why a verb did nothing.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// Another recording of the tenant that is not gone has this name.
    #[error("the name is taken")]
    NameTaken,
    /// Another wrap has this path of the time tree; draw another tag.
    #[error("the path is taken")]
    PathTaken,
    #[error("the slug is taken")]
    SlugTaken,
    #[error("there is no such row")]
    NotFound,
    /// The row is not in a state from which the verb may go on.
    #[error("the row is in another state")]
    WrongState,
    /// No room on the catalog's disk.
    #[error("the catalog's disk is full")]
    Full(#[source] BoxError),
    /// The catalog does not answer.
    #[error("the catalog does not answer")]
    Unavailable(#[source] BoxError),
    /// What is stored is not what a verb stores.
    #[error("the catalog is damaged: {0}")]
    Damaged(String),
}

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, CatalogError>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub number: TenantNumber,
    pub slug: Slug,
    pub name: String,
    /// Whether the tenant switched `customer` recording on.
    pub recording: bool,
    pub customer_term: Term,
    pub training_term: Term,
    pub cdr_term: Term,
    pub created_at: Timestamp,
    pub offboarded_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct NewTenant {
    pub slug: Slug,
    pub name: String,
    pub recording: bool,
    pub customer_term: Term,
    pub training_term: Term,
    pub cdr_term: Term,
    pub created_at: Timestamp,
}

/// `None` leaves a setting as it is. Terms hold for recordings that begin afterwards.
#[derive(Clone, Debug, Default)]
pub struct TenantChange {
    pub name: Option<String>,
    pub recording: Option<bool>,
    pub customer_term: Option<Term>,
    pub training_term: Option<Term>,
    pub cdr_term: Option<Term>,
}

/// One class's key of a recording or a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrapRow {
    pub class: Class,
    pub path: TimePath,
    /// A whole second.
    pub expires_at: Timestamp,
    /// `None` once it was nulled: after the term, an erasure or a deletion.
    pub sealed: Option<[u8; WRAP_LEN]>,
}

/// A call detail record: sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRow {
    pub id: CallId,
    /// `None` once it was nulled.
    pub blob: Option<Vec<u8>>,
    /// Length of the text in the blob, bound into its wraps.
    pub text_len: u64,
    pub wraps: Vec<WrapRow>,
}

/// Search tokens of a recording; nulled with its last wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchTokens {
    pub a_number: Option<[u8; 16]>,
    pub b_number: Option<[u8; 16]>,
    pub call_id: Option<[u8; 16]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    pub id: RecordingId,
    pub tenant: TenantNumber,
    /// As stored; [`State::Expiring`] is never stored but told by [`RingMark::is_dying`].
    pub state: State,
    pub completeness: Completeness,
    pub received_at: Timestamp,
    /// The last instant that changed it: begun, finished, stored, deleted, erased or shredded.
    pub changed_at: Timestamp,
    /// Plaintext bytes; `None` while receiving.
    pub plain_len: Option<u64>,
    /// The object that holds it, or that is being made for it.
    pub object: ObjectId,
    /// Bytes of the object; `None` while receiving.
    pub sealed_len: Option<u64>,
    /// Digest of the object; `None` while receiving.
    pub digest: Option<[u8; 32]>,
    /// Sealed name and media type; `None` once it was nulled.
    pub label: Option<Vec<u8>>,
    /// Ascending by class.
    pub wraps: Vec<WrapRow>,
    pub call: Option<CallRow>,
    /// Of a resumable upload, also after its end.
    pub resume: Option<Resume>,
    /// The replica whose spool has what the object store has not, or may have: only there it can grow. `None`: it is gone,
    /// or complete and stored, or free to be entrusted.
    pub holder: Option<ReplicaName>,
}

/// Until when a resumable upload may be continued, and how long it will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    pub until: Timestamp,
    /// Bytes of the whole recording; `None` while the sender does not know.
    pub declared_len: Option<u64>,
}

impl Recording {
    /// The row as [`Catalog::finish`] leaves it.
    pub fn finished(mut self, finished: Finished) -> Recording {
        for (class, sealed) in finished.wraps {
            for wrap in self.wraps.iter_mut().filter(|wrap| wrap.class == class) {
                wrap.sealed = Some(sealed);
            }
        }
        Recording {
            state: finished.state,
            completeness: finished.completeness,
            changed_at: finished.changed_at,
            plain_len: Some(finished.plain_len),
            object: finished.object,
            sealed_len: Some(finished.sealed_len),
            digest: Some(finished.digest),
            label: finished.label.or(self.label),
            holder: Some(finished.holder)
                .filter(|_| finished.state != State::Stored || finished.completeness != Completeness::Complete),
            ..self
        }
    }
}

/// Everything that is known before the first byte of a body is accepted.
#[derive(Clone, Debug)]
pub struct NewRecording {
    pub id: RecordingId,
    pub tenant: TenantNumber,
    pub received_at: Timestamp,
    pub object: ObjectId,
    pub name_token: Option<[u8; 16]>,
    pub tokens: SearchTokens,
    pub label: Vec<u8>,
    pub wraps: Vec<WrapRow>,
    pub call: Option<CallRow>,
    pub resume: Option<Resume>,
    pub holder: ReplicaName,
}

/// Everything that is known after the last byte.
#[derive(Clone, Debug)]
pub struct Finished {
    pub id: RecordingId,
    /// [`State::Spooled`] or [`State::Stored`].
    pub state: State,
    /// [`Completeness::Complete`] or [`Completeness::Partial`].
    pub completeness: Completeness,
    pub plain_len: u64,
    pub object: ObjectId,
    pub sealed_len: u64,
    pub digest: [u8; 32],
    /// The label anew, where the bytes told something that their sender did not; `None` leaves it.
    pub label: Option<Vec<u8>>,
    /// The audio wraps again, bound to what is known now: same classes and paths.
    pub wraps: Vec<(Class, [u8; WRAP_LEN])>,
    pub changed_at: Timestamp,
    /// Who has received it.
    pub holder: ReplicaName,
}

/// What a listing asks for; newest first by `received_at`, then by id.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub tenant: Option<TenantNumber>,
    /// Recordings with a wrap of this class; with `alive_at`, one that ends after it.
    pub class: Option<Class>,
    /// `received_at` at or after.
    pub from: Option<Timestamp>,
    /// `received_at` before.
    pub to: Option<Timestamp>,
    /// `None`: every state that is not gone. As stored: never [`State::Expiring`].
    pub state: Option<State>,
    /// Recordings with one of these tokens as A- or B-number.
    pub numbers: Option<Vec<[u8; 16]>>,
    pub call_ids: Option<Vec<[u8; 16]>>,
    /// Only recordings with an audio wrap that ends after this instant, for listings of what is not gone.
    pub alive_at: Option<Timestamp>,
    /// Where the page before ended.
    pub after: Option<(Timestamp, RecordingId)>,
    pub limit: u32,
}

/// How a recording ends before its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Wraps, label, blob and tokens are nulled; the keys live on until the term ends.
    Delete,
    /// As [`Ending::Delete`], and a puncture of every path is queued for the next run.
    Erase,
}

/// What the catalog knows of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingMark {
    /// No ring below this generation may be loaded. 0: there was never a ring.
    pub generation: u64,
    pub floor: Epoch,
    /// A run that has announced what it will destroy and has not finished.
    pub run: Option<Run>,
}

impl RingMark {
    /// Whether a wrap's key is destroyed or announced to be: reads are refused.
    pub fn is_dying(&self, path: &TimePath) -> bool {
        path.epoch < self.run.as_ref().map_or(self.floor, |run| run.floor.max(self.floor))
    }
}

/// One advance of the ring, from announcement to receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub id: u64,
    pub started_at: Timestamp,
    pub from_generation: u64,
    pub floor_before: Epoch,
    pub floor: Epoch,
    /// Punctures up to and including this one belong to the run.
    pub last_puncture: u64,
    /// Commitment to the ring file before.
    pub ring_before: [u8; 32],
    /// Set by [`Catalog::commit_generation`].
    pub committed: Option<CommittedGeneration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedGeneration {
    pub generation: u64,
    pub ring_after: [u8; 32],
}

/// What a run announces before it touches a key.
#[derive(Clone, Debug)]
pub struct Announcement {
    pub started_at: Timestamp,
    pub from_generation: u64,
    pub floor_before: Epoch,
    pub floor: Epoch,
    pub last_puncture: u64,
    pub ring_before: [u8; 32],
}

/// A key that is to be destroyed on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedPuncture {
    /// Ascending in the order of requests.
    pub id: u64,
    pub target: Puncture,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Puncture {
    Path { path: TimePath, tenant: TenantNumber, subject: SubjectId, class: Class },
    Tenant(TenantNumber),
}

/// A row that a guard stumbled over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardedRow {
    pub subject: SubjectId,
    pub epoch: Epoch,
    pub received_at: Timestamp,
    pub is_held: bool,
}

/// One wrap that died in a run, as a receipt counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassCount {
    pub class: Class,
    pub count: u64,
    pub first_epoch: Epoch,
    pub last_epoch: Epoch,
}

/// A signed receipt of destruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptRow {
    pub tenant: TenantNumber,
    pub run: u64,
    /// From 1, without gaps, per tenant.
    pub number: u64,
    /// The receipt itself: a JWS in compact form (RFC 7515).
    pub jws: String,
}

/// One server that holds a ring in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub name: ReplicaName,
    pub generation: u64,
    /// Where the others reach it; `None`: nowhere.
    pub url: Option<String>,
    /// The last sign of life that it gave itself.
    pub seen_at: Option<Timestamp>,
    /// Whether its lease is held.
    pub is_alive: bool,
}

/// What lies in one replica's spool and not in the object store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldCount {
    /// Counted up to [`NEXT_SPOOLED`].
    pub recordings: u64,
    /// When the first of those came.
    pub oldest: Option<Timestamp>,
}

/// Counts for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub tenants: u64,
    /// By state as stored.
    pub recordings: Vec<(State, u64)>,
    /// Plaintext bytes of what is stored or spooled.
    pub live_bytes: u64,
    pub objects_to_sweep: u64,
    pub punctures_queued: u64,
    /// Since when the longest has waited in the spool, of the [`NEXT_SPOOLED`] that are sent on first.
    pub oldest_spooled: Option<Timestamp>,
    /// The earliest end of a wrap that has not been shredded.
    pub next_expiry: Option<Timestamp>,
}

impl Counts {
    /// How long the oldest key whose term is over has outlived it, at most; `floor`: everything that ended before is
    /// destroyed, also where a restored catalog has not written that down yet.
    pub fn shred_lag_s(&self, floor: Epoch, now: Timestamp) -> i64 {
        let oldest = self.next_expiry.map(|next| next.max(floor.start()));
        oldest.map_or(0, |oldest| now.as_second() - oldest.as_second()).max(0)
    }

    /// Recordings in a state.
    pub fn count(&self, state: State) -> u64 {
        self.recordings.iter().find(|(known, _)| *known == state).map_or(0, |(_, count)| *count)
    }
}

/// An outage may leave millions of recordings in the spool; their age is asked for all the time.
pub const NEXT_SPOOLED: u32 = 1_000;

/// Held while a run works or a server lives; ends when it is dropped or the process dies.
pub type Lease = Box<dyn Send + Sync>;

/// The verbs; those of who may do what are [`Access`], those of the audit trail [`Trails`]. See the module for what `Ok` and
/// an error mean.
#[async_trait]
pub trait Catalog: Access + Trails {
    // Tenants.

    /// Gives the next tenant number, from 1, never one that was given before.
    async fn create_tenant(&self, tenant: NewTenant) -> Result<Tenant>;
    async fn tenant(&self, slug: &Slug) -> Result<Option<Tenant>>;
    async fn tenant_by_number(&self, number: TenantNumber) -> Result<Option<Tenant>>;
    /// Ascending by slug, offboarded ones too.
    async fn tenants(&self) -> Result<Vec<Tenant>>;
    async fn set_tenant(&self, number: TenantNumber, change: TenantChange) -> Result<Tenant>;
    /// Marks the tenant, revokes its tokens and queues the puncture of its key. Done before: changes nothing.
    async fn offboard_tenant(&self, number: TenantNumber, at: Timestamp) -> Result<()>;

    // Recordings.

    /// Writes the row in state `receiving`, with its wraps and its call. Refused with `NameTaken` while a recording of the
    /// tenant with this name token is not gone, with `PathTaken` when a wrap's path belongs to another, with `WrongState`
    /// for an offboarded tenant. A call that the tenant has already is joined as it is: what comes with it is not written.
    async fn begin(&self, recording: NewRecording) -> Result<()>;
    /// From `receiving` (or from `spooled`/`stored` and partial, for a continued upload) to spooled or stored. When the
    /// object is another than before, the one before is queued for the sweep. What is then complete and stored is held by
    /// nobody any more.
    /// `WrongState` when it was deleted, erased or shredded meanwhile, or another replica holds it or nobody does: the new
    /// object is then queued for the sweep, if it is not the one on which the row rests.
    /// `WrongState` without a trace when it is complete already, or when a wrap that is not nulled is left out.
    async fn finish(&self, finished: Finished) -> Result<()>;
    /// The spooled object has reached the object store. `WrongState` when it is not spooled any more, or the object is not
    /// the recording's: one that nobody needs is then queued for the sweep. What is complete is then held by nobody; what is
    /// partial stays with its holder, who may be about to make it grow.
    async fn stored(&self, id: RecordingId, object: ObjectId, at: Timestamp) -> Result<()>;
    /// Sets until when an upload may be continued; `None` ends that. `WrongState` for a recording that is gone.
    async fn set_resume(&self, id: RecordingId, resume: Option<Resume>) -> Result<()>;
    /// Removes a row that is still `receiving`, of which nothing is kept; its object is queued for the sweep.
    async fn abandon(&self, id: RecordingId) -> Result<()>;
    /// Gone ones too. With a tenant: `None` for another tenant's.
    async fn recording(&self, tenant: Option<TenantNumber>, id: RecordingId) -> Result<Option<Recording>>;
    /// The recording that has one of these name tokens and is not gone.
    async fn recording_by_name(&self, tenant: TenantNumber, tokens: &[[u8; 16]]) -> Result<Option<Recording>>;
    async fn list(&self, listing: Listing) -> Result<Vec<Recording>>;
    /// Ascending by id, those in this state after `after`; with a holder: those that it holds. For recovery and verification.
    async fn in_state(
        &self,
        state: State,
        holder: Option<&ReplicaName>,
        after: Option<RecordingId>,
        limit: u32,
    ) -> Result<Vec<Recording>>;
    /// Gives a partial recording that nobody holds to a replica, so that it can grow there; of many that ask at once one
    /// gets it. Tells who holds it then. `WrongState` for one that is not partial, or gone.
    async fn entrust(&self, id: RecordingId, replica: &ReplicaName) -> Result<ReplicaName>;
    /// Ends a recording before its term; gives the row as it was. `WrongState` when it is held, or gone already, but for
    /// an erasure of a deleted one, which is carried out. `receiving` counts as alive. The call's data goes with the last
    /// of its recordings.
    async fn end(&self, id: RecordingId, ending: Ending, at: Timestamp) -> Result<Recording>;

    // The ring and expiry.

    async fn ring_mark(&self) -> Result<RingMark>;
    /// Sets the first generation; `WrongState` when there is one.
    async fn set_first_generation(&self, generation: u64, floor: Epoch) -> Result<()>;
    /// `None`: another run holds it. Ends with its holder's process, however that dies.
    async fn lease_expiry(&self) -> Result<Option<Lease>>;
    /// Queued punctures that no finished run has carried out, ascending.
    async fn punctures(&self) -> Result<Vec<QueuedPuncture>>;
    /// A row that an advance to `floor` must not destroy: held, or received after `young_after`, and not erased or deleted.
    async fn guarded_row(&self, floor: Epoch, young_after: Timestamp) -> Result<Option<GuardedRow>>;
    /// TXN A. From here on, everything below the floor is refused. An announcement before that never was committed is
    /// replaced.
    async fn announce(&self, announcement: Announcement) -> Result<Run>;
    /// TXN B: the watermark. Never lowers the generation.
    async fn commit_generation(&self, run: u64, committed: CommittedGeneration) -> Result<()>;
    /// Without a run: the catalog was restored from before the ring that was found. Never lowers anything.
    async fn catch_up(&self, generation: u64, floor: Epoch) -> Result<()>;
    /// TXN C, at most `limit` wraps a call: nulls what died in the run, marks rows shredded, queues their objects for the
    /// sweep. Returns how many wraps it did; 0 when there is nothing left. Held recordings and their calls stay as they
    /// are. `WrongState` for a run that is not committed.
    async fn shred(&self, run: u64, limit: u32, at: Timestamp) -> Result<u64>;
    /// Tenants in which something died in the run, ascending.
    async fn run_tenants(&self, run: u64) -> Result<Vec<TenantNumber>>;
    /// What died in the run, by class, ascending.
    async fn run_classes(&self, run: u64, tenant: TenantNumber) -> Result<Vec<ClassCount>>;
    /// Recordings whose last key died in the run with the digest of their object, ascending by id, after `after`.
    async fn run_recordings(
        &self,
        run: u64,
        tenant: TenantNumber,
        after: Option<RecordingId>,
        limit: u32,
    ) -> Result<Vec<(RecordingId, Option<[u8; 32]>)>>;
    /// The end of TXN C: writes the receipts, marks the run's punctures done, and closes the run. Finished before: changes
    /// nothing. `WrongState` for a run that is not committed, or a receipt that is not the tenant's next.
    async fn finish_run(&self, run: u64, receipts: Vec<ReceiptRow>) -> Result<()>;
    /// Ascending by number.
    async fn receipts(&self, tenant: TenantNumber) -> Result<Vec<ReceiptRow>>;
    async fn last_receipt(&self, tenant: TenantNumber) -> Result<Option<ReceiptRow>>;

    // The sweep.

    async fn objects_to_sweep(&self, limit: u32) -> Result<Vec<ObjectId>>;
    async fn swept(&self, objects: &[ObjectId]) -> Result<()>;

    // Replicas.

    /// Puts a server on the list, where others reach it at `url`. It lives until the lease is dropped or its process dies,
    /// however it dies. `WrongState`: one of this name lives.
    async fn enter_replica(&self, replica: &ReplicaName, url: Option<&str>) -> Result<Lease>;
    /// A sign of life, which tells the generation that a server has in memory.
    async fn set_replica_generation(&self, replica: &ReplicaName, generation: u64, at: Timestamp) -> Result<()>;
    /// The servers that live, and the dead ones that hold something, ascending by name; generation 0 before the first is
    /// told.
    async fn replicas(&self) -> Result<Vec<Replica>>;
    /// What `receiving` and `spooled` recordings a replica holds.
    async fn held(&self, replica: &ReplicaName) -> Result<HeldCount>;
    /// Gives a replica what is not in the store and has no holder: it was begun before holders were written down.
    async fn adopt(&self, replica: &ReplicaName) -> Result<u64>;
    /// Frees what a replica holds and the store has: its spool has nothing more of it.
    async fn release(&self, replica: &ReplicaName) -> Result<u64>;
    /// Takes a dead server off the list, and frees what it held and the store has. `WrongState` while it lives, or holds
    /// something that the store has not. Not on the list: changes nothing.
    async fn forget_replica(&self, replica: &ReplicaName) -> Result<()>;

    // The house.

    /// The time of the backend's machine; `None` where that is this process's own.
    async fn now(&self) -> Result<Option<Timestamp>>;
    async fn counts(&self) -> Result<Counts>;
    /// What the backend is and how it is set, for `status`.
    fn describe(&self) -> String;
}

pub type SharedCatalog = Arc<dyn Catalog>;
