//! Layer 1: what a recording's bytes are. PBXes say little about what they send, and what a streamed header says of its
//! length is wrong; the bytes tell.
//!
//! Pure: functions over bytes and over sources of bytes that the caller opens (`tests/it/tidy.rs` checks it).
//!
//! | file | what it answers |
//! |---|---|
//! | [`sniff`] | of which media type are these bytes? |
//! | [`wav`] | which sizes in a WAV header are wrong, and what should stand there? |
//! | [`duration`] | how long does it sound? |

pub mod duration;
pub mod sniff;
pub mod wav;
