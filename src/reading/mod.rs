//! Reading at rest: a recording's row becomes an opened object, whose bytes come out authenticated or not at all.
//!
//! row -> unwrap -> fetch sealed chunks, from the store or the spool -> open
//!
//! A recording that is still arriving is read by its whole chunks ([`arriving`]); [`live`] knows which are.
//!
//! Playback, verification and continued uploads read through here; it is the only way from sealed bytes to plaintext.
//!
//! # Promise
//! Bytes that come out are the ones that were recorded, at the place that was asked for. A row or an object that was edited,
//! cut, extended, swapped or mixed up gives [`ReadError::Integrity`], and nothing derived from it.
//! # Cancel safety
//! Dropping anything in here costs nothing and leaves nothing; the data key goes with it.

pub mod arriving;
pub mod life;
pub mod live;

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::catalog::{Recording, RingMark, WrapRow};
use crate::crypto::CryptoError;
use crate::crypto::blob;
use crate::crypto::header::{Geometry, HEADER_LEN};
use crate::crypto::keys::{DataKey, IndexField, KekScope};
use crate::crypto::stream::Opener;
use crate::crypto::wrap::Binding;
use crate::keyring::{Keyring, KeyringError};
use crate::model::call::e164;
use crate::model::range::ByteRange;
use crate::model::{Class, ObjectId, State, SubjectId, TenantNumber, Timestamp};
use crate::spool::{SegmentName, Spool, SpoolError};
use crate::store::{Store, StoreError, StoredObject};

/// Sealed bytes fetched at once: 16 chunks of 16 KiB and their tags.
pub const WINDOW_LEN: u64 = 16 * (16 << 10) + 16 * 16;

#[derive(Debug, Error)]
pub enum ReadError {
    /// Its keys were destroyed.
    #[error("the recording's key was destroyed")]
    Gone,
    /// The recording has no key for this class.
    #[error("the recording is not tagged {0}")]
    NotTagged(Class),
    /// Stored bytes are not what was stored: the event that a person must look at.
    #[error("integrity: {0}")]
    Integrity(String),
    #[error("the recording cannot be read at the moment")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where sealed bytes are read from.
#[derive(Clone)]
pub struct Reader {
    pub keyring: Arc<Keyring>,
    pub store: Store,
    pub spool: Spool,
}

/// One recording, opened for one session.
pub struct Opened {
    opener: Opener,
    source: Source,
}

/// Where one object's sealed bytes are.
struct Source {
    name: SegmentName,
    /// Where the row says that it has not reached the store yet.
    spool: Option<Spool>,
    object: StoredObject,
}

impl Reader {
    /// The recording's data key, through the wrap of `class`.
    pub fn data_key(&self, recording: &Recording, class: Class) -> Result<DataKey, ReadError> {
        let wrap = recording.wraps.iter().find(|wrap| wrap.class == class).ok_or(ReadError::NotTagged(class))?;
        let binding = Binding {
            expires_at: wrap.expires_at,
            object: recording.object,
            plain_len: recording.plain_len,
            completeness: recording.completeness,
        };
        self.unwrap(recording.tenant, recording.id.into(), wrap, &binding)
    }

    /// The data key through whichever audio wrap is alive.
    pub fn any_data_key(&self, recording: &Recording) -> Result<DataKey, ReadError> {
        let alive = recording
            .wraps
            .iter()
            .find(|wrap| wrap.sealed.is_some() && self.keyring.is_alive(recording.tenant, &wrap.path));
        self.data_key(recording, alive.ok_or(ReadError::Gone)?.class)
    }

    /// The call's data through the wrap of `class` (cdr or finance). `None`: there is none, or that term is over.
    pub fn call_data(
        &self,
        recording: &Recording,
        class: Class,
        mark: &RingMark,
        now: Timestamp,
    ) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, ReadError> {
        let Some(call) = &recording.call else { return Ok(None) };
        let (Some(blob), Some(wrap)) = (&call.blob, call.wraps.iter().find(|wrap| wrap.class == class)) else {
            return Ok(None);
        };
        let lives = wrap.sealed.is_some() && self.keyring.is_alive(recording.tenant, &wrap.path);
        if !lives || life::has_ended(wrap, mark, now) {
            return Ok(None);
        }
        let subject = call.id.into();
        let key = self.unwrap(recording.tenant, subject, wrap, &call_binding(wrap, call.text_len))?;
        blob::open_blob(&key, recording.tenant, subject, blob).map(Some).map_err(damaged)
    }

    /// The sealed label's text.
    pub fn label(
        &self,
        recording: &Recording,
        data_key: &DataKey,
    ) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, ReadError> {
        let Some(label) = &recording.label else { return Ok(None) };
        let key = data_key.label_key(recording.tenant, recording.id);
        blob::open_blob(&key, recording.tenant, recording.id.into(), label).map(Some).map_err(damaged)
    }

    /// The tokens under which living recordings with this number, as A or B, are found.
    pub fn number_tokens(
        &self,
        tenant: TenantNumber,
        now: Timestamp,
        number: &str,
    ) -> Result<Vec<[u8; 16]>, ReadError> {
        let fields = [IndexField::ANumber, IndexField::BNumber];
        self.keyring.search_tokens(tenant, now, &fields, &e164(number)).map_err(not_searched)
    }

    /// The tokens under which living recordings with this call id are found.
    pub fn call_id_tokens(
        &self,
        tenant: TenantNumber,
        now: Timestamp,
        call_id: &str,
    ) -> Result<Vec<[u8; 16]>, ReadError> {
        self.keyring.search_tokens(tenant, now, &[IndexField::CallId], call_id).map_err(not_searched)
    }

    /// Opens the recording's object: fetches its header and checks it against the key and the row.
    pub async fn open(&self, recording: &Recording, data_key: &DataKey) -> Result<Opened, ReadError> {
        let sealed_len = recording.sealed_len.ok_or(ReadError::Integrity("the row has no length".into()))?;
        let name = SegmentName::whole(recording.id, recording.object);
        let spool = (recording.state == State::Spooled).then(|| self.spool.clone());
        let object = self.store.object(recording.object, sealed_len);
        let source = Source { name, spool, object };
        let header = source.read(0, HEADER_LEN as u64).await?;
        let opener = Opener::new(data_key, recording.tenant, recording.id, &header, sealed_len).map_err(damaged)?;
        if Some(opener.geometry().plain_len()) != recording.plain_len {
            return Err(ReadError::Integrity("the row's two lengths contradict each other".into()));
        }
        Ok(Opened { opener, source })
    }

    fn unwrap(
        &self,
        tenant: TenantNumber,
        subject: SubjectId,
        wrap: &WrapRow,
        binding: &Binding,
    ) -> Result<DataKey, ReadError> {
        let sealed = wrap.sealed.ok_or(ReadError::Gone)?;
        let scope = KekScope { class: wrap.class, tenant, subject, path: wrap.path };
        self.keyring.unwrap(&scope, &sealed, binding).map_err(|error| match error {
            KeyringError::Gone => ReadError::Gone,
            KeyringError::Integrity(error) => ReadError::Integrity(format!("a wrap: {error}")),
            error => ReadError::Unavailable(error.into()),
        })
    }
}

/// What the wraps of a call's blob are bound to: it has no object, and is complete when it is written.
pub fn call_binding(wrap: &WrapRow, text_len: u64) -> Binding {
    Binding {
        expires_at: wrap.expires_at,
        object: ObjectId::NONE,
        plain_len: Some(text_len),
        completeness: crate::model::Completeness::Complete,
    }
}

impl Opened {
    pub fn geometry(&self) -> Geometry {
        self.opener.geometry()
    }

    /// The plaintext of the window that holds `offset`, from `offset` on and at most to the end of `range`: whole chunks are
    /// fetched and authenticated, then cut. Empty only past the end.
    pub async fn window(&self, offset: u64, range: ByteRange) -> Result<Vec<Bytes>, ReadError> {
        let geometry = self.geometry();
        let (first, end) = (geometry.chunk_of(offset), range.last() + 1);
        let last = geometry.chunk_of(range.last()).min(first + geometry.chunks_in(WINDOW_LEN) - 1);
        let mut sealed = self.fetch(first, last).await?;
        let mut plain = Vec::with_capacity((last - first + 1) as usize);
        for index in first..=last {
            let mut chunk = sealed.split_to(geometry.span(index, index).len() as usize);
            self.opener.open_chunk(index, &mut chunk).map_err(damaged)?;
            let start = geometry.chunk_start(index);
            let cut = |at: u64| at.saturating_sub(start).min(chunk.len() as u64) as usize;
            let (from, to) = (cut(offset), cut(end));
            plain.push(chunk.freeze().slice(from..to));
        }
        Ok(plain)
    }

    /// Authenticates every chunk, the last and empty one too; gives the number of bytes after each window.
    pub async fn verify(&self, mut progress: impl FnMut(u64)) -> Result<(), ReadError> {
        let geometry = self.geometry();
        let (last, step) = (geometry.chunk_count() - 1, geometry.chunks_in(WINDOW_LEN));
        for first in (0..=last).step_by(step as usize) {
            let until = last.min(first + step - 1);
            let mut sealed = self.fetch(first, until).await?;
            for index in first..=until {
                let mut chunk = sealed.split_to(geometry.span(index, index).len() as usize);
                self.opener.open_chunk(index, &mut chunk).map_err(damaged)?;
                progress(chunk.len() as u64);
            }
        }
        Ok(())
    }

    async fn fetch(&self, first: u64, last: u64) -> Result<BytesMut, ReadError> {
        let span = self.geometry().span(first, last);
        self.source.read(span.start, span.len()).await
    }
}

impl Source {
    async fn read(&self, start: u64, len: u64) -> Result<BytesMut, ReadError> {
        // Not in the spool any more: it was sent on while it was read, and the store has it.
        if let Some(spool) = &self.spool
            && let Some(bytes) = self.read_spool(spool.clone(), start, len as usize).await?
        {
            return Ok(bytes);
        }
        let read = self.object.read(start..start + len).await;
        // The answer is ours alone: it is opened in place, without a copy.
        read.map(|bytes| bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))).map_err(not_read)
    }

    /// `None`: the segment is not in the spool.
    async fn read_spool(&self, spool: Spool, start: u64, len: usize) -> Result<Option<BytesMut>, ReadError> {
        let name = self.name;
        let read = tokio::task::spawn_blocking(move || spool.read(name, start, len)).await;
        match read.map_err(|panic| ReadError::Unavailable(panic.into()))? {
            Ok(bytes) => Ok(Some(bytes)),
            Err(SpoolError::Disk(error)) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(SpoolError::Disk(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(ReadError::Integrity("a spooled segment is shorter than its row says".into()))
            }
            Err(error) => Err(ReadError::Unavailable(error.into())),
        }
    }
}

fn not_searched(error: KeyringError) -> ReadError {
    match error {
        KeyringError::Gone => ReadError::Gone,
        error => ReadError::Unavailable(error.into()),
    }
}

/// A missing object under a live row is damage, not absence.
fn not_read(error: StoreError) -> ReadError {
    match error {
        StoreError::Missing => ReadError::Integrity("the object is missing from the store".into()),
        StoreError::WrongLength(len) => {
            ReadError::Integrity(format!("the object is {len} bytes long, not what its row says"))
        }
        error => ReadError::Unavailable(error.into()),
    }
}

fn damaged(error: CryptoError) -> ReadError {
    ReadError::Integrity(error.to_string())
}
