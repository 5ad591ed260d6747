//! In debug builds: tells an observer which key seals under which nonce, so that tests can prove over crashes and restarts
//! that no pair ever repeats. A release build has neither the observer nor the call.

use super::frame::FrameKey;
use super::keys::ObjectKey;

/// Something that seals, named by a value that only its key gives.
pub(super) trait Named {
    fn name(&self) -> [u8; 16];
}

#[cfg(debug_assertions)]
static OBSERVER: std::sync::OnceLock<fn(name: &[u8; 16], nonce: u64)> = std::sync::OnceLock::new();

/// Takes the first observer; it is called before each sealing.
#[cfg(debug_assertions)]
pub fn observe(observer: fn(name: &[u8; 16], nonce: u64)) {
    let _ = OBSERVER.set(observer);
}

/// One key seals under one nonce.
#[cfg(debug_assertions)]
pub(super) fn note(key: &impl Named, nonce: u64) {
    if let Some(observer) = OBSERVER.get() {
        observer(&key.name(), nonce);
    }
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) fn note(_: &impl Named, _: u64) {}

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
