//! The journal of sealings, in debug builds only: which key sealed under which nonce, for tests that hold all processes of a
//! vault to the rule that no pair comes twice.
//!
//! ```text
//! journal  one file for each process, with a random name | records
//! record   name16 || nonce u64
//! ```
//!
//! # Promise
//! A record is with the operating system before its sealing begins, by one call: a process that is killed leaves one for
//! everything that it sealed, and at most a piece of one, at the end of its file, for what it did not. A loss of power is
//! no concern here.
//!
//! # Secrecy
//! Names say nothing of keys: an object's stands in its header. Even so, a release build has neither this module nor the
//! hook that it hangs on.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{IoSlice, Write as _};
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::crypto::{journal, random::random};

/// Names the directory, which must be there; without it nothing is written.
const DIRECTORY: &str = "CALLVAULT_SEAL_JOURNAL";
const RECORD_LEN: usize = 24;

static FILE: OnceLock<File> = OnceLock::new();

/// Opens this process's journal where one is asked for.
///
/// # Panics
/// If it cannot be opened: a journal with holes proves nothing. Recording panics likewise.
pub fn begin() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let mut name = String::new();
    for byte in random::<16>() {
        write!(name, "{byte:02x}").expect("a string takes everything");
    }
    let path = PathBuf::from(directory).join(name);
    let file = OpenOptions::new().append(true).create_new(true).open(&path);
    let file = file.unwrap_or_else(|error| panic!("the journal {} cannot be opened: {error}", path.display()));
    FILE.set(file).expect("a process begins its journal once");
    journal::observe(record);
}

/// One gathering write, so that the records of several threads do not mix and a kill loses none that was followed by a sealing.
fn record(name: &[u8; 16], nonce: u64) {
    let mut file = FILE.get().expect("it is opened before the observer is set");
    let nonce = nonce.to_be_bytes();
    let written = file.write_vectored(&[IoSlice::new(name), IoSlice::new(&nonce)]);
    assert_eq!(written.expect("the journal takes a record"), RECORD_LEN, "the journal takes a record whole");
}
