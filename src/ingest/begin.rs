//! The row before the first byte: keys are drawn, wrapped for each class, and committed as `receiving`.

use std::sync::Arc;

use tracing::Instrument;

use super::{Ingest, Target, Upload, not_committed, not_wrapped};
use crate::catalog::{CallRow, CatalogError, NewRecording, Recording, Resume, SearchTokens, WrapRow};
use crate::crypto::blob::seal_blob;
use crate::crypto::keys::{DataKey, IndexField, KekScope};
use crate::crypto::random::random;
use crate::crypto::wrap::Binding;
use crate::model::ids::CallId;
use crate::model::trail::Action;
use crate::model::{
    CallData, Class, Completeness, Day, Error, ObjectId, Problem, RecordingId, ReplicaName, Result, State, SubjectId,
    TenantNumber, Term, Timestamp,
};
use crate::reading::call_binding;
use crate::reading::life::Label;
use crate::spans;

// Limit: two random tags of 44 bits meet once in 10^13; a third draw that meets again means that randomness is broken.
const DRAWS_MAX: usize = 3;

impl Ingest {
    /// The recording that has the upload's name and is not gone.
    pub(super) async fn known(&self, upload: &Upload) -> Result<Option<Recording>> {
        let Some(name) = &upload.name else { return Ok(None) };
        let tenant = upload.tenant.number;
        let tokens = self.reader.keyring.name_tokens(tenant, self.clock.now(), name).map_err(not_wrapped)?;
        self.catalog.recording_by_name(tenant, &tokens).await.map_err(not_committed)
    }

    /// The other replica that holds what an upload under a known name is to be compared with, or to go on with.
    pub async fn known_elsewhere(&self, upload: &Upload) -> Result<Option<ReplicaName>> {
        match self.known(upload).await? {
            Some(known) => self.held_elsewhere(&known).await,
            None => Ok(None),
        }
    }

    pub(super) async fn begin(&self, upload: &Upload, id: RecordingId, resume: Option<Resume>) -> Result<Target> {
        spans::note_recording(id);
        let mut draws = 0;
        let classes: Vec<_> = upload.classes.iter().map(Class::to_string).collect();
        let entry = self.trail.entry(Action::Upload, (*upload.by).clone()).of(id).noting(classes.join(" "));
        let mut entry = Some((upload.tenant.number, entry));
        loop {
            let (recording, data_key) = self.draw(upload, id, resume)?;
            let by = Arc::clone(&upload.by);
            let target = Target { row: as_row(&recording), object: recording.object, data_key, by };
            let noting = self.trail.append_all(entry.take().into_iter().collect());
            let beginning = self.catalog.begin(recording).instrument(spans::part("catalog begin"));
            let (begun, noted) = futures::join!(beginning, noting);
            match begun {
                Ok(()) => {
                    if let Err(error) = noted {
                        self.abandon_row(id).await?;
                        return Err(error);
                    }
                    return Ok(target);
                }
                Err(CatalogError::PathTaken) if draws < DRAWS_MAX => draws += 1,
                Err(CatalogError::NameTaken) => {
                    return Err(Error::new(Problem::StillReceiving, "an upload under this name has just begun"));
                }
                Err(error) => return Err(not_committed(error)),
            }
        }
    }

    fn draw(&self, upload: &Upload, id: RecordingId, resume: Option<Resume>) -> Result<(NewRecording, DataKey)> {
        let (tenant, now) = (upload.tenant.number, self.clock.now());
        let (object, data_key) = (ObjectId(random()), DataKey::random());
        let wraps = upload.classes.iter().map(|class| {
            let term = match class {
                Class::Training => upload.tenant.training_term,
                _ => upload.tenant.customer_term,
            };
            let binding =
                |expires_at| Binding { expires_at, object, plain_len: None, completeness: Completeness::Receiving };
            self.draw_wrap(tenant, id.into(), *class, term.ends_at(now), &data_key, |wrap| binding(wrap.expires_at))
        });
        let wraps = wraps.collect::<Result<Vec<_>>>()?;
        let last_day = Day::of(wraps.iter().map(|wrap| wrap.expires_at).max().expect("an upload has a class"));
        let label = Label { name: upload.name.clone(), media_type: upload.media_type.clone(), duration_ms: None };
        let label = serde_json::to_vec(&label).expect("a label has only texts");
        let name_token = upload.name.as_ref().map(|name| self.reader.keyring.name_token(tenant, last_day, name));
        let recording = NewRecording {
            id,
            tenant,
            received_at: now,
            object,
            name_token: name_token.transpose().map_err(not_wrapped)?,
            tokens: self.search_tokens(tenant, last_day, &upload.call)?,
            label: seal_blob(&data_key.label_key(tenant, id), tenant, id.into(), &label),
            wraps,
            call: self.draw_call(upload, now)?,
            resume,
            holder: self.replica.clone(),
        };
        Ok((recording, data_key))
    }

    fn search_tokens(&self, tenant: TenantNumber, day: Day, call: &CallData) -> Result<SearchTokens> {
        let token = |field, value: &Option<String>| {
            let token = value.as_ref().map(|value| self.reader.keyring.search_token(tenant, day, field, value));
            token.transpose().map_err(not_wrapped)
        };
        Ok(SearchTokens {
            a_number: token(IndexField::ANumber, &call.a_number)?,
            b_number: token(IndexField::BNumber, &call.b_number)?,
            call_id: token(IndexField::CallId, &call.call_id)?,
        })
    }

    /// The call's data under a key of its own, for the tenant and for invoicing.
    fn draw_call(&self, upload: &Upload, now: Timestamp) -> Result<Option<CallRow>> {
        if upload.call.is_empty() {
            return Ok(None);
        }
        let (tenant, id) = (upload.tenant.number, CallId::new(now, random()));
        let text =
            zeroize::Zeroizing::new(serde_json::to_vec(&upload.call).expect("call data has only texts and numbers"));
        let (key, text_len) = (DataKey::random(), text.len() as u64);
        let terms = [(Class::Cdr, upload.tenant.cdr_term), (Class::Finance, Term::FINANCE)];
        let wraps = terms.map(|(class, term)| {
            self.draw_wrap(tenant, id.into(), class, term.ends_at(now), &key, |wrap| call_binding(wrap, text_len))
        });
        Ok(Some(CallRow {
            id,
            blob: Some(seal_blob(&key, tenant, id.into(), &text)),
            text_len,
            wraps: wraps.into_iter().collect::<Result<_>>()?,
        }))
    }

    fn draw_wrap(
        &self,
        tenant: TenantNumber,
        subject: SubjectId,
        class: Class,
        expires_at: Timestamp,
        data_key: &DataKey,
        binding: impl Fn(&WrapRow) -> Binding,
    ) -> Result<WrapRow> {
        let path = self.reader.keyring.new_path(expires_at).map_err(not_wrapped)?;
        let mut wrap = WrapRow { class, path, expires_at, sealed: None };
        let scope = KekScope { class, tenant, subject, path };
        wrap.sealed = Some(self.reader.keyring.wrap(&scope, data_key, &binding(&wrap)).map_err(not_wrapped)?);
        Ok(wrap)
    }
}

fn as_row(recording: &NewRecording) -> Recording {
    Recording {
        id: recording.id,
        tenant: recording.tenant,
        state: State::Receiving,
        completeness: Completeness::Receiving,
        received_at: recording.received_at,
        changed_at: recording.received_at,
        plain_len: None,
        object: recording.object,
        sealed_len: None,
        digest: None,
        label: Some(recording.label.clone()),
        wraps: recording.wraps.clone(),
        call: recording.call.clone(),
        resume: recording.resume,
        holder: Some(recording.holder.clone()),
    }
}
