//! Who asks, and what for.

use std::fmt;
use std::str::FromStr;

use super::{Class, PersonId, Slug, TenantNumber, TokenId};

/// What a token may do. A route asks for exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Scope {
    Ingest,
    Read,
    PlayCustomer,
    PlayTraining,
    Manage,
    Rights,
    Finance,
    Audit,
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 9] = [
        Scope::Ingest,
        Scope::Read,
        Scope::PlayCustomer,
        Scope::PlayTraining,
        Scope::Manage,
        Scope::Rights,
        Scope::Finance,
        Scope::Audit,
        Scope::Admin,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Ingest => "ingest",
            Scope::Read => "read",
            Scope::PlayCustomer => "play:customer",
            Scope::PlayTraining => "play:training",
            Scope::Manage => "manage",
            Scope::Rights => "rights",
            Scope::Finance => "finance",
            Scope::Audit => "audit",
            Scope::Admin => "admin",
        }
    }

    /// Whether it shows recordings or calls, or ends them: what a person needs clearance for.
    pub fn reaches_recordings(self) -> bool {
        match self {
            Scope::Read
            | Scope::PlayCustomer
            | Scope::PlayTraining
            | Scope::Manage
            | Scope::Rights
            | Scope::Finance => true,
            Scope::Ingest | Scope::Audit | Scope::Admin => false,
        }
    }

    /// The scope that opens audio of a class; the call's classes open through other routes.
    pub fn play(class: Class) -> Scope {
        match class {
            Class::Customer => Scope::PlayCustomer,
            Class::Training => Scope::PlayTraining,
            Class::Cdr => Scope::Read,
            Class::Finance => Scope::Finance,
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Scope, String> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
            format!("a scope is one of {}", names.join(", "))
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes. `admin` contains no other: who administers does not thereby listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Scopes(u16);

impl Scopes {
    pub fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl Scopes {
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it has no scope but this one.
    pub fn is_only(self, scope: Scope) -> bool {
        self.0 == 1 << scope as u8
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Scopes {
        Scopes(scopes.into_iter().fold(0, |bits, scope| bits | 1 << scope as u8))
    }
}

/// As stored and printed: names with one space between.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Scope::as_str).collect();
        f.write_str(&names.join(" "))
    }
}

impl FromStr for Scopes {
    type Err = String;

    fn from_str(text: &str) -> Result<Scopes, String> {
        text.split_whitespace().map(str::parse).collect()
    }
}

/// What asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PrincipalKind {
    /// A telephone exchange: it uploads, and does nothing else.
    Pbx = 1,
    /// A program: a customer's portal, for its own tenant; or the provider's own administration, for every tenant.
    App = 2,
    /// One of the provider's staff, who reaches recordings only with clearance.
    Person = 3,
}

impl PrincipalKind {
    pub const ALL: [PrincipalKind; 3] = [PrincipalKind::Pbx, PrincipalKind::App, PrincipalKind::Person];

    pub fn as_str(self) -> &'static str {
        match self {
            PrincipalKind::Pbx => "pbx",
            PrincipalKind::App => "app",
            PrincipalKind::Person => "person",
        }
    }

    pub fn from_number(number: u8) -> Option<PrincipalKind> {
        PrincipalKind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

impl FromStr for PrincipalKind {
    type Err = String;

    fn from_str(text: &str) -> Result<PrincipalKind, String> {
        let found = PrincipalKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| "a principal is a pbx, an app or a person".to_owned())
    }
}

impl fmt::Display for PrincipalKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who was let in, for which tenant.
#[derive(Clone, Debug)]
pub struct Principal {
    pub kind: PrincipalKind,
    /// `None`: by single sign-on.
    pub token: Option<TokenId>,
    /// Of kind [`PrincipalKind::Person`], and of no other.
    pub person: Option<PersonId>,
    pub tenant: TenantNumber,
    pub slug: Slug,
    pub scopes: Scopes,
}

/// What a token stands for, told or from the rest of it; refuses what no principal is.
///
/// A token without a tenant is the provider's own: it administers and audits, or it is a person's. Without a kind, a token that
/// may upload and do nothing else is a telephone exchange's.
pub fn kind_of(
    told: Option<PrincipalKind>,
    has_tenant: bool,
    has_person: bool,
    scopes: Scopes,
) -> Result<PrincipalKind, String> {
    let kind = told.unwrap_or(match (has_person, scopes.is_only(Scope::Ingest)) {
        (true, _) => PrincipalKind::Person,
        (false, true) => PrincipalKind::Pbx,
        (false, false) => PrincipalKind::App,
    });
    let of_the_house: Scopes = [Scope::Admin, Scope::Audit].into_iter().collect();
    let advice = match kind {
        _ if scopes.is_empty() => "a token has at least one scope",
        PrincipalKind::Person if !has_person => "a token of kind 'person' names the person",
        PrincipalKind::Person if scopes.has(Scope::Ingest) => "a person does not upload: leave the scope 'ingest' out",
        PrincipalKind::Pbx | PrincipalKind::App if has_person => "a token that names a person is of kind 'person'",
        PrincipalKind::Pbx if !scopes.is_only(Scope::Ingest) => {
            "a pbx uploads, and does nothing else: its scope is 'ingest'"
        }
        PrincipalKind::Pbx if !has_tenant => "a pbx belongs to a tenant: name it",
        PrincipalKind::App if !has_tenant && !scopes.iter().all(|scope| of_the_house.has(scope)) => {
            "a token without a tenant is the provider's own: it has the scopes 'admin' and 'audit' only; name the tenant"
        }
        kind => return Ok(kind),
    };
    Err(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_its_scopes_its_tenant_and_its_person_make_it() {
        let of = |told: &str, tenant, person, scopes: &str| {
            kind_of(told.parse().ok(), tenant, person, scopes.parse().expect("scopes"))
        };

        assert_eq!(of("", true, false, "ingest"), Ok(PrincipalKind::Pbx));
        assert_eq!(of("", true, false, "ingest read"), Ok(PrincipalKind::App));
        assert_eq!(of("app", true, false, "ingest"), Ok(PrincipalKind::App));
        assert_eq!(of("", false, false, "admin audit"), Ok(PrincipalKind::App));
        assert_eq!(of("", false, true, "read play:customer"), Ok(PrincipalKind::Person));
        assert_eq!(of("", true, true, "play:training"), Ok(PrincipalKind::Person));
        for (told, tenant, person, scopes) in [
            ("pbx", true, false, "ingest read"),
            ("pbx", false, false, "ingest"),
            ("", false, false, "read"),
            ("", false, false, "ingest"),
            ("", true, true, "ingest"),
            ("person", true, false, "read"),
            ("app", true, true, "read"),
            ("", true, false, ""),
        ] {
            assert!(of(told, tenant, person, scopes).is_err(), "{told} {tenant} {person} {scopes}");
        }
    }
}
