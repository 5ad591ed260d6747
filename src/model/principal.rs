//! Who asks, and what for.

use std::fmt;
use std::str::FromStr;

use super::{Class, Slug, TenantNumber, TokenId};

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

/// Who was let in, by which token, for which tenant.
#[derive(Clone, Debug)]
pub struct Principal {
    pub token: TokenId,
    pub tenant: TenantNumber,
    pub slug: Slug,
    pub scopes: Scopes,
}
