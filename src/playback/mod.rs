//! Playback: a sealed recording becomes a stream of authenticated bytes.
//!
//! locate -> authorise -> unwrap -> fetch sealed chunks (256 KiB windows, bounded read-ahead) -> open -> body
//!
//! # Promise
//! Every byte that comes out was authenticated at its place. From the second of `expires_at` nothing comes out: a session
//! that has not begun is refused, one that runs is cut.
//! # Invariants
//! Nothing opened is cached. The data key lives in the session, and memory for one session is two windows, whatever is asked.
//!
//! A recording that is still arriving plays as far as its whole chunks reach; [`Playback::follow`] goes on until it ends.
//! # Cancel safety
//! Dropping the stream costs nothing; browsers do it a dozen times per seek.

mod follow;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};

use crate::catalog::{CatalogError, Recording, RingMark, SharedCatalog};
use crate::keyring::Keyring;
use crate::media::wav::{self, SizePatches};
use crate::model::range::ByteRange;
use crate::model::{
    Class, Clock, Error, Problem, RecordingId, ReplicaName, Result, State, TenantNumber, TimePath, Timestamp,
};
use crate::reading::arriving::Arriving;
use crate::reading::live::{Live, Reach};
use crate::reading::{Opened, ReadError, Reader, WINDOW_LEN, life};
use crate::timing::Timing;

/// Windows that are fetched before they are asked for.
const READ_AHEAD: usize = 1;

/// Counts since the start, for metrics.
#[derive(Default)]
pub struct PlaybackStats {
    pub served_bytes: AtomicU64,
    pub sessions: AtomicU64,
    pub integrity_events: AtomicU64,
    /// From a request's head to the first bytes of an answer that has some.
    pub first_byte: Timing,
}

/// The verb.
#[derive(Clone)]
pub struct Playback {
    /// This server: what others hold in their spools is not to be read here.
    pub replica: ReplicaName,
    pub catalog: SharedCatalog,
    pub reader: Reader,
    pub clock: Arc<dyn Clock>,
    pub live: Live,
    pub stats: Arc<PlaybackStats>,
}

/// A recording that was found, and may be read at this moment.
pub struct Located {
    pub recording: Recording,
    pub mark: RingMark,
}

/// One recording, opened for one listener.
pub struct Session {
    content: Content,
    recording: RecordingId,
    tenant: TenantNumber,
    path: TimePath,
    expires_at: Timestamp,
    class: Class,
    etag: String,
    name: Option<String>,
    media_type: String,
}

/// Which bytes a listener gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With the sizes in a streamed WAV's header as they turned out to be.
    Playable,
    /// As they came.
    Raw,
}

/// Where a session's bytes come from.
#[derive(Clone)]
enum Content {
    Finished(Arc<Opened>),
    /// As far as whole chunks had come when it was opened.
    Arriving(Arc<Arriving>),
    /// It was taken back while it was followed, or its upload was interrupted.
    Gone,
}

/// Why a stream ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    #[error("the recording's term ended while it was played")]
    Ended,
    #[error("whoever listens may not any more")]
    Withdrawn,
    #[error(transparent)]
    Read(ReadError),
}

impl Playback {
    /// The tenant's recording; 404 for another tenant's, 410 for one that is gone or has ended.
    pub async fn locate(&self, tenant: TenantNumber, id: RecordingId) -> Result<Located> {
        let recording = self.catalog.recording(Some(tenant), id).await.map_err(not_found_out)?;
        let Some(recording) = recording else {
            return Err(Error::new(Problem::NotFound, "this tenant has no such recording"));
        };
        let mark = self.catalog.ring_mark().await.map_err(not_found_out)?;
        let state = self.reader.state_at(&recording, &mark, self.clock.now());
        if state.is_gone() {
            let problem = life::gone(state);
            return Err(Error::new(problem, format!("{}; its state is '{state}'", problem.title())));
        }
        Ok(Located { recording, mark })
    }

    /// The other replica in whose spool a located recording lies.
    pub fn held_elsewhere<'a>(&self, located: &'a Located) -> Option<&'a ReplicaName> {
        let recording = &located.recording;
        let is_spooled = matches!(recording.state, State::Receiving | State::Spooled);
        recording.holder.as_ref().filter(|holder| is_spooled && **holder != self.replica)
    }

    /// Opens a located recording through the wrap of `class`; one that is arriving only where there is something to play.
    pub async fn open(&self, located: &Located, class: Class) -> Result<Session> {
        let session = self.open_to_follow(located, class).await?;
        if session.is_arriving() && session.plain_len() == 0 {
            let detail = "the recording is still being received, and there is no whole chunk of it yet (16 KiB); try again \
                          soon, or follow it with ?follow=1";
            return Err(Error::new(Problem::StillReceiving, detail));
        }
        Ok(session)
    }

    /// Opens a located recording of which nothing may have come yet.
    pub async fn open_to_follow(&self, located: &Located, class: Class) -> Result<Session> {
        let Located { recording, mark } = located;
        let wrap = recording.wraps.iter().find(|wrap| wrap.class == class);
        let wrap = wrap.ok_or_else(|| {
            Error::new(Problem::NotFound, format!("the recording is not tagged '{class}'; see its 'classes'"))
        })?;
        if life::has_ended(wrap, mark, self.clock.now()) {
            return Err(Error::new(Problem::Ended, format!("the term of its class '{class}' has ended")));
        }
        let reach = match recording.plain_len {
            Some(_) => None,
            None => Some(self.reach(recording.id)?),
        };
        let opened = async {
            let data_key = self.reader.data_key(recording, class)?;
            let (name, media_type) = self.reader.name_and_media_type(recording, &data_key)?;
            let content = match &reach {
                None => Content::Finished(Arc::new(self.reader.open(recording, &data_key).await?)),
                Some(reach) => Content::Arriving(Arc::new(self.reader.arriving(recording, &data_key, reach)?)),
            };
            Ok((content, name, media_type))
        };
        let (content, name, media_type) = opened.await.map_err(|error| self.not_opened(recording.id, error))?;
        self.stats.sessions.fetch_add(1, Relaxed);
        let etag = match &content {
            Content::Finished(_) => recording.object.to_string(),
            Content::Arriving(arriving) => format!("{}-{}", recording.object, arriving.plain_len()),
            Content::Gone => unreachable!("it was opened just now"),
        };
        Ok(Session {
            content,
            recording: recording.id,
            tenant: recording.tenant,
            path: wrap.path,
            expires_at: wrap.expires_at,
            class,
            etag,
            name,
            media_type: media_type.unwrap_or_else(|| "application/octet-stream".into()),
        })
    }

    /// The bytes of a range. The first window is authenticated before this returns, so that damage at the beginning is an
    /// answer and not a broken one.
    pub async fn stream(
        &self,
        session: &Session,
        range: ByteRange,
        form: Form,
    ) -> Result<impl Stream<Item = std::result::Result<Bytes, Cut>> + Send + use<>> {
        let content = session.content.clone();
        let patches = self.patches(session, range, form).await?;
        let first = content.window(range.first(), range).await.map_err(|e| self.not_opened(session.recording, e))?;
        let first_len: u64 = first.iter().map(|piece| piece.len() as u64).sum();
        let rest = futures::stream::iter(content.window_starts(range.first() + first_len, range));
        let rest = rest
            .map(move |start| {
                let content = content.clone();
                async move { content.window(start, range).await }
            })
            .buffered(1 + READ_AHEAD);
        let pieces = futures::stream::iter([Ok(first)]).chain(rest).map(split).flatten();
        let watch = self.watch(session);
        let mut offset = range.first();
        let watched = pieces.map(move |piece| {
            let piece = piece.map(|bytes| {
                let start = offset;
                offset += bytes.len() as u64;
                patched(bytes, start, &patches)
            });
            watch.pass(piece)
        });
        // The first error ends the stream.
        Ok(watched.scan(false, |failed, piece| {
            let item = (!*failed).then(|| {
                *failed = piece.is_err();
                piece
            });
            futures::future::ready(item)
        }))
    }

    /// What a streamed WAV's header should say. Only the first bytes can be wrong: a range behind them costs nothing.
    async fn patches(&self, session: &Session, range: ByteRange, form: Form) -> Result<SizePatches> {
        if form == Form::Raw || range.first() >= wav::HEAD_LEN as u64 {
            return Ok(SizePatches::default());
        }
        let len = session.plain_len();
        let Some(head) = ByteRange::new(0, (wav::HEAD_LEN as u64).min(len).saturating_sub(1), len) else {
            return Ok(SizePatches::default());
        };
        let head = session.content.window(0, head).await.map_err(|e| self.not_opened(session.recording, e))?;
        Ok(SizePatches::of(&head.concat(), len))
    }

    fn watch(&self, session: &Session) -> Watch {
        Watch {
            keyring: self.reader.keyring.clone(),
            tenant: session.tenant,
            clock: self.clock.clone(),
            stats: self.stats.clone(),
            recording: session.recording,
            path: session.path,
            expires_at: session.expires_at,
        }
    }

    /// How far a recording has come that is being received; 409 where nobody is at work on it here.
    fn reach(&self, recording: RecordingId) -> Result<Reach> {
        let reach = self.live.follow(recording).map(|reach| reach.borrow().clone());
        let detail =
            "the recording's upload was interrupted and waits for its sender, or for recovery; try again later";
        reach.ok_or_else(|| Error::new(Problem::StillReceiving, detail))
    }

    fn not_opened(&self, recording: RecordingId, error: ReadError) -> Error {
        match error {
            ReadError::Gone => Error::new(Problem::Ended, "the recording's key was destroyed"),
            ReadError::Integrity(_) => {
                raise(&self.stats, recording, &error);
                Error::new(Problem::Integrity, "the stored recording is damaged; nothing of it was served")
                    .because(error)
            }
            ReadError::NotTagged(class) => {
                Error::new(Problem::NotFound, format!("the recording is not tagged '{class}'"))
            }
            ReadError::Unavailable(_) => {
                Error::new(Problem::Unavailable, "the object store does not answer; try again").because(error)
            }
        }
    }
}

impl Session {
    /// What there is of it: all, or so far.
    pub fn plain_len(&self) -> u64 {
        match &self.content {
            Content::Finished(opened) => opened.geometry().plain_len(),
            Content::Arriving(arriving) => arriving.plain_len(),
            Content::Gone => 0,
        }
    }

    pub fn is_arriving(&self) -> bool {
        matches!(self.content, Content::Arriving(_))
    }

    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Strong: an object never changes, a recording that grew has another object, and each form is a version of its own.
    pub fn etag(&self, form: Form) -> String {
        match form {
            Form::Playable => format!("\"{}\"", self.etag),
            Form::Raw => format!("\"{}-raw\"", self.etag),
        }
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn media_type(&self) -> &str {
        &self.media_type
    }
}

/// Looks at every piece before it leaves.
struct Watch {
    keyring: Arc<Keyring>,
    tenant: TenantNumber,
    clock: Arc<dyn Clock>,
    stats: Arc<PlaybackStats>,
    recording: RecordingId,
    path: TimePath,
    expires_at: Timestamp,
}

impl Watch {
    fn pass(&self, piece: std::result::Result<Bytes, ReadError>) -> std::result::Result<Bytes, Cut> {
        if self.clock.now() >= self.expires_at || !self.keyring.is_alive(self.tenant, &self.path) {
            return Err(Cut::Ended);
        }
        match piece {
            Ok(bytes) => {
                self.stats.served_bytes.fetch_add(bytes.len() as u64, Relaxed);
                Ok(bytes)
            }
            Err(error) => {
                if matches!(error, ReadError::Integrity(_)) {
                    raise(&self.stats, self.recording, &error);
                }
                Err(Cut::Read(error))
            }
        }
    }
}

/// An integrity event: a person must look.
fn raise(stats: &PlaybackStats, recording: RecordingId, error: &ReadError) {
    stats.integrity_events.fetch_add(1, Relaxed);
    tracing::error!(event = "integrity", recording.id = %recording, %error, "a stored recording is damaged");
}

fn split(
    window: std::result::Result<Vec<Bytes>, ReadError>,
) -> impl Stream<Item = std::result::Result<Bytes, ReadError>> {
    let pieces = match window {
        Ok(pieces) => pieces.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    };
    futures::stream::iter(pieces)
}

impl Content {
    async fn window(&self, offset: u64, range: ByteRange) -> std::result::Result<Vec<Bytes>, ReadError> {
        match self {
            Content::Finished(opened) => opened.window(offset, range).await,
            Content::Arriving(arriving) => arriving.window(offset, range).await,
            Content::Gone => Err(interrupted()),
        }
    }

    /// Where the windows after the first begin: whole chunks from there on.
    fn window_starts(&self, next: u64, range: ByteRange) -> Vec<u64> {
        match self {
            Content::Finished(opened) => {
                let geometry = opened.geometry();
                let step = geometry.chunks_in(WINDOW_LEN) * geometry.chunk_start(1);
                (next..=range.last()).step_by(step as usize).collect()
            }
            Content::Arriving(arriving) => arriving.window_starts(next, range),
            Content::Gone => Vec::new(),
        }
    }
}

fn patched(bytes: Bytes, offset: u64, patches: &SizePatches) -> Bytes {
    if offset >= patches.end() {
        return bytes;
    }
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    patches.apply(offset, &mut bytes);
    bytes.freeze()
}

fn interrupted() -> ReadError {
    ReadError::Unavailable("the upload was interrupted or taken back".into())
}

fn not_found_out(error: CatalogError) -> Error {
    match error {
        CatalogError::Unavailable(_) => Error::new(Problem::Unavailable, "the catalog does not answer; try again"),
        _ => Error::new(Problem::Internal, "the catalog cannot be read"),
    }
    .because(error)
}
