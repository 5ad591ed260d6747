//! Every domain-separation string, in one place. Stored bytes depend on each of them: none may ever change.

pub const GGM: &[u8] = b"callvault/v1/ggm";
pub const KEK: &[u8] = b"callvault/v1/kek";
pub const WRAP: &[u8] = b"callvault/v1/wrap";
pub const OBJECT: &[u8] = b"callvault/v1/object";
pub const INDEX: &[u8] = b"callvault/v1/index";
pub const BLOB: &[u8] = b"callvault/v1/blob";
pub const RING: &[u8] = b"callvault/v1/ring";
/// The key of the names under which senders upload (not in DESIGN: names may hold numbers, so they are sealed too).
pub const NAME: &[u8] = b"callvault/v1/name";
/// The key of a recording's label: its name and media type, sealed.
pub const LABEL: &[u8] = b"callvault/v1/label";
/// The key that signs receipts of destruction.
pub const RECEIPT: &[u8] = b"callvault/v1/receipt";
/// The hashes of an audit trail.
pub const TRAIL: &[u8] = b"callvault/v1/trail";
/// The key of the frames of a recording that is still arriving, in the spool's log.
pub const SPOOL: &[u8] = b"callvault/v1/spool";
/// The key under which servers of one vault tell each other for whom they ask. No stored bytes depend on it.
pub const PEER: &[u8] = b"callvault/v1/peer";
/// The key of a recording's playback links.
pub const LINK: &[u8] = b"callvault/v1/link";
