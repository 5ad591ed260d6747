//! The media type of a recording, from what its sender says and from its first bytes.
//!
//! The sender is believed unless he says nothing, or an unmistakable signature contradicts him. Raw telephony formats
//! (`audio/basic`, `audio/PCMU`, `audio/L16`) have no signature, and their samples can look like anything that is short:
//! what counts here is four bytes or more.

use infer::{audio, video};

/// How many of the first bytes are wanted: three frames of MP3, the longest of which has 1441 bytes.
pub const HEAD_LEN: usize = 4096;

pub const UNKNOWN_TYPE: &str = "application/octet-stream";

/// What clients say of anything.
const EMPTY_TYPES: [&str; 4] = [UNKNOWN_TYPE, "binary/octet-stream", "application/x-www-form-urlencoded", "text/plain"];

/// A container that its first bytes give away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Aiff,
    Amr,
    Au,
    Caf,
    Flac,
    Matroska,
    Mp3,
    Mp4,
    Ogg,
    Wav,
}

/// The names of each container, the usual one first.
const NAMES: [(Container, &[&str]); 10] = [
    (Container::Aiff, &["audio/aiff", "audio/x-aiff", "audio/x-aifc", "audio/aifc"]),
    (Container::Amr, &["audio/amr", "audio/amr-wb", "audio/amr-nb", "audio/x-amr"]),
    (Container::Au, &["audio/basic", "audio/x-au", "audio/au", "audio/x-basic"]),
    (Container::Caf, &["audio/x-caf", "audio/caf"]),
    (Container::Flac, &["audio/flac", "audio/x-flac", "application/flac"]),
    (
        Container::Matroska,
        &[
            "audio/webm",
            "video/webm",
            "audio/x-matroska",
            "video/x-matroska",
            "audio/matroska",
            "video/matroska",
            "application/x-matroska",
        ],
    ),
    (
        Container::Mp3,
        &["audio/mpeg", "audio/mp3", "audio/x-mp3", "audio/x-mpeg", "audio/mpeg3", "audio/x-mpeg-3", "audio/mpa"],
    ),
    (
        Container::Mp4,
        &[
            "audio/mp4",
            "audio/x-m4a",
            "audio/m4a",
            "video/mp4",
            "application/mp4",
            "audio/3gpp",
            "video/3gpp",
            "audio/3gpp2",
            "video/3gpp2",
            "video/quicktime",
        ],
    ),
    (
        Container::Ogg,
        &["audio/ogg", "application/ogg", "audio/opus", "audio/x-opus+ogg", "audio/vorbis", "audio/speex", "video/ogg"],
    ),
    (Container::Wav, &["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave", "audio/x-pn-wav"]),
];

impl Container {
    /// The container that a media type names; parameters and case do not matter.
    pub(super) fn named(media_type: &str) -> Option<Container> {
        let essence = essence(media_type);
        NAMES.iter().find(|(_, names)| names.contains(&essence.as_str())).map(|(container, _)| *container)
    }

    /// The container that the bytes are in, when they leave no doubt.
    fn signed(head: &[u8]) -> Option<Container> {
        let is_form = head.starts_with(b"FORM") && matches!(head.get(8..12), Some(b"AIFF" | b"AIFC"));
        let is_long_wav = matches!(head.get(..4), Some(b"RF64" | b"BW64")) && head.get(8..12) == Some(b"WAVE");
        match () {
            _ if audio::is_wav(head) || is_long_wav => Some(Container::Wav),
            _ if audio::is_ogg(head) => Some(Container::Ogg),
            _ if audio::is_flac(head) => Some(Container::Flac),
            _ if is_form => Some(Container::Aiff),
            _ if head.get(4..8) == Some(b"ftyp") => Some(Container::Mp4),
            _ if video::is_webm(head) || video::is_mkv(head) => Some(Container::Matroska),
            _ if head.starts_with(b"#!AMR\n") || head.starts_with(b"#!AMR-") => Some(Container::Amr),
            _ if is_au(head) => Some(Container::Au),
            _ if head.starts_with(b"caff\x00\x01") => Some(Container::Caf),
            _ if is_id3(head) || is_mp3(head) => Some(Container::Mp3),
            _ => None,
        }
    }
}

/// The media type to serve a recording with, from the type that its sender declared and its first [`HEAD_LEN`] bytes
/// (or fewer, if it is shorter). A declared type that stands is given back as it came, with its parameters.
pub fn media_type(declared: Option<&str>, head: &[u8]) -> String {
    let declared = declared.map(str::trim).filter(|declared| !says_nothing(declared));
    match (declared, Container::signed(head)) {
        (Some(declared), None) => declared.to_owned(),
        (Some(declared), Some(signed)) if Container::named(declared) == Some(signed) => declared.to_owned(),
        (_, Some(signed)) => usual_name(signed, head).to_owned(),
        (None, None) => UNKNOWN_TYPE.to_owned(),
    }
}

fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn says_nothing(declared: &str) -> bool {
    let essence = essence(declared);
    essence.is_empty() || EMPTY_TYPES.contains(&essence.as_str())
}

fn usual_name(container: Container, head: &[u8]) -> &'static str {
    match container {
        Container::Matroska if video::is_mkv(head) => "audio/x-matroska",
        Container::Amr if head.starts_with(b"#!AMR-WB") => "audio/amr-wb",
        _ => NAMES.iter().find(|(named, _)| *named == container).map_or(UNKNOWN_TYPE, |(_, names)| names[0]),
    }
}

/// `.snd`, and an offset of the samples that lies behind the header.
fn is_au(head: &[u8]) -> bool {
    let offset = head.get(4..8).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes")));
    head.starts_with(b".snd") && (24..=1 << 16).contains(&offset)
}

/// `ID3`, a version that exists, and a size of four bytes whose highest bits are zero (ID3v2.4 section 3.1).
pub(super) fn is_id3(head: &[u8]) -> bool {
    head.starts_with(b"ID3") && head.len() >= 10 && (2..=4).contains(&head[3]) && head[6..10].iter().all(|b| *b < 0x80)
}

/// Frames of one kind that follow each other, as many as the head holds up to three, two at least. One header is twelve
/// set bits and little else: quiet G.711 has them often.
fn is_mp3(head: &[u8]) -> bool {
    let Some((kind, mut at)) = mp3_frame(head) else { return false };
    for _ in 0..2 {
        match head.get(at..at + 4).map(mp3_frame) {
            Some(Some((next_kind, len))) if next_kind == kind => at += len,
            // The recording, or what was read of it, ends here.
            None if at > mp3_frame(head).map_or(0, |(_, len)| len) => return true,
            _ => return false,
        }
    }
    true
}

/// Bits per second of layer III / 1000, by the index in the header: MPEG 1, and MPEG 2 and 2.5.
const MP3_KBITS: [[usize; 15]; 2] = [
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
const MP3_SAMPLE_RATES: [usize; 3] = [44100, 48000, 32000];

/// What all frames of a stream have in common (version and sample rate), and the length of this one in bytes. Layer III
/// only, and no free bit rate.
fn mp3_frame(header: &[u8]) -> Option<((u8, u8), usize)> {
    let [0xFF, second, third, fourth, ..] = *header else { return None };
    let (version, layer) = (second >> 3 & 0b11, second >> 1 & 0b11);
    let (kbits_index, rate_index, padding) = (usize::from(third >> 4), third >> 2 & 0b11, usize::from(third >> 1 & 1));
    let is_reserved_emphasis = fourth & 0b11 == 0b10;
    if second >> 5 != 0b111 || version == 0b01 || layer != 0b01 || is_reserved_emphasis {
        return None;
    }
    let is_first_version = version == 0b11;
    let kbits = *MP3_KBITS[usize::from(!is_first_version)].get(kbits_index).filter(|kbits| **kbits > 0)?;
    let rate = MP3_SAMPLE_RATES.get(usize::from(rate_index))?;
    let (samples, rate) = match version {
        0b11 => (1152, *rate),
        0b10 => (576, rate / 2),
        _ => (576, rate / 4),
    };
    Some(((version, rate_index), samples / 8 * kbits * 1000 / rate + padding))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAV: &[u8] = b"RIFF\x24\xf0\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x01\0";
    /// `ffmpeg -c:a libmp3lame -b:a 32k -write_xing 0 -id3v2_version 0`: MPEG 2 at 16 kHz, frames of 144 bytes.
    const MP3_HEADER: [u8; 4] = [0xFF, 0xF3, 0x48, 0xC4];

    fn mp3(frames: usize) -> Vec<u8> {
        let mut frame = [0x55; 144];
        frame[..4].copy_from_slice(&MP3_HEADER);
        frame.repeat(frames)
    }

    fn padded(start: &[u8]) -> Vec<u8> {
        let mut head = start.to_vec();
        head.resize(HEAD_LEN, 0);
        head
    }

    #[test]
    fn a_recording_of_which_nothing_is_said_is_known_by_its_first_bytes() {
        let webm = padded(
            b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84webm",
        );
        let known: [(&[u8], &str); 16] = [
            (WAV, "audio/wav"),
            (b"RF64\xff\xff\xff\xffWAVEds64", "audio/wav"),
            (b"BW64\xff\xff\xff\xffWAVEds64", "audio/wav"),
            (b"OggS\0\x02\0\0\0\0\0\0\0\0", "audio/ogg"),
            (b"ID3\x04\0\0\0\0\0\x23TSSE", "audio/mpeg"),
            (&mp3(3), "audio/mpeg"),
            (b"fLaC\0\0\0\x22", "audio/flac"),
            (b"\0\0\0\x1cftypM4A \0\0\x02\0", "audio/mp4"),
            (b"\0\0\0\x20ftypisom\0\0\x02\0", "audio/mp4"),
            (&webm, "audio/webm"),
            (b"#!AMR\n\x3c\x48", "audio/amr"),
            (b"#!AMR-WB\n\x04", "audio/amr-wb"),
            (b".snd\0\0\0\x18\xff\xff\xff\xff\0\0\0\x01", "audio/basic"),
            (b"caff\0\x01\0\0desc", "audio/x-caf"),
            (b"FORM\0\0\x10\0AIFFCOMM", "audio/aiff"),
            (b"FORM\0\0\x10\0AIFCFVER", "audio/aiff"),
        ];
        for (head, media) in known {
            for declared in [None, Some(""), Some("application/octet-stream"), Some("Text/Plain; charset=utf-8")] {
                assert_eq!(media_type(declared, head), media, "{declared:?}");
            }
        }
        for unknown in [&b""[..], b"RIFF", &WAV[..11], b"RIFF\0\0\0\0AVI ", b".snd\0\0\0\0\0\0\0\0", &[0; 64]] {
            assert_eq!(media_type(None, unknown), UNKNOWN_TYPE);
        }
    }

    #[test]
    fn another_name_of_the_same_thing_stays_as_it_was_declared() {
        let ogg = b"OggS\0\x02";
        let mp4 = b"\0\0\0\x1cftypM4A \0\0\x02\0";
        let aliases: [(&str, &[u8]); 9] = [
            ("audio/x-wav", WAV),
            ("audio/vnd.wave; codec=1", WAV),
            ("Audio/Wave", WAV),
            ("audio/mp3", &mp3(3)),
            ("application/ogg", ogg),
            ("audio/opus", ogg),
            ("audio/ogg; codecs=opus", ogg),
            ("audio/x-m4a", mp4),
            ("video/mp4", mp4),
        ];
        for (declared, head) in aliases {
            assert_eq!(media_type(Some(declared), head), declared);
        }
    }

    #[test]
    fn a_signature_without_doubt_overrules_what_was_declared() {
        assert_eq!(media_type(Some("audio/mpeg"), WAV), "audio/wav");
        assert_eq!(media_type(Some("audio/wav"), b"OggS\0\x02"), "audio/ogg");
        assert_eq!(media_type(Some("audio/wav"), &mp3(3)), "audio/mpeg");
        assert_eq!(media_type(Some("audio/PCMU"), WAV), "audio/wav");
    }

    #[test]
    fn raw_samples_are_not_taken_for_mp3_by_one_header() {
        let mut chance = mp3(1);
        chance.resize(HEAD_LEN, 0xFF);
        let mut twice = mp3(2);
        twice.resize(HEAD_LEN, 0x7F);
        for declared in ["audio/basic", "audio/PCMU", "audio/L16; rate=8000"] {
            for head in [&chance[..], &twice, &mp3(1), &[0xFF; 64]] {
                assert_eq!(media_type(Some(declared), head), declared);
            }
        }
        // Quiet G.711: bytes around plus and minus zero, from a fixed generator.
        let mut state = 1u32;
        for _ in 0..200 {
            let quiet = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                0x70 | (state >> 24) as u8 & 0x8F
            });
            let head: Vec<u8> = quiet.take(HEAD_LEN).collect();
            assert_eq!(media_type(Some("audio/PCMU"), &head), "audio/PCMU");
        }
    }

    #[test]
    fn a_short_recording_of_two_frames_is_mp3_all_the_same() {
        assert_eq!(media_type(None, &mp3(2)), "audio/mpeg");
        assert_eq!(media_type(None, &mp3(2)[..200]), "audio/mpeg");
        assert_eq!(media_type(None, &mp3(2)[..146]), UNKNOWN_TYPE);
    }
}
