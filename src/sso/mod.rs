//! People by single sign-on: an access token of an OpenID Connect provider (a signed JWT) becomes who it is for and what he may.
//!
//! # Promise
//! [`SignOn::verify`] gives `Ok` for a token alone that the one configured issuer signed, with a key that it publishes at
//! present, for this vault, for now (RFC 7519, RFC 9068, RFC 8725). Whatever else is wrong with a token is one refusal to the
//! stranger. A provider that is down refuses nobody while its keys are younger than `oidc.keys_max_age`, and from then on the
//! answer is [`Refused::Unavailable`], never "invalid".
//! # Invariants
//! Nothing that a token says decides how it is verified: the algorithm is one of those that are allowed *and* the one that the
//! key is for, the key is the issuer's own, and addresses and keys in a token's header are refused unread. Symmetric algorithms
//! do not exist in here. Time is the [`Clock`]'s.
//! # Secrecy
//! Neither a token nor a claim of it is logged; what was wrong is, at level `debug`.
//! # Cancel safety
//! Dropping [`SignOn::verify`] changes nothing: keys are fetched by a task of their own.
//!
//! | file | what it holds |
//! |---|---|
//! | `settings` | which provider, and how it is asked |
//! | `token` | a token's form, and its signature |
//! | `claims` | what a verified token says: for whom, by whom, when |
//! | `rights` | from values of a claim to scopes and tenants |
//! | `jwks` | a provider's keys, and what each is good for |
//! | `keys` | those keys, at hand and kept fresh |
//! | `fetch` | a provider's document |

mod claims;
mod fetch;
mod jwks;
mod keys;
mod rights;
mod settings;
mod token;

use std::sync::Arc;

pub use jsonwebtoken::Algorithm;
use thiserror::Error;

pub use self::claims::Verified;
use self::fetch::Source;
use self::keys::{Keys, NotFound};
pub use self::rights::{Claim, Rights, Tenants};
pub use self::settings::{KeyTimes, KeysAt, Settings, algorithm, issuer};
use self::token::Token;
pub use self::token::{Flaw, is_jwt};
use crate::model::Clock;

/// Why nobody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// For the log; the stranger is told that the token is not valid, and no more.
    #[error("the access token is not valid: {0}")]
    Invalid(Flaw),
    #[error("the keys of the single sign-on provider (oidc.issuer) cannot be fetched")]
    Unavailable,
}

/// Verifies access tokens of one provider, and keeps its keys fresh until it is dropped.
pub struct SignOn {
    settings: Settings,
    keys: Keys,
    clock: Arc<dyn Clock>,
}

impl SignOn {
    /// Begins to fetch the provider's keys; one that is down is waited for behind. The text of an error says which setting is
    /// wrong.
    pub fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<SignOn, String> {
        let source = Source::new(&settings)?;
        let keys = Keys::start(source, settings.keys);
        Ok(SignOn { settings, keys, clock })
    }

    pub async fn verify(&self, text: &str) -> Result<Verified, Refused> {
        let verified = self.judge(text).await;
        if let Err(Refused::Invalid(flaw)) = &verified {
            tracing::debug!(%flaw, "an access token was refused");
        }
        verified
    }

    async fn judge(&self, text: &str) -> Result<Verified, Refused> {
        let token = Token::read(text, &self.settings).map_err(Refused::Invalid)?;
        let keys = self.keys.find(&token.kid, token.algorithm).await.map_err(|error| match error {
            NotFound::Unknown => Refused::Invalid(Flaw::UnknownKey),
            NotFound::Unfit => Refused::Invalid(Flaw::UnfitKey),
            NotFound::Unavailable => Refused::Unavailable,
        })?;
        let claims = token.claims(&keys).map_err(Refused::Invalid)?;
        Verified::from_claims(&claims, &self.settings, self.clock.now()).map_err(Refused::Invalid)
    }
}
