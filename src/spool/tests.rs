//! Segments: what is appended stays, limits hold, and what is no segment is left alone.

use super::*;

const NAME: SegmentName =
    SegmentName { recording: RecordingId::from_bytes([1; 16]), object: ObjectId([2; 16]), start: 0 };
const LIMITS: SpoolLimits =
    SpoolLimits { bytes_max: 1_000, count_max: 2, disk_free_min: 0, sync_every: Duration::from_secs(1) };

fn spool(limits: SpoolLimits) -> (tempfile::TempDir, Spool) {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = Spool::open(&dir.path().join("spool"), limits).expect("a directory");
    (dir, spool)
}

#[tokio::test]
async fn a_segment_is_counted_found_again_and_removed() {
    let (dir, spool) = spool(LIMITS);
    let mut segment = spool.begin(NAME).expect("a new name");
    segment.append(b"one").expect("there is room");
    segment.append(b"two").expect("there is room");
    segment.close().await.expect("synced");

    let reopened = Spool::open(&dir.path().join("spool"), LIMITS).expect("a directory");

    assert_eq!((spool.used(), reopened.used()), (6, 6));
    assert_eq!(reopened.segments().expect("listed"), vec![(NAME, 6)]);
    assert_eq!(reopened.read(NAME, 2, 3).expect("inside")[..], b"etw"[..]);
    reopened.remove(NAME).expect("removed");
    assert_eq!(reopened.used(), 0);
    assert!(reopened.segments().expect("listed").is_empty());
}

#[test]
fn a_spool_at_its_limit_takes_no_more_but_the_end_of_what_was_begun() {
    let (_dir, spool) = spool(LIMITS);
    let mut segment = spool.begin(NAME).expect("a new name");
    segment.append(&[0; 900]).expect("there is room");

    assert!(matches!(segment.append(&[0; 101]), Err(SpoolError::Full)));
    assert_eq!(segment.len(), 900);
    segment.append_last(&[0; 101]).expect("the reserve takes the end");
    assert!(matches!(spool.has_room(0), Err(SpoolError::Full)));
}

#[test]
fn a_disk_that_must_stay_free_is_not_filled() {
    let (_dir, spool) = spool(SpoolLimits { bytes_max: u64::MAX, disk_free_min: u64::MAX, ..LIMITS });

    assert!(matches!(spool.has_room(1), Err(SpoolError::Full)));
}

#[test]
fn a_name_is_used_once_and_strange_files_are_left_alone() {
    let (dir, spool) = spool(LIMITS);
    std::fs::write(dir.path().join("spool/README"), b"not ours").expect("written");
    drop(spool.begin(NAME).expect("a new name"));

    assert!(spool.begin(NAME).is_err());
    assert_eq!(spool.segments().expect("listed").len(), 1);
    assert!(dir.path().join("spool/README").exists());
}

#[test]
fn room_that_was_promised_is_not_promised_again() {
    let (_dir, spool) = spool(LIMITS);
    let mut promised = spool.reserve(900).expect("there is room");

    assert!(matches!(spool.reserve(101), Err(SpoolError::Full)));
    promised.came(800);
    assert!(spool.reserve(900).is_ok(), "what came counts as what is there, and nothing was written here");
    drop(promised);
    assert!(spool.reserve(1_000).is_ok());
}

#[test]
fn a_spool_with_as_many_recordings_as_it_may_hold_takes_no_more() {
    let (_dir, spool) = spool(LIMITS);
    let other = SegmentName { object: ObjectId([3; 16]), ..NAME };
    drop((spool.begin(NAME).expect("a new name"), spool.begin(other).expect("a new name")));

    assert!(matches!(spool.reserve(1), Err(SpoolError::Full)));
    spool.remove(other).expect("removed");
    assert!(spool.reserve(1).is_ok());
}

#[test]
fn a_segment_that_continues_another_has_a_name_of_its_own() {
    let (_dir, spool) = spool(LIMITS);
    let later = SegmentName { start: 32_768, ..NAME };
    drop((spool.begin(NAME).expect("a new name"), spool.begin(later).expect("a new name")));

    let names: Vec<_> = spool.segments().expect("listed").into_iter().map(|(name, _)| name).collect();

    assert_eq!(names, [NAME, later]);
}
