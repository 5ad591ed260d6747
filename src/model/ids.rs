//! Names of things: recordings and tokens by UUIDv7, objects by 128 random bits, tenants by number and slug.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

/// A tenant's place in the tenant tree: 32 bits, given in ascending order from 1, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantNumber(pub u32);

/// A tenant's name in URLs and commands: 1 to 63 of `a-z`, `0-9` and `-`, not at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(String);

impl Slug {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = String;

    fn from_str(text: &str) -> Result<Slug, String> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let sound = (1..=63).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !sound {
            return Err("a tenant's slug is 1 to 63 of a-z, 0-9 and '-', with no '-' at either end".into());
        }
        Ok(Slug(text.into()))
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A server's name among those that share a catalog, the same after each of its restarts: 1 to 64 letters, digits, `.`, `_`
/// and `-`, as host names have them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaName(Arc<str>);

impl ReplicaName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReplicaName {
    type Err = String;

    fn from_str(text: &str) -> Result<ReplicaName, String> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !(1..=64).contains(&text.len()) || !text.bytes().all(allowed) {
            return Err("a replica's name is 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'".into());
        }
        Ok(ReplicaName(text.into()))
    }
}

impl fmt::Display for ReplicaName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! uuid_v7_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A UUIDv7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, then `random`.
            pub fn new(now: Timestamp, random: [u8; 10]) -> $name {
                let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
                $name(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            pub const fn from_bytes(bytes: [u8; 16]) -> $name {
                $name(Uuid::from_bytes(bytes))
            }

            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<$name, uuid::Error> {
                Uuid::try_parse(text).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }
    };
}

uuid_v7_id! {
    /// A recording, for ever: the id outlives the recording in receipts and in 410 answers.
    RecordingId
}
uuid_v7_id! {
    /// A token's id: safe to print, says nothing of the token.
    TokenId
}
uuid_v7_id! {
    /// A call detail record: the subject of the wraps of classes `cdr` and `finance`.
    CallId
}
uuid_v7_id! {
    /// One of the provider's staff.
    PersonId
}
uuid_v7_id! {
    /// A playback link: its first half, which opens nothing.
    LinkId
}

/// What a wrap belongs to: the 16 bytes of a recording's or a call's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectId(pub [u8; 16]);

impl From<RecordingId> for SubjectId {
    fn from(id: RecordingId) -> SubjectId {
        SubjectId(*id.as_bytes())
    }
}

impl From<CallId> for SubjectId {
    fn from(id: CallId) -> SubjectId {
        SubjectId(*id.as_bytes())
    }
}

/// An object's name: 128 random bits, so that a bucket's listing tells nothing of tenants or calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 16]);

impl ObjectId {
    /// What stands in a wrap's binding when no object belongs to it (call detail records).
    pub const NONE: ObjectId = ObjectId([0; 16]);
}

impl FromStr for ObjectId {
    type Err = String;

    fn from_str(text: &str) -> Result<ObjectId, String> {
        // One name per object: the standard parser would also take a `+`, and capitals.
        let canonical = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !canonical {
            return Err("an object's name is 32 lower-case hexadecimal digits".into());
        }
        let value = u128::from_str_radix(text, 16).expect("32 hexadecimal digits are 128 bits");
        Ok(ObjectId(value.to_be_bytes()))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_one_name_and_no_other_spelling_of_it_is_taken() {
        let name = "00c0ffee00000000000000000000000a";
        assert_eq!(name.parse::<ObjectId>().expect("its own name").to_string(), name);

        for other in ["+0c0ffee00000000000000000000000a", "00C0FFEE00000000000000000000000A", "c0ffee", "", &name[1..]]
        {
            assert!(other.parse::<ObjectId>().is_err(), "{other:?} was accepted");
        }
    }
}
