//! Playback links: `POST /v1/recordings/{id}/links`, `DELETE /v1/links/{id}`, `GET,HEAD /v1/play/{link}`.
//!
//! A portal makes one for an `<audio>` element, which can send no header: for one recording, one class, a while, and if need be
//! one address and so many sessions.
//!
//! # Promise
//! A link plays nothing that its maker could not play at that moment: it ends with his token, with his clearance, and with the
//! recording. One that a person made by single sign-on lives for `link.lifetime` at most: what his provider takes away is not
//! known here. What stands in it is made of the recording's key ([`crate::crypto::link`]); no database holds it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::header::USER_AGENT;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::audio::choose_class;
use super::auth::{Grounds, Still, may_play, still};
use super::recordings::{json, method_not_allowed};
use super::tokens::{not_done, unprocessable};
use super::trail::{note_address, note_class, note_reason, note_recording, note_subject, note_what, note_who};
use super::{Face, SharedFace};
use crate::catalog::{CatalogError, LinkRow, LinkSession};
use crate::crypto::keys::LinkKey;
use crate::crypto::link::{self, Conditions, LinkText};
use crate::crypto::random::random;
use crate::model::shape::{Address, AudioClass, Moment};
use crate::model::trail::Who;
use crate::model::{Class, Error, Kind, LinkId, Problem, RecordingId, Result, Scope, Timestamp, TokenId};
use crate::playback::Located;

/// Settings `link.*`.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// Of a link that names no end.
    pub lifetime: Duration,
    pub lifetime_max: Duration,
    /// How long one player goes on with one use.
    pub session: Duration,
}

/// What is to be made; all of it may be left out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLink {
    /// `customer` or `training`; the first that the recording has and the maker may play.
    #[schemars(with = "Option<AudioClass>")]
    class: Option<String>,
    /// Seconds from now on, or...
    lifetime_s: Option<u64>,
    /// ...the end itself.
    #[schemars(with = "Option<Moment>")]
    expires_at: Option<Timestamp>,
    /// The only address from which it plays.
    address: Option<IpAddr>,
    /// How many sessions it plays.
    #[schemars(range(min = 1))]
    uses: Option<u32>,
}

/// The only time that a link is shown.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Link")]
pub struct Made {
    #[schemars(with = "LinkId")]
    id: String,
    /// Where it plays.
    #[schemars(with = "Address")]
    url: String,
    #[schemars(with = "RecordingId")]
    recording: String,
    #[schemars(with = "AudioClass")]
    class: &'static str,
    #[schemars(with = "Moment")]
    expires_at: Timestamp,
    address: Option<IpAddr>,
    uses: Option<u32>,
}

/// `/v1/recordings/{id}/links`
pub async fn collection(face: SharedFace, parts: Parts, body: Body, recording: RecordingId) -> Response {
    match parts.method {
        Method::POST => face.make_link(&parts, body, recording).await.unwrap_or_else(IntoResponse::into_response),
        _ => method_not_allowed("POST"),
    }
}

/// `/v1/links/{id}`
pub async fn item(face: SharedFace, request: Request, id: String) -> Response {
    let (parts, _) = request.into_parts();
    match parts.method {
        Method::DELETE => face.revoke_link(&parts, &id).await.unwrap_or_else(IntoResponse::into_response),
        _ => method_not_allowed("DELETE"),
    }
}

/// `/v1/play/{link}`
pub async fn play(face: SharedFace, request: Request, text: String) -> Response {
    let (parts, _) = request.into_parts();
    match parts.method {
        Method::GET | Method::HEAD => {
            face.play_by_link(&parts, &text).await.unwrap_or_else(IntoResponse::into_response)
        }
        _ => method_not_allowed("GET, HEAD"),
    }
}

impl Face {
    async fn make_link(&self, parts: &Parts, body: Body, recording: RecordingId) -> Result<Response> {
        let caller = self.authorise_listener(parts).await?;
        note_recording(parts, recording);
        note_reason(parts, caller.reason(parts)?.as_deref());
        let new: NewLink = self.read_document(parts, body).await?;
        let located = self.playback.locate(caller.tenant.number, recording).await?;
        let class =
            choose_class(new.class.as_deref(), &caller, &located).map_err(|error| self.refuse(&caller, error))?;
        let now = self.clock.now();
        let expires_at = self.end_of_link(&new, &located, class, now)?;
        let expires_at = match caller.principal.token {
            Some(_) => expires_at,
            // What a provider has taken away is not known here: a link by single sign-on does not live for days.
            None => expires_at.min(now + SignedDuration::try_from(self.limits.links.lifetime).unwrap_or_default()),
        };
        if new.uses == Some(0) {
            return Err(unprocessable("'uses' is a number from 1 on"));
        }
        let row = LinkRow {
            id: LinkId::new(now, random()),
            tenant: caller.tenant.number,
            recording,
            class,
            expires_at,
            address: new.address.map(|address| address.to_canonical()),
            uses_max: new.uses.map(|uses| uses.min(i32::MAX as u32)),
            token: caller.principal.token,
            person: caller.principal.person,
            created_at: now,
            revoked_at: None,
        };
        let key = self.link_key(&located, class)?;
        let text = link::write(&conditions(&row), &key);
        note_class(parts, class);
        note_subject(parts, row.id);
        note_what(parts, format!("until {expires_at}"));
        self.note_granted(parts).await?;
        self.catalog.create_link(row.clone()).await.map_err(not_done)?;
        let made = Made {
            id: row.id.to_string(),
            url: format!("/v1/play/{text}"),
            recording: recording.to_string(),
            class: class.as_str(),
            expires_at,
            address: row.address,
            uses: row.uses_max,
        };
        Ok(json(StatusCode::CREATED, &made))
    }

    /// A whole second, never past the end of the class that it plays.
    fn end_of_link(&self, new: &NewLink, located: &Located, class: Class, now: Timestamp) -> Result<Timestamp> {
        let LinkLimits { lifetime, lifetime_max, .. } = self.limits.links;
        let after = |seconds: u64| {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
        };
        let wanted = match (new.lifetime_s, new.expires_at) {
            (None, None) => after(lifetime.as_secs()),
            (Some(seconds), None) => after(seconds),
            (None, Some(expires_at)) => expires_at,
            (Some(_), Some(_)) => return Err(unprocessable("give 'lifetime_s' or 'expires_at', not both")),
        };
        if wanted <= now {
            return Err(unprocessable("the link would have ended before it began"));
        }
        if wanted > after(lifetime_max.as_secs()) {
            let detail = format!("a link lives {} s at most (link.lifetime_max)", lifetime_max.as_secs());
            return Err(unprocessable(detail));
        }
        let wrap = located.recording.wraps.iter().find(|wrap| wrap.class == class);
        let ends_at = wrap.map(|wrap| wrap.expires_at).ok_or_else(|| {
            Error::new(Problem::NotFound, format!("the recording is not tagged '{class}'; see its 'classes'"))
        })?;
        let second = wanted.as_second() + i64::from(wanted.subsec_nanosecond() > 0);
        Ok(Timestamp::from_second(second).unwrap_or(ends_at).min(ends_at))
    }

    fn link_key(&self, located: &Located, class: Class) -> Result<LinkKey> {
        let recording = &located.recording;
        let data_key = self.reader.data_key(recording, class).map_err(|error| {
            Error::new(Problem::Ended, format!("the key of its class '{class}' was destroyed")).because(error)
        })?;
        Ok(data_key.link_key(recording.tenant, recording.id, class))
    }

    async fn revoke_link(&self, parts: &Parts, id: &str) -> Result<Response> {
        let caller = self.authorise_listener(parts).await?;
        let unknown = || Error::new(Problem::NotFound, "this tenant has no such link");
        let id = id.parse::<LinkId>().map_err(|_| unknown())?;
        let link = self.catalog.link(id).await.map_err(not_done)?.ok_or_else(unknown)?;
        if link.tenant != caller.tenant.number {
            return Err(unknown());
        }
        if !may_play(&caller, link.class) {
            let error = Error::new(Problem::Forbidden, format!("this token has no scope 'play:{}'", link.class));
            return Err(self.refuse(&caller, error));
        }
        note_recording(parts, link.recording);
        note_subject(parts, id);
        self.note_granted(parts).await?;
        match self.catalog.revoke_link(id, self.clock.now()).await {
            Ok(()) | Err(CatalogError::NotFound) => Ok(StatusCode::NO_CONTENT.into_response()),
            Err(error) => Err(not_done(error)),
        }
    }

    async fn play_by_link(&self, parts: &Parts, text: &str) -> Result<Response> {
        let begun = Instant::now();
        let address = self.client_address(parts)?;
        note_address(parts, address);
        let denied = |error| self.watch.denied(address, None, error);
        let unknown = || denied(Error::new(Problem::NotFound, "there is no such link"));
        let text = LinkText::parse(text).ok_or_else(unknown)?;
        let link = self.catalog.link(text.id).await.map_err(not_done)?.ok_or_else(unknown)?;
        // Whoever cannot show the link is told no more of its recording than that the link is over.
        let gone = |error: Error| if error.kind() == Kind::Gone { denied(ended()) } else { error };
        let located = self.playback.locate(link.tenant, link.recording).await.map_err(gone)?;
        let key = self.link_key(&located, link.class).map_err(gone)?;
        // Invariant: nothing of the row is believed before this; its conditions are what was signed.
        if !text.keeps(&conditions(&link), &key) {
            return Err(unknown());
        }
        self.watch.admits(TokenId::from_bytes(*link.id.as_bytes()))?;
        let id = Some(link.id.to_string());
        let who = Who { kind: "link", id, token: link.token, address, clearance: None };
        note_who(parts, who, Some(link.tenant));
        note_recording(parts, link.recording);
        note_class(parts, link.class);
        let now = self.clock.now();
        if link.revoked_at.is_some() || now >= link.expires_at {
            return Err(ended());
        }
        if link.address.is_some_and(|only| Some(only) != address) {
            return Err(denied(Error::new(Problem::AddressNotAllowed, "this link does not play at your address")));
        }
        self.maker_still_may(&link, now).await?;
        if link.uses_max.is_some() {
            let session = SignedDuration::try_from(self.limits.links.session).unwrap_or(SignedDuration::MAX);
            let until = now.checked_add(session).unwrap_or(Timestamp::MAX);
            let player = player(&link, address, parts);
            let may_go_on = self.catalog.use_link(LinkSession { link: link.id, player, now, until }).await;
            if !may_go_on.map_err(not_done)? {
                return Err(ended());
            }
        }
        let until = Some(link.expires_at);
        let grounds = Grounds { token: link.token, person: link.person, link: Some(link.id), until };
        self.serve_audio(parts, located, link.class, grounds, begun).await
    }

    /// A link is as good as its maker: without a valid token, or a person's clearance, it plays nothing.
    async fn maker_still_may(&self, link: &LinkRow, now: Timestamp) -> Result<()> {
        let maker = (link.token, link.person);
        match still(&self.catalog, maker, Scope::play(link.class), now).await.map_err(not_done)? {
            Still::Allowed => Ok(()),
            Still::NotCleared => {
                Err(Error::new(Problem::NotCleared, "whoever made this link is not cleared to listen any more"))
            }
            Still::Withdrawn => Err(ended()),
        }
    }
}

fn conditions(row: &LinkRow) -> Conditions {
    Conditions { id: row.id, expires_at: row.expires_at, uses_max: row.uses_max, address: row.address }
}

/// One program at one address.
fn player(link: &LinkRow, address: Option<IpAddr>, parts: &Parts) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(link.id.as_bytes());
    hash.update(address.map(|address| address.to_string()).unwrap_or_default());
    hash.update([0]);
    hash.update(parts.headers.get(USER_AGENT).map_or(&[][..], |agent| agent.as_bytes()));
    hash.finalize()[..16].try_into().expect("a SHA-256 output has 32 bytes")
}

fn ended() -> Error {
    Error::new(Problem::LinkEnded, "this link has ended")
}
