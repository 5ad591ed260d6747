//! Playback links: what stands in `/v1/play/{link}` is the link's id, which the catalog knows, and a MAC over its conditions
//! under a key of the recording, which it does not.
//!
//! ```text
//! link key = HKDF-Expand(DEK, "callvault/v1/link" || tenant4 || recording16 || class1, 32)
//! mac      = HMAC-SHA256(link key, id16 || expires_at i64 || uses_max u32 || address16)[..16]
//! link     = base64url(id16 || mac), 43 characters without padding (RFC 4648 section 5)
//! ```
//!
//! `uses_max` is 0 for any number; `address16` is IPv6, IPv4 in its mapped form, and all zero for any. Every part has a fixed
//! length, so no two conditions run into each other.
//!
//! Who made it and whether it was revoked stand in the catalog alone: who can write there can undo a revocation, and no more.
//!
//! # Secrecy
//! No database makes or opens a link, and none outlives its recording: with the data key its link key is gone.

use core::net::{IpAddr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::LinkKey;
use crate::model::{LinkId, Timestamp};

const ID_LEN: usize = 16;
const MAC_LEN: usize = 16;

/// What a link promises; an edit of any part makes it another link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    pub id: LinkId,
    /// A whole second.
    pub expires_at: Timestamp,
    pub uses_max: Option<u32>,
    pub address: Option<IpAddr>,
}

/// A link as it came, not believed yet. Its text is a secret; `Debug` shows the id.
pub struct LinkText {
    pub id: LinkId,
    mac: [u8; MAC_LEN],
}

impl LinkText {
    /// `None` for what no link looks like.
    pub fn parse(text: &str) -> Option<LinkText> {
        let bytes: [u8; ID_LEN + MAC_LEN] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (id, mac) = bytes.split_at(ID_LEN);
        Some(LinkText { id: LinkId::from_bytes(id.try_into().ok()?), mac: mac.try_into().ok()? })
    }

    /// In constant time.
    pub fn keeps(&self, conditions: &Conditions, key: &LinkKey) -> bool {
        self.id == conditions.id && key.is_mac16(&parts(conditions), &self.mac)
    }
}

impl std::fmt::Debug for LinkText {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "LinkText({}, REDACTED)", self.id)
    }
}

/// The text of a link, for the one time that it is shown.
pub fn write(conditions: &Conditions, key: &LinkKey) -> String {
    let mac = key.mac16(&parts(conditions));
    URL_SAFE_NO_PAD.encode([conditions.id.as_bytes().as_slice(), &mac].concat())
}

fn parts(conditions: &Conditions) -> [Vec<u8>; 4] {
    let address = match conditions.address {
        None => Ipv6Addr::UNSPECIFIED,
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped(),
        Some(IpAddr::V6(address)) => address,
    };
    [
        conditions.id.as_bytes().to_vec(),
        conditions.expires_at.as_second().to_be_bytes().to_vec(),
        conditions.uses_max.unwrap_or(0).to_be_bytes().to_vec(),
        address.octets().to_vec(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::DataKey;
    use crate::model::{Class, RecordingId, TenantNumber};

    fn conditions() -> Conditions {
        Conditions {
            id: LinkId::from_bytes([1; 16]),
            expires_at: Timestamp::from_second(1_800_000_000).expect("an instant"),
            uses_max: Some(3),
            address: Some(IpAddr::from([192, 0, 2, 1])),
        }
    }

    fn key(data_key: [u8; 32], class: Class, recording: [u8; 16]) -> LinkKey {
        DataKey::take(&mut { data_key }).link_key(TenantNumber(7), RecordingId::from_bytes(recording), class)
    }

    #[test]
    fn a_link_keeps_its_own_conditions_and_no_others() {
        let own = key([5; 32], Class::Customer, [9; 16]);
        let text = write(&conditions(), &own);
        let link = LinkText::parse(&text).expect("it was just written");

        assert_eq!(text.len(), 43);
        assert!(link.keeps(&conditions(), &own));
        let later = Timestamp::from_second(1_800_000_001).expect("an instant");
        for edited in [
            Conditions { id: LinkId::from_bytes([2; 16]), ..conditions() },
            Conditions { expires_at: later, ..conditions() },
            Conditions { uses_max: None, ..conditions() },
            Conditions { uses_max: Some(4), ..conditions() },
            Conditions { address: None, ..conditions() },
            Conditions { address: Some(IpAddr::from([192, 0, 2, 2])), ..conditions() },
        ] {
            assert!(!link.keeps(&edited, &own), "{edited:?}");
        }
        for other in [
            key([6; 32], Class::Customer, [9; 16]),
            key([5; 32], Class::Training, [9; 16]),
            key([5; 32], Class::Customer, [8; 16]),
        ] {
            assert!(!link.keeps(&conditions(), &other));
        }
    }

    #[test]
    fn every_edit_of_a_link_is_refused() {
        let own = key([5; 32], Class::Customer, [9; 16]);
        let text = write(&conditions(), &own);

        for position in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[position] = if edited[position] == b'A' { b'B' } else { b'A' };
            let edited = LinkText::parse(std::str::from_utf8(&edited).expect("ASCII"));
            assert!(!edited.is_some_and(|link| link.keeps(&conditions(), &own)), "edited at {position}");
            assert!(LinkText::parse(&text[..position]).is_none());
        }
    }

    #[test]
    fn a_link_is_not_printed_by_debug() {
        let text = write(&conditions(), &key([5; 32], Class::Customer, [9; 16]));
        let shown = format!("{:?}", LinkText::parse(&text).expect("it was just written"));

        assert_eq!(shown, "LinkText(01010101-0101-0101-0101-010101010101, REDACTED)");
    }
}
