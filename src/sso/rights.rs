//! From the values of a claim to scopes and tenants, by settings.
//!
//! # Promise
//! A value that no setting names gives nothing, but for one: `callvault:<scope>` is that scope, because a provider knows our
//! prefix only if somebody entered it there. A claim that is missing, or has another form, gives nothing too. People do not
//! upload: `ingest` is never given.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::{Scope, Scopes, Slug};

/// What values stand for.
#[derive(Clone, Debug)]
pub struct Rights {
    pub scopes_claim: Claim,
    pub scopes: BTreeMap<String, Scopes>,
    /// `None`: every tenant, as a static token of a person has it.
    pub tenants_claim: Option<Claim>,
    /// Empty: a value is a tenant's slug.
    pub tenants: BTreeMap<String, Tenants>,
}

/// Which claim: its name, or a way to it as a JSON pointer (RFC 6901), such as `/realm_access/roles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim(pub String);

/// Which tenants somebody may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    Any,
    These(BTreeSet<Slug>),
}

const PREFIX: &str = "callvault:";

impl Tenants {
    pub fn has(&self, tenant: &Slug) -> bool {
        match self {
            Tenants::Any => true,
            Tenants::These(slugs) => slugs.contains(tenant),
        }
    }

    fn and(self, other: Tenants) -> Tenants {
        match (self, other) {
            (Tenants::These(mut slugs), Tenants::These(more)) => {
                slugs.extend(more);
                Tenants::These(slugs)
            }
            _ => Tenants::Any,
        }
    }
}

impl Claim {
    /// A text is values with spaces between (RFC 6749 section 3.3), a list of texts one value each.
    fn values<'a>(&self, claims: &'a Value) -> Vec<&'a str> {
        let found = if self.0.starts_with('/') { claims.pointer(&self.0) } else { claims.get(&self.0) };
        match found {
            Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

impl Rights {
    pub(super) fn scopes(&self, claims: &Value) -> Scopes {
        let stands_for = |value: &str| match self.scopes.get(value) {
            Some(scopes) => *scopes,
            None => value.strip_prefix(PREFIX).and_then(|name| name.parse().ok()).unwrap_or_default(),
        };
        let given = self.scopes_claim.values(claims).into_iter().map(stands_for).flat_map(Scopes::iter);
        given.filter(|scope| *scope != Scope::Ingest).collect()
    }

    pub(super) fn tenants(&self, claims: &Value) -> Tenants {
        let Some(claim) = &self.tenants_claim else { return Tenants::Any };
        let stands_for = |value: &str| match self.tenants.is_empty() {
            true => value.parse().ok().map(|slug| Tenants::These([slug].into())),
            false => self.tenants.get(value).cloned(),
        };
        let found = claim.values(claims).into_iter().filter_map(stands_for);
        found.fold(Tenants::These(BTreeSet::new()), Tenants::and)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rights(scopes_claim: &str, scopes: &[(&str, &str)]) -> Rights {
        let parse = |(value, names): &(&str, &str)| ((*value).to_owned(), names.parse().expect("scopes"));
        Rights {
            scopes_claim: Claim(scopes_claim.into()),
            scopes: scopes.iter().map(parse).collect(),
            tenants_claim: None,
            tenants: BTreeMap::new(),
        }
    }

    fn these(slugs: &[&str]) -> Tenants {
        Tenants::These(slugs.iter().map(|slug| slug.parse().expect("a slug")).collect())
    }

    #[test]
    fn values_that_no_setting_names_give_nothing_but_with_our_prefix() {
        let rights = rights("scope", &[("listener", "read play:customer"), ("callvault:audit", "")]);
        let given = |claim: Value| rights.scopes(&json!({ "scope": claim })).to_string();

        assert_eq!(given(json!("openid profile read admin play:customer")), "");
        assert_eq!(given(json!("openid listener")), "read play:customer");
        assert_eq!(
            given(json!(["listener", "callvault:manage", 7, "callvault:everything"])),
            "read play:customer manage"
        );
        assert_eq!(given(json!("callvault:play:training  callvault:audit")), "play:training");
        assert_eq!(given(json!("callvault:ingest")), "");
        for other in [json!(null), json!(7), json!({ "listener": true }), json!([]), json!("Listener")] {
            assert_eq!(given(other), "");
        }
        assert_eq!(rights.scopes(&json!({})).to_string(), "");
    }

    #[test]
    fn a_claim_within_another_is_named_by_a_pointer() {
        let claims = json!({ "realm_access": { "roles": ["listener"] }, "https://example.com/roles": "listener" });

        for name in ["/realm_access/roles", "https://example.com/roles"] {
            assert_eq!(rights(name, &[("listener", "read")]).scopes(&claims).to_string(), "read", "{name}");
        }
        for name in ["realm_access.roles", "/realm_access", "/realm_access/roles/1", "roles"] {
            assert_eq!(rights(name, &[("listener", "read")]).scopes(&claims).to_string(), "", "{name}");
        }
    }

    #[test]
    fn tenants_are_any_only_where_a_setting_says_so() {
        let mut rights = rights("scope", &[]);
        let claims = json!({ "groups": ["acme", "NOT A SLUG", "beta", "*"] });
        assert_eq!(rights.tenants(&claims), Tenants::Any);

        rights.tenants_claim = Some(Claim("groups".into()));
        assert_eq!(rights.tenants(&claims), these(&["acme", "beta"]));
        assert_eq!(rights.tenants(&json!({})), these(&[]));

        rights.tenants = [("acme".to_owned(), these(&["a", "b"])), ("beta".to_owned(), these(&["b", "c"]))].into();
        assert_eq!(rights.tenants(&claims), these(&["a", "b", "c"]));
        rights.tenants.insert("*".to_owned(), Tenants::Any);
        assert_eq!(rights.tenants(&claims), Tenants::Any);
        assert_eq!(rights.tenants(&json!({ "groups": "other" })), these(&[]));
    }
}
