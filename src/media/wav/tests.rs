//! Headers as real writers leave them when they stream 2.5 s of a tone at 8 kHz, and what becomes of them.

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// `ffmpeg -f lavfi -i sine=sample_rate=8000:duration=2.5 -f wav - | cat`.
const FFMPEG_PCM: &[u8] = b"RIFF\xff\xff\xff\xffWAVE\
    fmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0\x80>\0\0\x02\0\x10\0\
    LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf59.27.100\0\
    data\xff\xff\xff\xff";
/// The same with `-c:a pcm_mulaw`.
const FFMPEG_MULAW: &[u8] = b"RIFF\xff\xff\xff\xffWAVE\
    fmt \x12\0\0\0\x07\0\x01\0@\x1f\0\0@\x1f\0\0\x01\0\x08\0\0\0\
    LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf59.27.100\0\
    data\xff\xff\xff\xff";
/// The same with `-rf64 always`.
const FFMPEG_RF64: &[u8] = b"RF64\xff\xff\xff\xffWAVE\
    ds64\x1c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    fmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0\x80>\0\0\x02\0\x10\0\
    LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf59.27.100\0\
    data\xff\xff\xff\xff";
/// `sox -n -r 8000 -c 1 -b 16 -t wav - synth 2.5 sine 440 | cat`.
const SOX_PCM: &[u8] = b"RIFF$\xf0\xff\x7fWAVE\
    fmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0\x80>\0\0\x02\0\x10\0\
    data\0\xf0\xff\x7f";
/// The same with `-e mu-law`; it has a `fact` chunk.
const SOX_MULAW: &[u8] = b"RIFF2\xf0\xff\x7fWAVE\
    fmt \x12\0\0\0\x07\0\x01\0@\x1f\0\0@\x1f\0\0\x01\0\x08\0\0\0\
    fact\x04\0\0\0\0\xf0\xff\x7f\
    data\0\xf0\xff\x7f";
/// The same with `-e gsm-full-rate`: blocks of 65 bytes hold 320 frames.
const SOX_GSM: &[u8] = b"RIFF\xf6\xef\xff\x7fWAVE\
    fmt \x14\0\0\x001\0\x01\0@\x1f\0\0Y\x06\0\0A\0\0\0\x02\0@\x01\
    fact\x04\0\0\0\x80\x12'v\
    data\xc2\xef\xff\x7f";
/// `new Writer({channels: 1, sampleRate: 8000, bitDepth: 16})` of npm `wav` 1.0.2.
const NPM: &[u8] = b"RIFF\xbf\xff\xff\xffWAVE\
    fmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0\x80>\0\0\x02\0\x10\0\
    data\x9b\xff\xff\xff";
/// `ffmpeg ... -fflags +bitexact -c:a pcm_mulaw out.wav`: a file, so that the sizes are right.
const FFMPEG_FINISHED: &[u8] = b"RIFFRN\0\0WAVE\
    fmt \x12\0\0\0\x07\0\x01\0@\x1f\0\0@\x1f\0\0\x01\0\x08\0\0\0\
    fact\x04\0\0\0 N\0\0\
    data N\0\0";
/// `ffmpeg ... -rf64 always out.wav`.
const FFMPEG_FINISHED_RF64: &[u8] = b"RF64\xff\xff\xff\xffWAVE\
    ds64\x1c\0\0\0\xaa\x9c\0\0\0\0\0\0@\x9c\0\0\0\0\0\0 N\0\0\0\0\0\0\0\0\0\0\
    fmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0\x80>\0\0\x02\0\x10\0\
    LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf59.27.100\0\
    data\xff\xff\xff\xff";

const PCM_LEN: u64 = 40_000;
const MULAW_LEN: u64 = 20_000;

/// The header as it is played when `sound_len` bytes stand behind it.
fn played(header: &[u8], sound_len: u64) -> Vec<u8> {
    let patches = SizePatches::of(header, header.len() as u64 + sound_len);
    let mut played = header.to_vec();
    patches.apply(0, &mut played);
    assert!(patches.end() <= header.len() as u64);
    played
}

fn with_u32(header: &[u8], at: usize, value: u32) -> Vec<u8> {
    let mut header = header.to_vec();
    header[at..at + 4].copy_from_slice(&value.to_le_bytes());
    header
}

/// The last four bytes of a header are the size of the sound.
fn with_sizes(header: &[u8], riff: u32, sound: u32) -> Vec<u8> {
    with_u32(&with_u32(header, 4, riff), header.len() - 4, sound)
}

fn duration_ms(header: &[u8], sound_len: u64) -> Option<u64> {
    Layout::read(&mut Cursor::new(header))?.duration_ms(header.len() as u64 + sound_len)
}

#[test]
fn streamed_headers_of_four_writers_get_the_sizes_that_are_there() {
    for header in [FFMPEG_PCM, SOX_PCM, NPM] {
        let whole_len = header.len() as u32 + 40_000;
        assert_eq!(played(header, PCM_LEN), with_sizes(header, whole_len - 8, 40_000));
        assert_eq!(played(&with_sizes(header, 0, 0), PCM_LEN), with_sizes(header, whole_len - 8, 40_000));
        assert_eq!(played(&with_sizes(header, 36, 0), PCM_LEN), with_sizes(header, whole_len - 8, 40_000));
        assert_eq!(duration_ms(header, PCM_LEN), Some(2500));
    }
    assert_eq!(played(FFMPEG_MULAW, MULAW_LEN), with_sizes(FFMPEG_MULAW, 20_072, 20_000));
    assert_eq!(duration_ms(FFMPEG_MULAW, MULAW_LEN), Some(2500));
}

#[test]
fn the_sample_count_of_a_streamed_header_is_patched_with_its_sizes() {
    let mulaw = with_sizes(&with_u32(SOX_MULAW, 46, 20_000), 20_050, 20_000);
    assert_eq!(played(SOX_MULAW, MULAW_LEN), mulaw);
    for unknown in [0, u32::MAX] {
        assert_eq!(played(&with_u32(SOX_MULAW, 46, unknown), MULAW_LEN), mulaw);
    }

    // 63 blocks, and one byte of padding.
    let gsm = with_sizes(&with_u32(SOX_GSM, 48, 63 * 320), 4148, 4096);
    assert_eq!(played(SOX_GSM, 4096), gsm);
    assert_eq!(duration_ms(SOX_GSM, 4096), Some(2520));
}

#[test]
fn a_wrong_byte_rate_does_not_change_how_long_frames_last() {
    // IMA ADPCM as ffmpeg streams it: blocks of 1024 bytes hold 2041 frames, and the byte rate is that of PCM.
    let mut adpcm = with_u32(&with_u32(SOX_GSM, 20, 0x0001_0011), 32, 0x0004_0400);
    adpcm[38..40].copy_from_slice(&2041u16.to_le_bytes());
    assert_eq!(duration_ms(&with_u32(&adpcm, 28, 16_000), 10_240), Some(2551));

    // G.726 packs its frames otherwise, and has its byte rate.
    let other = with_u32(&with_u32(SOX_PCM, 20, 0x0001_0045), 28, 4000);
    assert_eq!(duration_ms(&other, 10_000), Some(2500));
    assert_eq!(duration_ms(&with_u32(&other, 28, 0), 10_000), None);
    assert_eq!(duration_ms(&with_u32(SOX_PCM, 24, 0), 10_000), None);
}

#[test]
fn a_streamed_rf64_keeps_its_short_fields_and_gets_the_long_ones() {
    assert_eq!(played(FFMPEG_RF64, PCM_LEN), FFMPEG_FINISHED_RF64);
    assert_eq!(duration_ms(FFMPEG_RF64, PCM_LEN), Some(2500));

    let huge = 6 << 30;
    let long = played(FFMPEG_RF64, huge);
    assert_eq!(long[20..28], (huge + 106).to_le_bytes());
    assert_eq!(long[28..36], huge.to_le_bytes());
    assert_eq!(long[36..44], (huge / 2).to_le_bytes());

    let bw64 = [b"BW64", &FFMPEG_RF64[4..]].concat();
    assert_eq!(played(&bw64, PCM_LEN)[4..], FFMPEG_FINISHED_RF64[4..]);
}

#[test]
fn a_right_header_is_left_as_it_is_to_the_byte() {
    let whole = |header: &[u8], sound_len: u64| SizePatches::of(header, header.len() as u64 + sound_len);
    assert!(whole(FFMPEG_FINISHED, MULAW_LEN).is_empty());
    assert!(whole(FFMPEG_FINISHED_RF64, PCM_LEN).is_empty());
    assert_eq!(whole(FFMPEG_FINISHED, MULAW_LEN).end(), 0);

    // Other chunks behind the sound, and behind none.
    assert!(whole(&with_sizes(SOX_PCM, 36 + 40_034, 40_000), PCM_LEN + 34).is_empty());
    let mut nothing = with_sizes(SOX_PCM, 36 + 34, 0);
    nothing.extend(b"LIST\x1a\0\0\0INFOISFT");
    assert!(SizePatches::of(&nothing, 44 + 34).is_empty());
    // 2 GiB to the byte are no placeholder.
    assert!(whole(&with_sizes(SOX_PCM, 0x7FFF_F024 + 34, 0x7FFF_F000), 0x7FFF_F000 + 34).is_empty());
    // An odd length, with its padding and without.
    for riff in [20_051, 20_052] {
        let odd = with_sizes(&with_u32(FFMPEG_FINISHED, 46, 20_001), riff, 20_001);
        assert!(whole(&odd, 20_001 + u64::from(riff - 20_051)).is_empty());
        assert!(whole(&odd, 20_001).is_empty());
    }
    // Bytes behind the end of the RIFF are nobody's sound.
    assert!(whole(FFMPEG_FINISHED, MULAW_LEN + 100).is_empty());
    assert_eq!(duration_ms(FFMPEG_FINISHED, MULAW_LEN + 100), Some(2500));
}

#[test]
fn a_recording_that_was_cut_off_gets_the_sizes_of_what_came() {
    let partial = with_sizes(&with_u32(FFMPEG_FINISHED, 46, 8000), 8050, 8000);
    assert_eq!(played(FFMPEG_FINISHED, 8000), partial);
    assert_eq!(duration_ms(FFMPEG_FINISHED, 8000), Some(1000));

    let patches = SizePatches::of(FFMPEG_FINISHED_RF64, 114 + 16_000);
    let mut header = FFMPEG_FINISHED_RF64.to_vec();
    patches.apply(0, &mut header);
    assert_eq!(header[28..36], 16_000u64.to_le_bytes());
    assert_eq!(header[36..44], 8000u64.to_le_bytes());

    // Nothing but the header came, or not even that.
    assert_eq!(played(SOX_PCM, 0), with_sizes(SOX_PCM, 36, 0));
    assert!(SizePatches::of(&SOX_PCM[..43], 43).is_empty());
    // The sound is whole, and the chunks behind it are not.
    let cut_behind = with_sizes(SOX_PCM, 36 + 40_034, 40_000);
    assert_eq!(played(&cut_behind, PCM_LEN + 10), with_sizes(SOX_PCM, 36 + 40_010, 40_000));
}

#[test]
fn what_does_not_fit_a_riff_says_to_the_end() {
    let huge = 5 << 30;
    assert!(SizePatches::of(FFMPEG_PCM, huge).is_empty());
    assert_eq!(played(NPM, huge), with_sizes(NPM, u32::MAX, u32::MAX));
    assert_eq!(played(SOX_PCM, 3 << 30), with_sizes(SOX_PCM, 36 + (3 << 30), 3 << 30));
    assert_eq!(duration_ms(SOX_PCM, 16_000 * 1_000_000), Some(1_000_000_000));
}

#[test]
fn a_damaged_header_gets_no_patches() {
    let no_format = [&SOX_PCM[..12], &SOX_PCM[36..]].concat();
    let short_format = with_u32(SOX_PCM, 16, 14);
    let far_chunk = [&SOX_PCM[..12], b"LIST\xff\xff\xff\xff", &SOX_PCM[12..]].concat();
    let no_ds64 = [b"RF64", &SOX_PCM[4..]].concat();
    let other_form = [&SOX_PCM[..8], b"AVI ", &SOX_PCM[12..]].concat();
    let many_chunks = [&SOX_PCM[..12], &b"junk\0\0\0\0".repeat(1000), &SOX_PCM[12..]].concat();
    let long_ds64 = [b"RF64", &SOX_PCM[4..12], b"ds64\x04\0\0\0\0\0\0\0", &SOX_PCM[12..]].concat();
    for damaged in [no_format, short_format, far_chunk, no_ds64, other_form, many_chunks, long_ds64, Vec::new()] {
        assert_eq!(SizePatches::of(&damaged, 1 << 20), SizePatches::default());
    }
}

fn check<S: Strategy>(strategy: S, test: impl Fn(S::Value)) {
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
    let checked = TestRunner::new(config).run(&strategy, |value| {
        test(value);
        Ok(())
    });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn no_bytes_make_the_walk_panic_or_patch_past_the_head() {
    let headers = [FFMPEG_PCM, FFMPEG_RF64, SOX_MULAW, SOX_GSM, NPM, FFMPEG_FINISHED_RF64];
    let edits = vec((any::<proptest::sample::Index>(), any::<u8>()), 0..12);
    check((0..headers.len(), edits, any::<u64>()), |(which, edits, plain_len)| {
        let mut head = headers[which].to_vec();
        for (place, byte) in edits {
            let place = place.index(head.len());
            head[place] = byte;
        }
        assert!(SizePatches::of(&head, plain_len).end() <= head.len() as u64);
        Layout::read(&mut Cursor::new(&head)).map(|layout| layout.duration_ms(plain_len));
    });
    check((vec(any::<u8>(), 0..200), any::<u64>()), |(tail, plain_len)| {
        let head = [&FFMPEG_RF64[..12], &tail].concat();
        assert!(SizePatches::of(&head, plain_len).end() <= head.len() as u64);
    });
}

#[test]
fn pieces_cut_anywhere_come_to_the_same_bytes() {
    let whole_len = FFMPEG_RF64.len() as u64 + PCM_LEN;
    let patches = SizePatches::of(FFMPEG_RF64, whole_len);
    check(vec(1..40usize, 0..40), |cuts| {
        let mut pieces = FFMPEG_RF64.to_vec();
        let mut start = 0;
        for len in cuts {
            let end = (start + len).min(pieces.len());
            patches.apply(start as u64, &mut pieces[start..end]);
            start = end;
        }
        patches.apply(start as u64, &mut pieces[start..]);
        assert_eq!(pieces, FFMPEG_FINISHED_RF64);
    });
    patches.apply(u64::MAX, &mut [0; 4]);
    patches.apply(whole_len, &mut []);
}
