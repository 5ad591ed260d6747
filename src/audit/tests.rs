//! Every way to falsify a trail, as lines and as a list, with the place that is named for it.

use std::io::BufReader;

use super::chain::Chain;
use super::checkpoints::Checkpoint;
use super::line::{checkpoint_line, line};
use super::verify_lines;
use crate::catalog::{TrailHead, TrailRow};
use crate::crypto::keys::SigningSeed;
use crate::crypto::receipt::Signer;
use crate::crypto::trail::{entry_hash, genesis};
use crate::model::text::hex;
use crate::model::trail::{Action, Entry, Who};
use crate::model::{TenantNumber, Timestamp};

const TENANT: TenantNumber = TenantNumber(3);
const COUNT: u64 = 9;

fn signer() -> Signer {
    Signer::new(&SigningSeed::take(&mut [7; 32]))
}

/// A sound trail.
fn rows() -> Vec<TrailRow> {
    let mut previous = genesis(TENANT);
    let mut rows = Vec::new();
    for seq in 1..=COUNT {
        let at = Timestamp::from_second(1_790_000_000 + seq as i64).expect("an instant");
        let entry = Entry::new(at, Action::Show, Who::operator(seq as u32));
        let text = entry.to_text();
        previous = entry_hash(TENANT, seq, &previous, &text);
        rows.push(TrailRow { tenant: TENANT, seq, at, action: "show".into(), recording: None, hash: previous, text });
    }
    rows
}

fn checkpoint(rows: &[TrailRow], seq: u64, first: u64) -> Checkpoint {
    let hash = |seq: u64| if seq == 0 { genesis(TENANT) } else { rows[seq as usize - 1].hash };
    Checkpoint {
        tenant_number: TENANT.0,
        seq,
        hash: hex(&hash(seq)),
        first,
        anchor: hex(&hash(first - 1)),
        signed_at: Timestamp::from_second(1_790_000_000).expect("an instant"),
        generation: 1,
    }
}

fn faults(rows: &[TrailRow], checkpoints: &[Checkpoint]) -> Vec<String> {
    let mut chain = Chain::new(TENANT, checkpoints);
    rows.iter().for_each(|row| chain.take(row));
    chain.end(None);
    chain.faults
}

/// Chains the rows anew from a place on, as whoever can compute a hash would.
fn rechain(rows: &mut [TrailRow], from: usize) {
    for at in from..rows.len() {
        let previous = if at == 0 { genesis(TENANT) } else { rows[at - 1].hash };
        rows[at].hash = entry_hash(TENANT, rows[at].seq, &previous, &rows[at].text);
    }
}

#[test]
fn a_sound_trail_has_no_faults_whatever_checkpoints_cover_it() {
    let rows = rows();

    assert_eq!(faults(&rows, &[]), [""; 0]);
    for seq in 1..=COUNT {
        assert_eq!(faults(&rows, &[checkpoint(&rows, seq, 1)]), [""; 0]);
        let cut = faults(&rows[seq as usize - 1..], &[checkpoint(&rows, COUNT, seq)]);
        assert_eq!(cut, [""; 0], "cut behind {}", seq - 1);
    }
}

#[test]
fn every_entry_that_is_altered_left_out_moved_or_added_is_named() {
    let sound = rows();
    for at in 0..COUNT as usize {
        let seq = at as u64 + 1;

        let mut altered = sound.clone();
        altered[at].text = altered[at].text.replace("show", "play");
        let found = faults(&altered, &[]);
        assert!(found[0].contains(&format!("entry {seq} is not what was chained")), "{found:?}");

        // With its own hash put right: what follows contradicts it, or the checkpoint does.
        rechain(&mut altered[..=at], at);
        let found = faults(&altered, &[checkpoint(&sound, COUNT, 1)]);
        let next = seq + 1;
        let expected =
            if seq == COUNT { format!("entry {seq} is not the one") } else { format!("entry {next} is not") };
        assert!(found.iter().any(|fault| fault.contains(&expected)), "{seq}: {found:?}");

        let mut cut = sound.clone();
        cut.remove(at);
        let found = faults(&cut, &[checkpoint(&sound, COUNT, 1)]);
        let expected = if seq == COUNT { "cut off" } else { &format!("entry {seq} is missing") };
        assert!(found[0].contains(expected), "{seq}: {found:?}");

        let mut doubled = sound.clone();
        doubled.insert(at, sound[at].clone());
        assert!(faults(&doubled, &[])[0].contains(&format!("entry {seq} stands where")), "{seq}");

        for column in ["at", "action"] {
            let mut listed = sound.clone();
            match column {
                "at" => listed[at].at = sound[(at + 1) % COUNT as usize].at,
                _ => listed[at].action = "erase".into(),
            }
            assert!(faults(&listed, &[])[0].contains(&format!("entry {seq} is listed under")), "{column} {seq}");
        }
    }
}

#[test]
fn entries_that_were_swapped_are_found_with_and_without_their_numbers() {
    let sound = rows();
    for at in 0..COUNT as usize - 1 {
        let mut swapped = sound.clone();
        swapped.swap(at, at + 1);
        assert!(!faults(&swapped, &[]).is_empty(), "lines {at}");

        let mut swapped = sound.clone();
        let (left, right) = (sound[at].clone(), sound[at + 1].clone());
        (swapped[at].text, swapped[at].at, swapped[at].hash) = (right.text, right.at, right.hash);
        (swapped[at + 1].text, swapped[at + 1].at, swapped[at + 1].hash) = (left.text, left.at, left.hash);
        let found = faults(&swapped, &[]);
        assert!(found[0].contains(&format!("entry {} is not what", at + 1)), "rows {at}: {found:?}");
    }
}

#[test]
fn another_history_is_found_by_any_checkpoint_that_it_contradicts() {
    let sound = rows();
    for at in 0..COUNT as usize {
        let mut other = sound.clone();
        other[at].text = other[at].text.replace("uid", "UID");
        rechain(&mut other, at);

        assert_eq!(faults(&other, &[]), [""; 0], "hashes alone cannot tell");
        for signed in 1..=COUNT {
            let found = faults(&other, &[checkpoint(&sound, signed, 1)]);
            assert_eq!(!found.is_empty(), signed > at as u64, "altered at {at}, signed at {signed}: {found:?}");
        }
    }
}

#[test]
fn a_trail_begins_where_its_checkpoint_says_and_nowhere_else() {
    let sound = rows();
    let signed = [checkpoint(&sound, COUNT, 4)];

    assert!(faults(&sound[2..], &signed)[0].contains("entry 3 stands where entry 4 is due"));
    assert!(faults(&sound[4..], &signed)[0].contains("entry 4 is missing"));
    assert!(faults(&sound[3..], &[])[0].contains("entries 1 to 3 are missing"));
    let anchor = Checkpoint { anchor: hex(&[9; 32]), ..checkpoint(&sound, COUNT, 4) };
    assert!(faults(&sound[3..], &[anchor])[0].contains("entry 4 is not what was chained behind entry 3"));
}

#[test]
fn a_head_that_is_not_the_last_entry_is_found() {
    let sound = rows();
    let mut chain = Chain::new(TENANT, &[]);
    sound[..5].iter().for_each(|row| chain.take(row));

    chain.end(Some(TrailHead { seq: COUNT, hash: sound[8].hash }));

    assert!(chain.faults[0].contains("it ends with entry 5, and its head is entry 9"));
}

fn exported(rows: &[TrailRow]) -> Vec<String> {
    let checkpoint = checkpoint(rows, COUNT, 1);
    rows.iter().map(line).chain([checkpoint_line(&checkpoint.sign(&signer()))]).collect()
}

/// Everything that is said of a file of these lines.
fn file_faults(lines: &[String]) -> Vec<String> {
    let text = lines.join("\n");
    let (trails, faults) =
        verify_lines(&signer().public_key(), || Ok(BufReader::new(text.as_bytes()))).expect("memory is read");
    faults.into_iter().chain(trails.into_iter().flat_map(|trail| trail.faults)).collect()
}

#[test]
fn every_edit_of_an_exported_file_is_found() {
    let sound = exported(&rows());
    assert_eq!(file_faults(&sound), [""; 0]);

    for at in 0..sound.len() {
        let mut without = sound.clone();
        without.remove(at);
        assert!(!file_faults(&without).is_empty(), "without line {at}");
        assert!(!file_faults(&sound[..at]).is_empty() || at == 0, "cut behind line {at}");
        let mut doubled = sound.clone();
        doubled.insert(at, sound[at].clone());
        // A checkpoint may be repeated.
        assert_eq!(!file_faults(&doubled).is_empty(), at < COUNT as usize, "line {at} doubled");
        for byte in 0..sound[at].len() {
            let mut edited = sound.clone();
            let changed = if sound[at].as_bytes()[byte] == b'x' { "y" } else { "x" };
            edited[at].replace_range(byte..=byte, changed);
            assert!(!file_faults(&edited).is_empty(), "line {at}, byte {byte}: {}", edited[at]);
        }
        if at > 0 {
            let mut moved = sound.clone();
            moved.swap(at - 1, at);
            // Behind the last checkpoint or before it, the last entry is covered all the same.
            assert_eq!(!file_faults(&moved).is_empty(), at < COUNT as usize, "lines {} and {at} swapped", at - 1);
        }
    }
}

#[test]
fn a_file_under_another_key_is_not_taken_for_signed() {
    let text = exported(&rows()).join("\n");
    let other = Signer::new(&SigningSeed::take(&mut [8; 32])).public_key();

    let (trails, faults) = verify_lines(&other, || Ok(BufReader::new(text.as_bytes()))).expect("memory is read");

    assert!(faults[0].contains("line 10") && faults[0].contains("signature"), "{faults:?}");
    assert!(trails[0].faults[0].contains("no checkpoint is signed for its last entry, 9"));
}
