//! Layer 1: everything that turns keys into keys and bytes into sealed bytes. DESIGN section 3 is its specification,
//! `vectors/*.json` are its proof, and another implementation can be written from the two.
//!
//! Pure: no clock, disk, network, async or logging in here (`tests/it/tidy.rs` checks it). What is random comes in as
//! an argument, but for [`random`], which asks the operating system.
//!
//! | file | what it holds |
//! |---|---|
//! | [`labels`] | every domain-separation string |
//! | [`keys`] | one type per rung of the key ladder, and the steps between rungs |
//! | [`tree`] | the puncturable pseudo-random function (GGM tree) |
//! | [`ring`] | the ring: trees, floor, and their file |
//! | [`wrap`] | a data key sealed under a key of its term |
//! | [`header`], [`stream`] | the object: its header and geometry; sealing and opening chunk by chunk |
//! | [`frame`] | the bytes that have not filled a chunk yet, sealed piece by piece |
//! | `journal` | debug builds only: which key sealed under which nonce |
//! | [`blob`] | call data and labels, sealed |
//! | [`token`] | bearer tokens |
//! | [`link`] | playback links |
//! | [`receipt`] | Merkle root, signature |
//! | [`jws`] | signed statements |
//! | [`trail`] | the chain of an audit trail |

pub mod blob;
pub mod frame;
pub mod header;
#[cfg(debug_assertions)]
pub mod journal;
pub mod jws;
pub mod keys;
pub mod labels;
pub mod link;
pub mod random;
pub mod receipt;
pub mod ring;
pub mod stream;
pub mod token;
pub mod trail;
pub mod tree;
pub mod wrap;

use thiserror::Error;

/// Why bytes were not accepted. Says nothing about keys.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum CryptoError {
    #[error("the bytes do not authenticate under this key")]
    NotAuthentic,
    #[error("the bytes are malformed: {0}")]
    Malformed(&'static str),
    #[error("the key of this path was destroyed")]
    Punctured,
    #[error("there is no such tree in the ring")]
    UnknownTree,
}

#[cfg(test)]
mod property;
#[cfg(test)]
mod vectors;
