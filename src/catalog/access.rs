//! Who may do what: tokens, the provider's people, playback links, and what waits for a second person.
//!
//! [`Access`] is a part of the [`super::Catalog`]'s contract and keeps its promises. What is stored opens nothing: a token as
//! its hash, a link without the half of it that a recording's key makes.

use async_trait::async_trait;

use super::{Result, Tenant};
use crate::crypto::token::TokenHash;
use crate::model::{
    Class, Clearance, LinkId, PersonId, PrincipalKind, RecordingId, Scopes, TenantNumber, Timestamp, TokenId,
};

/// A token as stored: its hash, never its text.
#[derive(Clone)]
pub struct TokenRow {
    pub id: TokenId,
    /// `None`: the provider's own; it names a tenant with each request.
    pub tenant: Option<TenantNumber>,
    pub kind: PrincipalKind,
    /// Whose it is, of kind `person` and of no other.
    pub person: Option<PersonId>,
    pub name: String,
    pub scopes: Scopes,
    pub hash: TokenHash,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// To within a minute or so.
    pub last_used_at: Option<Timestamp>,
    /// Networks from which the token is taken, as `10.0.0.0/8`; none: from anywhere.
    pub networks: Vec<String>,
    /// SHA-256 of a client certificate that stands for the token's text.
    pub certificate: Option<[u8; 32]>,
}

impl TokenRow {
    /// Neither revoked nor at its end.
    pub fn is_current(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// By what a token is looked up.
#[derive(Clone)]
pub enum TokenKey {
    Hash(TokenHash),
    Certificate([u8; 32]),
    Id(TokenId),
}

/// A token with those to whom it belongs.
#[derive(Clone)]
pub struct Bearer {
    pub token: TokenRow,
    pub tenant: Option<Tenant>,
    pub person: Option<Person>,
}

/// One of the provider's staff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: PersonId,
    pub name: String,
    /// Who he is for the single sign-on: `<issuer> <sub>`.
    pub subject: Option<String>,
    pub clearance: Clearance,
    pub created_at: Timestamp,
    /// Since when nothing of his is taken any more.
    pub disabled_at: Option<Timestamp>,
}

/// `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct PersonChange {
    pub name: Option<String>,
    pub subject: Option<Option<String>>,
    pub vog: Option<Option<jiff::civil::Date>>,
    pub nda: Option<Option<jiff::civil::Date>>,
    pub disabled_at: Option<Option<Timestamp>>,
}

/// A playback link as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow {
    pub id: LinkId,
    pub tenant: TenantNumber,
    pub recording: RecordingId,
    pub class: Class,
    /// A whole second.
    pub expires_at: Timestamp,
    /// The only address from which it plays.
    pub address: Option<std::net::IpAddr>,
    /// How many sessions it plays.
    pub uses_max: Option<u32>,
    /// Who made it.
    pub token: Option<TokenId>,
    pub person: Option<PersonId>,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

/// Who plays by a link that counts its uses, and for how long he may go on.
#[derive(Clone, Debug)]
pub struct LinkSession {
    pub link: LinkId,
    /// Who it is, hashed: an address and a program.
    pub player: [u8; 16],
    pub now: Timestamp,
    pub until: Timestamp,
}

/// Something that one person has asked for and another must confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub tenant: TenantNumber,
    /// What is to be done, and to what: `erase <recording>`.
    pub what: String,
    pub person: PersonId,
    pub at: Timestamp,
    /// From here on it is asked for anew.
    pub until: Timestamp,
}

/// What became of a request for which two are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It waits for another person until then.
    Waits { until: Timestamp },
    /// Another person had asked for it: it may be done, once.
    Confirmed { by: PersonId },
}

/// Rows of links stay as long after their end, so that they are told as ended and not as unknown.
pub const LINK_KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);

#[async_trait]
pub trait Access: Send + Sync + 'static {
    /// `WrongState` for an offboarded tenant, and when its hash or certificate is another token's; `NotFound` without the
    /// tenant or the person.
    async fn create_token(&self, token: TokenRow) -> Result<()>;
    /// Revoked ones too.
    async fn token(&self, by: TokenKey) -> Result<Option<Bearer>>;
    /// Ascending by creation, revoked ones too; of every tenant and of none for `None`.
    async fn tokens(&self, tenant: Option<TenantNumber>) -> Result<Vec<TokenRow>>;
    /// Revoked before: changes nothing.
    async fn revoke_token(&self, id: TokenId, at: Timestamp) -> Result<()>;
    /// Tells when a token was used; never moves it back. One that is not there is passed over.
    async fn touch_token(&self, id: TokenId, at: Timestamp) -> Result<()>;

    /// `WrongState` when the id or the subject is another's.
    async fn create_person(&self, person: Person) -> Result<()>;
    async fn person(&self, id: PersonId) -> Result<Option<Person>>;
    async fn person_by_subject(&self, subject: &str) -> Result<Option<Person>>;
    /// Ascending by creation.
    async fn people(&self) -> Result<Vec<Person>>;
    /// `WrongState` when the subject is another's.
    async fn set_person(&self, id: PersonId, change: PersonChange) -> Result<Person>;

    /// Forgets those that ended [`LINK_KEPT`] ago.
    async fn create_link(&self, link: LinkRow) -> Result<()>;
    /// Ended and revoked ones too.
    async fn link(&self, id: LinkId) -> Result<Option<LinkRow>>;
    /// Revoked before: changes nothing.
    async fn revoke_link(&self, id: LinkId, at: Timestamp) -> Result<()>;
    /// Whether the player may go on: within a session that he has, or in a new one, if the link has one left. Of many that
    /// ask at once as many begin as there are.
    async fn use_link(&self, session: LinkSession) -> Result<bool>;

    /// Asks for something, or confirms what another asked for; forgets what nobody confirmed.
    async fn ask(&self, asked: Asked) -> Result<Confirmation>;
}

impl PersonChange {
    /// Whether it takes rights away and gives none.
    pub fn only_disables(&self) -> bool {
        let gives_nothing = self.name.is_none() && self.subject.is_none() && self.vog.is_none() && self.nda.is_none();
        gives_nothing && !matches!(self.disabled_at, Some(None))
    }

    pub fn applied_to(self, person: Person) -> Person {
        Person {
            name: self.name.unwrap_or(person.name),
            subject: self.subject.unwrap_or(person.subject),
            clearance: Clearance {
                vog: self.vog.unwrap_or(person.clearance.vog),
                nda: self.nda.unwrap_or(person.clearance.nda),
            },
            disabled_at: self.disabled_at.unwrap_or(person.disabled_at),
            ..person
        }
    }
}
