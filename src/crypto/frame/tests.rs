//! Frames: they open as they were sealed, in their own place and log only, and a torn one is seen without a key.

use super::*;

const SALT: LogSalt = LogSalt([3; 24]);
const HEAD: FrameHead = FrameHead {
    plain_len: 5,
    recording: RecordingId::from_bytes([1; 16]),
    object: ObjectId([2; 16]),
    offset: 70_000,
    sequence: 9,
};

fn key(salt: LogSalt, recording: u8) -> FrameKey {
    let data_key = DataKey::take(&mut [7; 32]);
    FrameKey::derive(&data_key, &salt, TenantNumber(4), RecordingId::from_bytes([recording; 16]))
}

fn frame() -> BytesMut {
    let mut log = BytesMut::new();
    key(SALT, 1).seal(&HEAD, b"hello", &mut log);
    log
}

#[test]
fn a_frame_opens_as_it_was_sealed_and_tells_its_place() {
    let mut frame = frame();

    assert_eq!(FrameHead::read(&frame), Ok((HEAD, FRAME_OVERHEAD + 5)));
    assert!(!frame.windows(5).any(|bytes| bytes == b"hello"));
    assert_eq!(key(SALT, 1).open(&mut frame), Ok(&b"hello"[..]));
}

#[test]
fn a_frame_of_another_log_or_recording_does_not_open() {
    assert_eq!(key(LogSalt([4; 24]), 1).open(&mut frame()), Err(CryptoError::NotAuthentic));
    assert_eq!(key(SALT, 2).open(&mut frame()), Err(CryptoError::NotAuthentic));
}

#[test]
fn a_frame_that_was_moved_or_edited_does_not_open_even_with_its_crc_made_right() {
    for at in BOUND_FROM..frame().len() {
        let mut edited = frame();
        edited[at] ^= 1;
        let crc = crc32fast::hash(&edited[BOUND_FROM..]);
        edited[4..8].copy_from_slice(&crc.to_be_bytes());

        assert_eq!(key(SALT, 1).open(&mut edited), Err(CryptoError::NotAuthentic), "byte {at}");
    }
}

#[test]
fn a_frame_that_is_cut_or_torn_is_seen_without_a_key() {
    let whole = frame();

    for len in 0..whole.len() {
        assert!(FrameHead::read(&whole[..len]).is_err(), "{len} bytes");
    }
    for at in 0..whole.len() {
        let mut torn = whole.clone();
        torn[at] ^= 0x80;
        assert!(FrameHead::read(&torn).is_err(), "byte {at}");
    }
    assert!(FrameHead::read(&[0; 200]).is_err(), "zeros are no frame");
}

#[test]
fn a_logs_header_reads_back_and_nothing_else_is_taken_for_one() {
    let header = SALT.write();

    assert_eq!(LogSalt::read(&header), Ok(SALT));
    assert!(LogSalt::read(&header[..31]).is_err());
    assert!(LogSalt::read(&[0; 32]).is_err());
}
