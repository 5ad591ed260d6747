//! The log: frames come back from memory, from the file and after a crash; a log goes when nobody needs it.

use std::time::Duration;

use super::super::{Spool, SpoolLimits};
use super::*;

const TENANT: TenantNumber = TenantNumber(1);
const RECORDING: RecordingId = RecordingId::from_bytes([1; 16]);
const OBJECT: ObjectId = ObjectId([2; 16]);
const LIMITS: SpoolLimits =
    SpoolLimits { bytes_max: 1 << 30, count_max: 10, disk_free_min: 0, sync_every: Duration::from_millis(50) };

fn spool(dir: &Path) -> Spool {
    Spool::open(dir, LIMITS).expect("a directory")
}

fn data_key() -> DataKey {
    DataKey::take(&mut [9; 32])
}

fn keys() -> FrameKeys {
    FrameKeys::new(TENANT, RECORDING, OBJECT)
}

fn open(log: &Log, at: FrameAt) -> Vec<u8> {
    let mut frame = log.read(at).expect("the frame is there");
    keys().open(&data_key(), &mut frame).expect("it opens").to_vec()
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).expect("a directory").next().is_none()
}

fn wait_until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "it never came to be");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_frame_reads_back_before_and_after_it_was_written_and_synced() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = spool(dir.path());
    let (log, mut keys) = (spool.log(), keys());

    let frames: Vec<_> = (0..100u8)
        .map(|number| log.append(&mut keys, &data_key(), u64::from(number) * 10, &[number; 10]).expect("taken"))
        .collect();

    for _ in ["from memory", "from the file"] {
        for (number, at) in frames.iter().enumerate() {
            assert_eq!(open(log, *at), [number as u8; 10]);
        }
        log.durable(*frames.last().expect("there are frames")).await.expect("synced");
    }
}

#[tokio::test]
async fn a_log_is_removed_when_its_last_frame_is_released_and_not_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = spool(dir.path());
    let (log, mut keys) = (spool.log(), keys());
    let first = log.append(&mut keys, &data_key(), 0, b"first").expect("taken");
    let second = log.append(&mut keys, &data_key(), 5, b"second").expect("taken");

    log.release([first]);
    log.settled().await.expect("synced");
    std::thread::sleep(IDLE + Duration::from_millis(200));
    assert_eq!(open(log, second), b"second");
    log.release([second]);

    wait_until(|| is_empty(dir.path()) && spool.used() == 0);
    let third = log.append(&mut keys, &data_key(), 11, b"third").expect("a new log begins");
    log.settled().await.expect("synced");
    assert_eq!(open(log, third), b"third");
}

#[tokio::test]
async fn frames_of_a_process_that_died_are_found_up_to_the_one_that_was_torn() {
    let dir = tempfile::tempdir().expect("a directory");
    let dead = spool(dir.path());
    let mut dead_keys = keys();
    for number in 0..10u8 {
        dead.log().append(&mut dead_keys, &data_key(), u64::from(number) * 4, &[number; 4]).expect("taken");
    }
    dead.log().settled().await.expect("synced");
    let path = dir.path().join("log.1");
    let whole = std::fs::read(&path).expect("the log");
    drop(dead);
    std::fs::write(&path, &whole[..whole.len() - 3]).expect("torn");

    let spool = spool(dir.path());
    let leftovers = spool.leftovers().expect("read");

    let frames = &leftovers[&RECORDING].frames;
    assert_eq!(frames.len(), 9);
    for (number, (head, at)) in frames.iter().enumerate() {
        assert_eq!((head.object, head.offset), (OBJECT, number as u64 * 4));
        assert_eq!(open(spool.log(), *at), [number as u8; 4]);
    }
    spool.log().release(frames.iter().map(|(_, at)| *at));
    wait_until(|| is_empty(dir.path()));
}

#[test]
fn what_was_appended_is_in_the_file_soon_without_anybody_asking() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = spool(dir.path());
    let mut keys = keys();
    spool.log().append(&mut keys, &data_key(), 0, &[7; 1000]).expect("taken");

    wait_until(|| std::fs::metadata(dir.path().join("log.1")).is_ok_and(|file| file.len() > 1000));
}

#[tokio::test]
async fn old_logs_are_told_from_the_present_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = spool(dir.path());
    let (log, mut keys) = (spool.log(), keys());
    let first = log.append(&mut keys, &data_key(), 0, b"held").expect("taken");
    let piece = vec![0; crate::crypto::frame::FRAME_PLAIN_LEN_MAX];

    let mut last = first;
    while !log.is_stale(first) {
        last = log.append(&mut keys, &data_key(), 4, &piece).expect("taken");
        if log.is_behind() {
            log.settled().await.expect("synced");
        }
    }

    assert!(!log.is_stale(last));
    assert_eq!(open(log, first), b"held");
}

#[test]
fn a_spool_at_its_limit_takes_no_frame() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = Spool::open(dir.path(), SpoolLimits { bytes_max: 100, ..LIMITS }).expect("a directory");

    let refused = spool.log().append(&mut keys(), &data_key(), 0, &[0; 100]);

    assert!(matches!(refused, Err(SpoolError::Full)));
}
