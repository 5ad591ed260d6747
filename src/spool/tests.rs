//! Segments: what is appended stays, limits hold, and what is no segment is left alone.

use super::*;

const NAME: SegmentName =
    SegmentName { recording: crate::model::RecordingId::from_bytes([1; 16]), object: ObjectId([2; 16]) };
const LIMITS: SpoolLimits = SpoolLimits { bytes_max: 1_000, disk_free_min: 0 };

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
    let (_dir, spool) = spool(SpoolLimits { bytes_max: u64::MAX, disk_free_min: u64::MAX });

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
