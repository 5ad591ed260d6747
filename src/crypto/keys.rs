//! The key ladder: one type per rung, and the steps from rung to rung.
//!
//! ```text
//! MasterKey + GenerationSecret ─► RingKey ─► ring.<g> ─┬─► Leaf(time path) ──┐
//!                                                      └─► TenantKey ────────┴─► Kek ─► DataKey ─► ObjectKey, LabelKey, FrameKey, LinkKey
//!                                                                            └─► IndexKey, NameKey
//! ```
//!
//! # Secrecy
//! Every rung is 32 bytes in a box of its own, wiped when dropped. No rung can be cloned, compared, defaulted or
//! serialised, and `{:?}` prints `REDACTED`. A rung is given away to the step that uses it up wherever it is used once.

use std::fmt;

use aws_lc_rs::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use chacha20poly1305::XChaCha20Poly1305;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::frame::{FrameKey, LogSalt};
use super::labels;
use crate::model::{Class, Day, RecordingId, SubjectId, TenantNumber, TimePath};

pub const KEY_LEN: usize = 32;

// Secrecy: the proof that the sealing key's type wipes itself; it does so only with the crate's `zeroize` feature.
const _: fn() = || {
    fn wiped_on_drop<T: ZeroizeOnDrop>() {}
    wiped_on_drop::<XChaCha20Poly1305>();
    wiped_on_drop::<MasterKey>();
    wiped_on_drop::<GenerationSecret>();
    wiped_on_drop::<RingKey>();
    wiped_on_drop::<Leaf>();
    wiped_on_drop::<TenantKey>();
    wiped_on_drop::<Kek>();
    wiped_on_drop::<DataKey>();
    wiped_on_drop::<CipherKey>();
    wiped_on_drop::<LabelKey>();
    wiped_on_drop::<IndexKey>();
    wiped_on_drop::<NameKey>();
    wiped_on_drop::<SigningSeed>();
    wiped_on_drop::<PeerKey>();
    wiped_on_drop::<LinkKey>();
};

macro_rules! rung {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(ZeroizeOnDrop)]
        pub struct $name(Box<[u8; KEY_LEN]>);

        impl $name {
            /// Takes the bytes and wipes the caller's copy.
            pub fn take(bytes: &mut [u8; KEY_LEN]) -> $name {
                let mut boxed = Box::new([0; KEY_LEN]);
                boxed.copy_from_slice(bytes);
                bytes.zeroize();
                $name(boxed)
            }

            /// For the step to the next rung, and for the stores that keep this one.
            pub fn expose(&self) -> &[u8; KEY_LEN] {
                &self.0
            }

            #[allow(dead_code, reason = "not every rung is filled in place")]
            fn filled(fill: impl FnOnce(&mut [u8; KEY_LEN])) -> $name {
                let mut boxed = Box::new([0; KEY_LEN]);
                fill(&mut boxed);
                $name(boxed)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(REDACTED)"))
            }
        }
    };
}

rung! {
    /// The constant root: a file or a KMS holds it. Alone it opens nothing (from level 2 on).
    MasterKey
}
rung! {
    /// The secret of one generation of the ring, kept in a second place and destroyed at each advance.
    GenerationSecret
}
rung! {
    /// Opens one ring file.
    RingKey
}
rung! {
    /// A leaf of a time tree: dies when its epoch is advanced past or its path is punctured.
    Leaf
}
rung! {
    /// A leaf of the tenant tree: dies when the tenant is offboarded.
    TenantKey
}
rung! {
    /// Wraps one subject's data key for one class and term.
    Kek
}
rung! {
    /// A recording's or a sealed blob's own key: random, kept only wrapped.
    DataKey
}
rung! {
    /// Seals the chunks of one object, or one recording's frames in one log.
    CipherKey
}
rung! {
    /// Seals a recording's label.
    LabelKey
}
rung! {
    /// Makes one tenant's search tokens for one expiry day.
    IndexKey
}
rung! {
    /// Makes one tenant's tokens of upload names.
    NameKey
}
rung! {
    /// The seed (RFC 8032) of the key that signs receipts.
    SigningSeed
}

rung! {
    /// Stamps what servers of one vault tell each other.
    PeerKey
}

rung! {
    /// Makes the playback links of one recording and class.
    LinkKey
}

impl MasterKey {
    /// `HKDF[salt = "callvault/v1/ring", info = level || generation](master || generation secret, 32)`, RFC 5869.
    /// At level 1 there is no generation secret and the input is the master key alone: the two lengths of the input
    /// and the level in `info` keep them apart.
    pub fn ring_key(&self, secret: Option<&GenerationSecret>, level: u8, generation: u64) -> RingKey {
        let mut ikm = Zeroizing::new([0; 2 * KEY_LEN]);
        ikm[..KEY_LEN].copy_from_slice(self.expose());
        let ikm_len = match secret {
            Some(secret) => {
                ikm[KEY_LEN..].copy_from_slice(secret.expose());
                2 * KEY_LEN
            }
            None => KEY_LEN,
        };
        RingKey::filled(|key| {
            hkdf(labels::RING, &ikm[..ikm_len], &[&[level], &generation.to_be_bytes()], key);
        })
    }

    /// `HKDF[salt = "callvault/v1/receipt"](master, 32)`: receipts outlive every generation, so their key does too.
    pub fn signing_seed(&self) -> SigningSeed {
        SigningSeed::filled(|seed| hkdf(labels::RECEIPT, self.expose(), &[], seed))
    }
}

impl MasterKey {
    /// `HKDF[salt = "callvault/v1/peer"](master, 32)`: all servers of a vault have its master key, and nobody else has.
    pub fn peer_key(&self) -> PeerKey {
        PeerKey::filled(|key| hkdf(labels::PEER, self.expose(), &[], key))
    }
}

impl PeerKey {
    /// `HMAC-SHA256(peer key, len4 || part || len4 || part ...)`: no two lists of parts run into each other.
    pub fn stamp(&self, parts: &[impl AsRef<[u8]>]) -> [u8; 32] {
        self.stamping(parts).finalize().into_bytes().into()
    }

    /// In constant time.
    pub fn is_stamp(&self, parts: &[impl AsRef<[u8]>], stamp: &[u8]) -> bool {
        self.stamping(parts).verify_slice(stamp).is_ok()
    }

    fn stamping(&self, parts: &[impl AsRef<[u8]>]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.expose()).expect("HMAC takes keys of any length");
        for part in parts {
            let len = u32::try_from(part.as_ref().len()).expect("parts are fields of a request's head");
            mac.update(&len.to_be_bytes());
            mac.update(part.as_ref());
        }
        mac
    }
}

/// What a wrapping key is for. Every part has a fixed length, so no two inputs can run into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KekScope {
    pub class: Class,
    pub tenant: TenantNumber,
    pub subject: SubjectId,
    pub path: TimePath,
}

impl Kek {
    /// `HKDF[salt = "callvault/v1/kek", info = class1 || tenant4 || subject16 || tree2 || epoch4 || tag8](leaf || tenant key, 32)`,
    /// RFC 5869 with SHA-256.
    pub fn derive(leaf: Leaf, tenant_key: &TenantKey, scope: &KekScope) -> Kek {
        let info: [&[u8]; 6] = [
            &[scope.class as u8],
            &scope.tenant.0.to_be_bytes(),
            &scope.subject.0,
            &scope.path.tree.0.to_be_bytes(),
            &scope.path.epoch.number().to_be_bytes(),
            &scope.path.tag.number().to_be_bytes(),
        ];
        Kek::filled(|key| hkdf(labels::KEK, &*joined(&leaf, tenant_key), &info, key))
    }
}

impl DataKey {
    pub fn random() -> DataKey {
        DataKey::take(&mut super::random::random())
    }

    /// `HKDF-Expand(DEK, "callvault/v1/label" || tenant4 || recording16, 32)`.
    pub fn label_key(&self, tenant: TenantNumber, recording: RecordingId) -> LabelKey {
        LabelKey::filled(|key| {
            expand(self, &[labels::LABEL, &tenant.0.to_be_bytes(), recording.as_bytes()], key);
        })
    }

    /// `HKDF-Expand(DEK, "callvault/v1/link" || tenant4 || recording16 || class1, 32)`.
    pub fn link_key(&self, tenant: TenantNumber, recording: RecordingId, class: Class) -> LinkKey {
        LinkKey::filled(|key| {
            let info: [&[u8]; 4] = [labels::LINK, &tenant.0.to_be_bytes(), recording.as_bytes(), &[class as u8]];
            expand(self, &info, key);
        })
    }

    /// `HKDF-Expand(DEK, "callvault/v1/object" || header[0..40] || tenant4 || recording16)` -> key 32 || base nonce 12 ||
    /// commitment 32. The header's random salt makes the key of every segment new, so a chunk index is never sealed
    /// twice under one key.
    pub fn object_key(&self, preamble: &[u8; 40], tenant: TenantNumber, recording: RecordingId) -> ObjectKey {
        let mut okm = Zeroizing::new([0; 76]);
        expand(self, &[labels::OBJECT, preamble, &tenant.0.to_be_bytes(), recording.as_bytes()], &mut *okm);
        ObjectKey {
            cipher: CipherKey::filled(|key| key.copy_from_slice(&okm[..32])),
            base_nonce: okm[32..44].try_into().expect("12 bytes"),
            commitment: okm[44..].try_into().expect("32 bytes"),
        }
    }
}

impl DataKey {
    /// `HKDF-Expand(DEK, "callvault/v1/spool" || log salt24 || tenant4 || recording16)` -> key 32 || name 16. A log's random
    /// salt makes the key new in every log.
    pub(super) fn frame_key(&self, salt: &LogSalt, tenant: TenantNumber, recording: RecordingId) -> FrameKey {
        let mut okm = Zeroizing::new([0; 48]);
        expand(self, &[labels::SPOOL, &salt.0, &tenant.0.to_be_bytes(), recording.as_bytes()], &mut *okm);
        FrameKey {
            cipher: CipherKey::filled(|key| key.copy_from_slice(&okm[..32])),
            #[cfg(debug_assertions)]
            name: okm[32..].try_into().expect("16 bytes"),
        }
    }
}

impl CipherKey {
    /// AWS-LC's ChaCha20-Poly1305 (RFC 8439), about twice as fast as the portable crate on long chunks. It keeps its key on
    /// the C heap, which `OPENSSL_free` cleanses.
    ///
    /// Limit: made for each chunk and each frame, which costs a hundredth of sealing a chunk; ten thousand calls that keep
    /// two of them keep 12 MB.
    pub(super) fn cipher(&self) -> LessSafeKey {
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, self.expose()).expect("the key is 32 bytes long");
        LessSafeKey::new(unbound)
    }
}

/// Seals or opens the chunks of one object.
pub struct ObjectKey {
    pub(super) cipher: CipherKey,
    pub(super) base_nonce: [u8; 12],
    /// Stands in the header: an object opens under one key only.
    pub(super) commitment: [u8; 32],
}

impl LinkKey {
    /// `HMAC-SHA256(link key, parts)[..16]`; the parts have fixed lengths.
    pub(super) fn mac16(&self, parts: &[Vec<u8>]) -> [u8; 16] {
        let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
        mac16(self.expose(), &parts)
    }

    /// In constant time.
    pub(super) fn is_mac16(&self, parts: &[Vec<u8>], mac: &[u8; 16]) -> bool {
        self.mac16(parts).ct_eq(mac).into()
    }
}

impl IndexKey {
    /// `HKDF[salt = "callvault/v1/index", info = tenant4 || day4](leaf || tenant key, 32)`; the leaf is the reserved one of
    /// the day's last epoch.
    pub fn derive(leaf: Leaf, tenant_key: &TenantKey, tenant: TenantNumber, day: Day) -> IndexKey {
        let info: [&[u8]; 2] = [&tenant.0.to_be_bytes(), &day.0.to_be_bytes()];
        IndexKey::filled(|key| hkdf(labels::INDEX, &*joined(&leaf, tenant_key), &info, key))
    }

    /// `HMAC-SHA256(index key, field1 || value)[..16]`.
    pub fn token(&self, field: IndexField, value: &str) -> [u8; 16] {
        mac16(self.expose(), &[&[field as u8], value.as_bytes()])
    }
}

/// What a search token stands for. Stored bytes depend on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum IndexField {
    /// The A-number, E.164 in ASCII with its `+`.
    ANumber = 1,
    /// The B-number, likewise.
    BNumber = 2,
    CallId = 3,
}

impl NameKey {
    /// `HKDF[salt = "callvault/v1/name", info = tenant4 || window4](leaf || tenant key, 32)`; the leaf is the reserved one of
    /// the last epoch of the window of days in which the recording ends.
    pub fn derive(leaf: Leaf, tenant_key: &TenantKey, tenant: TenantNumber, window: u32) -> NameKey {
        let info: [&[u8]; 2] = [&tenant.0.to_be_bytes(), &window.to_be_bytes()];
        NameKey::filled(|key| hkdf(labels::NAME, &*joined(&leaf, tenant_key), &info, key))
    }

    /// `HMAC-SHA256(name key, name)[..16]`.
    pub fn token(&self, name: &str) -> [u8; 16] {
        mac16(self.expose(), &[name.as_bytes()])
    }
}

/// `child_b = HMAC-SHA256(node, "callvault/v1/ggm" || b)`, written over `node`.
pub(super) fn descend(node: &mut [u8; KEY_LEN], bit: u8) {
    let child = child(node, bit);
    node.copy_from_slice(&*child);
}

pub(super) fn child(node: &[u8; KEY_LEN], bit: u8) -> Zeroizing<[u8; KEY_LEN]> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(node).expect("HMAC takes keys of any length");
    mac.update(labels::GGM);
    mac.update(&[bit]);
    let mut output = mac.finalize().into_bytes();
    let mut child = Zeroizing::new([0; KEY_LEN]);
    child.copy_from_slice(&output);
    output.as_mut_slice().zeroize();
    child
}

fn joined(leaf: &Leaf, tenant_key: &TenantKey) -> Zeroizing<[u8; 2 * KEY_LEN]> {
    let mut ikm = Zeroizing::new([0; 2 * KEY_LEN]);
    ikm[..KEY_LEN].copy_from_slice(leaf.expose());
    ikm[KEY_LEN..].copy_from_slice(tenant_key.expose());
    ikm
}

fn hkdf(salt: &[u8], ikm: &[u8], info: &[&[u8]], okm: &mut [u8]) {
    Hkdf::<Sha256>::new(Some(salt), ikm).expand_multi_info(info, okm).expect("at most 255 blocks are asked for");
}

fn expand(data_key: &DataKey, info: &[&[u8]], okm: &mut [u8]) {
    let hkdf = Hkdf::<Sha256>::from_prk(data_key.expose()).expect("a data key is as long as a hash");
    hkdf.expand_multi_info(info, okm).expect("at most 255 blocks are asked for");
}

fn mac16(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes()[..16].try_into().expect("a SHA-256 output has 32 bytes")
}
