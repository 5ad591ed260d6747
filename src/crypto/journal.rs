//! In debug builds: tells an observer which key seals under which nonce, so that tests can prove over crashes and restarts
//! that no pair ever repeats. A release build does not have this module, and whoever seals makes no call there.

use std::sync::OnceLock;

use super::frame::FrameKey;
use super::keys::ObjectKey;

/// Something that seals, named by a value that only its key gives.
pub(super) trait Named {
    fn name(&self) -> [u8; 16];
}

static OBSERVER: OnceLock<fn(name: &[u8; 16], nonce: u64)> = OnceLock::new();

/// Takes the first observer; it is called before each sealing.
pub fn observe(observer: fn(name: &[u8; 16], nonce: u64)) {
    let _ = OBSERVER.set(observer);
}

/// One key is about to seal under one nonce.
pub(super) fn note(key: &impl Named, nonce: u64) {
    if let Some(observer) = OBSERVER.get() {
        observer(&key.name(), nonce);
    }
}

impl Named for ObjectKey {
    fn name(&self) -> [u8; 16] {
        self.commitment[..16].try_into().expect("a commitment has 32 bytes")
    }
}

impl Named for FrameKey {
    fn name(&self) -> [u8; 16] {
        self.name
    }
}
