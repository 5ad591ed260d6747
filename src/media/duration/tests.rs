//! Recordings built by hand, whole and cut off, and sources that mean harm.

use std::io::Cursor;

use super::*;

fn ms_of(media_type: &str, recording: &[u8]) -> Option<u64> {
    duration_ms(media_type, &mut Cursor::new(recording), recording.len() as u64)
}

/// 16-bit PCM, mono, 8 kHz.
fn wav(declared_len: u32, sound_len: usize) -> Vec<u8> {
    let format = b"fmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0";
    let start = [&b"RIFF\xff\xff\xff\xffWAVE"[..], format, b"data", &declared_len.to_le_bytes()].concat();
    [start, vec![7; sound_len]].concat()
}

/// A frame of MPEG 2 layer III at 16 kHz, 36 ms; silent. 0x48 is 32 kbit/s, 0x88 is 64.
fn mp3_frame(rate: u8) -> Vec<u8> {
    let mut frame = vec![0xFF, 0xF3, rate, 0xC4];
    frame.resize(if rate == 0x48 { 144 } else { 288 }, 0);
    frame
}

/// A page of an Ogg stream (RFC 3533 section 6) with packets shorter than 255 bytes.
fn ogg_page(flags: u8, granule: u64, number: u32, packets: &[&[u8]]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend(granule.to_le_bytes());
    page.extend([1, 0, 0, 0]);
    page.extend(number.to_le_bytes());
    page.extend([0; 4]);
    page.push(packets.len() as u8);
    page.extend(packets.iter().map(|packet| packet.len() as u8));
    page.extend(packets.concat());
    let checksum = page.iter().fold(0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| sum << 1 ^ if sum >> 31 == 1 { 0x04C1_1DB7 } else { 0 })
    });
    page[22..26].copy_from_slice(&checksum.to_le_bytes());
    page
}

/// Pages of 50 packets of 20 ms (SILK, narrow band).
fn opus(seconds: u32) -> Vec<u8> {
    let head = b"OpusHead\x01\x01\0\0\x40\x1f\0\0\0\0\0";
    let mut stream = ogg_page(2, 0, 0, &[head]);
    stream.extend(ogg_page(0, 0, 1, &[b"OpusTags\x01\0\0\0x\0\0\0\0"]));
    for second in 1..=seconds {
        let flags = if second == seconds { 4 } else { 0 };
        stream.extend(ogg_page(flags, u64::from(second) * 48_000, second + 1, &[&[0x08; 20][..]; 50]));
    }
    stream
}

#[test]
fn a_wav_sounds_as_long_as_the_bytes_that_came() {
    assert_eq!(ms_of("audio/wav", &wav(40_000, 40_000)), Some(2500));
    assert_eq!(ms_of("audio/x-wav; x=1", &wav(u32::MAX, 40_000)), Some(2500));
    assert_eq!(ms_of("audio/vnd.wave", &wav(40_000, 16_000)), Some(1000));
    assert_eq!(ms_of("audio/wav", &wav(0, 0)), Some(0));

    let mut longer = Cursor::new(wav(u32::MAX, 40_000));
    assert_eq!(duration_ms("audio/wav", &mut longer, 44 + 8000), Some(500));
}

#[test]
fn an_mp3_is_counted_frame_by_frame_at_whatever_rate() {
    let (low, high) = (mp3_frame(0x48), mp3_frame(0x88));
    let constant = low.repeat(100);
    let rising = [low.repeat(50), high.repeat(50)].concat();
    let falling = [high.repeat(50), low.repeat(50)].concat();

    assert_eq!(ms_of("audio/mpeg", &constant), Some(3600));
    assert_eq!(ms_of("audio/mp3", &rising), Some(3600));
    assert_eq!(ms_of("audio/mp3", &falling), Some(3600));
    assert_eq!(ms_of("audio/mpeg", &constant[..50 * 144 + 9]), Some(1800));
    // A tag of 1 MiB is passed over, whatever it holds, and so is a second.
    let tag = [b"ID3\x04\0\0\0\x40\0\0".to_vec(), vec![0xFF; 1 << 20]].concat();
    assert_eq!(ms_of("audio/mpeg", &[&tag[..], &tag, &constant].concat()), Some(3600));
}

#[test]
fn an_opus_recording_that_was_cut_off_lasts_to_its_last_whole_page() {
    let whole = opus(5);

    assert_eq!(ms_of("audio/ogg", &whole), Some(5000));
    assert_eq!(ms_of("audio/opus", &whole[..whole.len() - 100]), Some(4000));
}

#[test]
fn bytes_that_are_not_what_they_say_have_no_duration() {
    let wav = wav(40_000, 40_000);
    for media_type in ["audio/mpeg", "audio/ogg", "audio/flac", "audio/mp4", "audio/webm"] {
        for bytes in [
            &wav[..],
            &[],
            &[0; 40],
            &[0xFF; 4000],
            b"OggS",
            b"fLaC",
            b"\0\0\0\x08ftyp",
            b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
        ] {
            assert_eq!(ms_of(media_type, bytes), None, "{media_type}");
        }
    }
    for media_type in ["", "audio/basic", "application/octet-stream", "text/html"] {
        assert_eq!(ms_of(media_type, &wav), None);
    }
    assert_eq!(ms_of("audio/wav", &wav[..40]), None);
}

/// A recording without an end, which counts what is read of it.
struct Endless {
    pattern: Vec<u8>,
    at: u64,
    read_len: u64,
}

impl Read for Endless {
    fn read(&mut self, piece: &mut [u8]) -> Result<usize> {
        for byte in piece.iter_mut() {
            *byte = self.pattern[(self.at % self.pattern.len() as u64) as usize];
            self.at += 1;
        }
        self.read_len += piece.len() as u64;
        Ok(piece.len())
    }
}

impl Seek for Endless {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let SeekFrom::Start(at) = to else { panic!("a window knows its end") };
        self.at = at;
        Ok(at)
    }
}

#[test]
fn a_huge_recording_is_read_up_to_the_limit_only() {
    let ogg_tags_without_end = ogg_page(2, 0, 0, &[b"OpusHead\x01\x01\0\0\x40\x1f\0\0\0\0\0"]);
    for (media_type, pattern) in [
        ("audio/mpeg", vec![0]),
        ("audio/mpeg", mp3_frame(0x48)),
        ("audio/ogg", ogg_tags_without_end),
        ("audio/flac", b"fLaC\x04\xff\xff\xff".to_vec()),
        ("audio/mp4", b"\0\0\0\x08free".to_vec()),
        ("audio/webm", b"\x1a\x45\xdf\xa3\x80".to_vec()),
        ("audio/wav", b"RIFF\0\0\0\0WAVE".to_vec()),
    ] {
        let mut endless = Endless { pattern, at: 0, read_len: 0 };

        let found = duration_ms(media_type, &mut endless, 1 << 40);

        assert!(endless.read_len <= HEAD_READ_MAX + WALK_READ_MAX, "{media_type}: {}", endless.read_len);
        // An MP3 that is too long to be counted has the length that its size makes likely: 144 bytes are 36 ms.
        let is_plausible = found.is_none_or(|ms| ms.abs_diff((1 << 40) / 4) < 1 << 31);
        assert!(is_plausible, "{media_type}: {found:?}");
    }
}

#[test]
fn a_parser_that_panics_costs_the_duration_and_nothing_else() {
    struct Mine(Cursor<Vec<u8>>);
    impl Read for Mine {
        fn read(&mut self, piece: &mut [u8]) -> Result<usize> {
            assert!(self.0.position() < 1000, "stands for a bug behind the thousandth byte");
            self.0.read(piece)
        }
    }
    impl Seek for Mine {
        fn seek(&mut self, to: SeekFrom) -> Result<u64> {
            self.0.seek(to)
        }
    }
    let recording = mp3_frame(0x48).repeat(1000);
    let plain_len = recording.len() as u64;

    assert_eq!(duration_ms("audio/mpeg", &mut Mine(Cursor::new(recording)), plain_len), None);
}
