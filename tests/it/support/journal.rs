//! What was sealed under which key and nonce, as the journals of debug builds tell it: no pair comes twice.
//!
//! Each process of a vault writes its own (`src/telemetry/journal.rs`); what is sealed in this process is held in memory.
//! A release build tells nothing, and nothing is checked.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The variable that names the directory of journals.
pub const VARIABLE: &str = "CALLVAULT_SEAL_JOURNAL";
pub const RECORD_LEN: usize = 24;

/// A key, by its name, and a nonce.
type Pair = ([u8; 16], u64);

/// How many sealings all journals of a directory tell. `Err` tells each pair that comes twice, and in which files.
pub fn check(dir: &Path) -> Result<usize, String> {
    let files = super::files(dir);
    let mut sealings: Vec<(Pair, &Path)> =
        files.iter().flat_map(|file| read(file).into_iter().map(|pair| (pair, &**file))).collect();
    sealings.sort_unstable();
    let twice: Vec<_> = sealings.windows(2).filter(|two| two[0].0 == two[1].0).map(told_twice).collect();
    if twice.is_empty() { Ok(sealings.len()) } else { Err(twice.join("\n")) }
}

/// A file's whole records: one that was cut by a kill was not followed by its sealing.
fn read(file: &Path) -> Vec<Pair> {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let (records, _) = bytes.as_chunks::<RECORD_LEN>();
    let pair = |record: &[u8; RECORD_LEN]| {
        let (name, nonce) = record.split_at(16);
        (name.try_into().expect("16 bytes"), u64::from_be_bytes(nonce.try_into().expect("8 bytes")))
    };
    records.iter().map(pair).collect()
}

fn told_twice(two: &[(Pair, &Path)]) -> String {
    let [((name, nonce), first), (_, second)] = two else { unreachable!("windows of two") };
    let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("key {name} sealed twice under nonce {nonce}: {} and {}", first.display(), second.display())
}

/// What this process sealed, and what it sealed twice.
static SEALED: Mutex<(BTreeSet<Pair>, Vec<Pair>)> = Mutex::new((BTreeSet::new(), Vec::new()));

/// From here on, what is sealed in this process is held.
pub fn watch_this_process() {
    #[cfg(debug_assertions)]
    callvault::crypto::journal::observe(|name, nonce| {
        let mut sealed = SEALED.lock().unwrap_or_else(PoisonError::into_inner);
        if !sealed.0.insert((*name, nonce)) {
            sealed.1.push((*name, nonce));
        }
    });
}

/// # Panics
/// If a pair came twice in this process.
pub fn assert_this_process() {
    let sealed = SEALED.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(sealed.1.is_empty(), "keys that sealed twice under one nonce in this process: {:02x?}", sealed.1);
}
