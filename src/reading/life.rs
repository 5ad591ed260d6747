//! Whether a recording may still be read, and what it looks like from outside.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ReadError, Reader};
use crate::catalog::{Recording, RingMark, Tenant, WrapRow};
use crate::crypto::keys::DataKey;
use crate::model::shape::{Address, AudioClass, Moment, TermText};
use crate::model::{CallData, Class, Problem, RecordingId, ReplicaName, State, Timestamp};

/// From the second of `expires_at` on, or once a run has announced the key's destruction.
pub fn has_ended(wrap: &WrapRow, mark: &RingMark, now: Timestamp) -> bool {
    wrap.expires_at <= now || mark.is_dying(&wrap.path)
}

/// The last second at which any class of the recording is readable.
pub fn last_expiry(recording: &Recording) -> Option<Timestamp> {
    let audio = recording.wraps.iter().filter(|wrap| Class::AUDIO.contains(&wrap.class));
    audio.map(|wrap| wrap.expires_at).max()
}

/// What is answered for a recording that is gone.
pub fn gone(state: State) -> Problem {
    match state {
        State::Erased => Problem::Erased,
        State::Deleted => Problem::Deleted,
        _ => Problem::Ended,
    }
}

/// A recording.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Recording")]
pub struct RecordingView {
    #[schemars(with = "RecordingId")]
    pub id: String,
    /// The tenant's slug.
    pub tenant: String,
    /// As its sender chose it.
    pub name: Option<String>,
    #[schemars(with = "State")]
    pub state: &'static str,
    /// `false`: partial, cut off half-way.
    pub complete: bool,
    pub media_type: Option<String>,
    /// `null` while it is being received.
    pub bytes: Option<u64>,
    /// How long it sounds, where its format tells.
    pub duration_ms: Option<u64>,
    #[schemars(with = "Moment")]
    pub received_at: Timestamp,
    pub classes: Vec<ClassView>,
    pub hold: Option<()>,
    pub call: Option<CallData>,
    #[schemars(with = "Address")]
    pub audio_url: String,
    /// The server whose spool it lies in, while it is not in the object store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
}

/// What a recording is kept for, and until when.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RecordingClass")]
pub struct ClassView {
    #[schemars(with = "AudioClass")]
    pub class: &'static str,
    #[schemars(with = "TermText")]
    pub term: String,
    /// From this second on it is refused.
    #[schemars(with = "Moment")]
    pub expires_at: Timestamp,
}

/// A recording's label, sealed under a key of its own.
#[derive(Serialize, Deserialize)]
pub struct Label {
    pub name: Option<String>,
    pub media_type: String,
    /// How long it sounds, where its format tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

impl Reader {
    /// The state that counts at `now`. A recording whose every term has ended is `expiring` before any run has touched it; one
    /// whose keys the ring no longer derives is `shredded`, whatever a restored catalog says.
    pub fn state_at(&self, recording: &Recording, mark: &RingMark, now: Timestamp) -> State {
        if recording.state.is_gone() {
            return recording.state;
        }
        let audio = recording.wraps.iter().filter(|wrap| Class::AUDIO.contains(&wrap.class));
        let mut running = audio.filter(|wrap| !has_ended(wrap, mark, now)).peekable();
        if running.peek().is_none() {
            return State::Expiring;
        }
        if running.any(|wrap| self.keyring.is_alive(recording.tenant, &wrap.path)) {
            return recording.state;
        }
        State::Shredded
    }

    /// Opens what the row holds sealed. A recording that is gone has neither name nor call.
    pub fn view(
        &self,
        recording: &Recording,
        tenant: &Tenant,
        mark: &RingMark,
        now: Timestamp,
    ) -> Result<RecordingView, ReadError> {
        let state = self.state_at(recording, mark, now);
        let (label, call) = if state.is_gone() {
            (None, None)
        } else {
            (self.label_text(recording, &self.any_data_key(recording)?)?, self.call_data_parsed(recording, mark, now)?)
        };
        let audio = recording.wraps.iter().filter(|wrap| Class::AUDIO.contains(&wrap.class));
        let classes = audio.map(|wrap| ClassView {
            class: wrap.class.as_str(),
            term: term_between(recording.received_at, wrap, tenant),
            expires_at: wrap.expires_at,
        });
        let (name, media_type, duration_ms) =
            label.map_or((None, None, None), |label| (label.name, Some(label.media_type), label.duration_ms));
        Ok(RecordingView {
            id: recording.id.to_string(),
            tenant: tenant.slug.to_string(),
            name,
            state: state.as_str(),
            complete: recording.completeness == crate::model::Completeness::Complete,
            media_type,
            bytes: recording.plain_len,
            duration_ms,
            received_at: recording.received_at,
            classes: classes.collect(),
            hold: None,
            call: with_duration(call, duration_ms),
            audio_url: format!("/v1/recordings/{}/audio", recording.id),
            replica: (recording.holder.as_ref())
                .filter(|_| matches!(state, State::Receiving | State::Spooled))
                .map(ReplicaName::to_string),
        })
    }

    /// The sender's name and media type of a living recording.
    pub fn name_and_media_type(
        &self,
        recording: &Recording,
        data_key: &DataKey,
    ) -> Result<(Option<String>, Option<String>), ReadError> {
        Ok(self.label_text(recording, data_key)?.map_or((None, None), |label| (label.name, Some(label.media_type))))
    }

    /// The label as it was sealed.
    pub fn label_text(&self, recording: &Recording, data_key: &DataKey) -> Result<Option<Label>, ReadError> {
        let text = self.label(recording, data_key)?;
        let parsed = text.map(|text| serde_json::from_slice(&text)).transpose();
        parsed.map_err(|_| ReadError::Integrity("a label holds no JSON".into()))
    }

    fn call_data_parsed(
        &self,
        recording: &Recording,
        mark: &RingMark,
        now: Timestamp,
    ) -> Result<Option<CallData>, ReadError> {
        let text = self.call_data(recording, Class::Cdr, mark, now)?;
        let parsed = text.map(|text| serde_json::from_slice(&text)).transpose();
        parsed.map_err(|_| ReadError::Integrity("call data hold no JSON".into()))
    }
}

/// What the audio tells of its call, where the sender told nothing.
fn with_duration(call: Option<CallData>, duration_ms: Option<u64>) -> Option<CallData> {
    if call.is_none() && duration_ms.is_none() {
        return None;
    }
    let call = call.unwrap_or_default();
    Some(CallData { duration_ms: call.duration_ms.or(duration_ms), ..call })
}

/// The term as it was agreed: the tenant's present one where it gives this end, else the days between.
fn term_between(received_at: Timestamp, wrap: &WrapRow, tenant: &Tenant) -> String {
    let agreed = match wrap.class {
        Class::Training => tenant.training_term,
        _ => tenant.customer_term,
    };
    if agreed.ends_at(received_at) == wrap.expires_at {
        return agreed.to_string();
    }
    let seconds = wrap.expires_at.as_second() - received_at.as_second();
    format!("{}d", seconds.div_euclid(86_400))
}
