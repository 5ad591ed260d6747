//! RIFF/WAVE, RF64 and BW64: where the sound lies, and headers that were written before its length was known.
//! beginning of a recording, its length -> the few bytes of the header that are wrong, and what should stand there
//!
//! Who streams a WAV cannot go back to write its sizes: ffmpeg leaves 0xFFFFFFFF, sox 0x7FFFF0xx, the npm package `wav`
//! 0xFFFFFFBF and 0xFFFFFF9B, others 0. Who hangs up leaves a header that promises more than came.
//!
//! # Promise      A header that is right is left as it is, to the byte. No input panics; what cannot be read as a WAV gets no
//!                patches. The recording keeps its length: patches overlay bytes, and neither add nor remove any.

use std::io::{Cursor, Read, Seek, SeekFrom};

/// How many of the first bytes are wanted: what stands before the samples is short but for broadcast extensions.
pub const HEAD_LEN: usize = 16 * 1024;

// Limit: chunks before the samples. Writers know about a dozen kinds, and each costs one read.
const CHUNKS_MAX: usize = 64;

/// Bytes of a header to overlay at playback; sorted, and none overlaps another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SizePatches(Vec<Patch>);

/// The first `len` of `bytes` stand at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Patch {
    at: u64,
    bytes: [u8; 8],
    len: usize,
}

impl SizePatches {
    /// `head` is the beginning of the recording, [`HEAD_LEN`] or all of it; `plain_len` is its whole length.
    pub fn of(head: &[u8], plain_len: u64) -> SizePatches {
        let layout = Layout::read(&mut Cursor::new(head));
        layout.map_or_else(SizePatches::default, |layout| SizePatches(layout.patches(plain_len)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first offset behind the last patch: pieces that begin there or later stay as they are. 0 without patches.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |patch| patch.at + patch.len as u64)
    }

    /// Overlays a piece of the recording that begins at `offset`. However a recording is cut into pieces, they come to the
    /// same bytes.
    pub fn apply(&self, offset: u64, piece: &mut [u8]) {
        for patch in &self.0 {
            for (at, byte) in (patch.at..).zip(&patch.bytes[..patch.len]) {
                let index = at.checked_sub(offset).and_then(|index| usize::try_from(index).ok());
                if let Some(place) = index.and_then(|index| piece.get_mut(index)) {
                    *place = *byte;
                }
            }
        }
    }
}

/// A number of the header, and where it stands: 4 bytes, or 8 in the `ds64` chunk. Little endian.
#[derive(Clone, Copy, Debug)]
struct Field {
    at: u64,
    len: usize,
    value: u64,
}

impl Field {
    /// What has no room is written as the largest number, which readers take for "to the end".
    fn patch(self, value: u64) -> Option<Patch> {
        let value = if self.len == 4 { value.min(u64::from(u32::MAX)) } else { value };
        (value != self.value).then_some(Patch { at: self.at, bytes: value.to_le_bytes(), len: self.len })
    }
}

/// What stands before the samples.
#[derive(Debug)]
pub(super) struct Layout {
    /// Length of the file without its first eight bytes.
    riff_len: Field,
    data_len: Field,
    data_start: u64,
    /// Frames of samples: the `fact` chunk's, the `ds64` chunk's, both or none.
    frames: Vec<Field>,
    format: Format,
    /// The header of another chunk stands at `data_start`, and the chunk ends at or before this offset.
    next_end: Option<u64>,
}

impl Layout {
    /// Walks the chunks up to the samples. `None`: no WAV, a damaged one, or one whose samples begin behind the source's end.
    pub(super) fn read(source: &mut (impl Read + Seek)) -> Option<Layout> {
        let start: [u8; 12] = bytes(source, 0)?;
        let is_long = matches!(&start[..4], b"RF64" | b"BW64");
        if !(is_long || start.starts_with(b"RIFF")) || !start.ends_with(b"WAVE") {
            return None;
        }
        let (mut ds64_at, mut fact, mut format, mut at) = (None, None, None, 12);
        for _ in 0..CHUNKS_MAX {
            let head: [u8; 8] = bytes(source, at)?;
            let len = u32_le(&head[4..]);
            match &head[..4] {
                b"ds64" if is_long && len >= 24 => ds64_at = Some(at + 8),
                b"fmt " => format = Some(Format::read(source, at + 8, len)?),
                b"fact" if len >= 4 => fact = Some(narrow(source, at + 8)?),
                b"data" => {
                    let (riff_len, data_len) = (narrow(source, 4)?, narrow(source, at + 4)?);
                    let mut layout = Layout {
                        riff_len,
                        data_len,
                        data_start: at + 8,
                        frames: fact.into_iter().collect(),
                        format: format?,
                        next_end: next_end(source, at + 8),
                    };
                    if is_long {
                        layout.lengthen(source, ds64_at?)?;
                    }
                    return Some(layout);
                }
                _ => {}
            }
            at += 8 + u64::from(len) + u64::from(len % 2);
        }
        None
    }

    /// A 32-bit field of all ones says: see `ds64` (EBU Tech 3306).
    fn lengthen(&mut self, source: &mut (impl Read + Seek), ds64_at: u64) -> Option<()> {
        let says_elsewhere = |field: &Field| field.value == u64::from(u32::MAX);
        if says_elsewhere(&self.riff_len) {
            self.riff_len = wide(source, ds64_at)?;
        }
        if says_elsewhere(&self.data_len) {
            self.data_len = wide(source, ds64_at + 8)?;
        }
        self.frames.retain(|fact| !says_elsewhere(fact));
        self.frames.push(wide(source, ds64_at + 16)?);
        Some(())
    }

    /// Bytes of sound in a recording of `plain_len` bytes, whatever the header says of them.
    fn data_len(&self, plain_len: u64) -> u64 {
        if self.is_unfinished(plain_len) { self.data_there(plain_len) } else { self.data_len.value }
    }

    fn data_there(&self, plain_len: u64) -> u64 {
        plain_len.saturating_sub(self.data_start)
    }

    /// The header was written before the length of the sound was known, or promises more than came.
    fn is_unfinished(&self, plain_len: u64) -> bool {
        let there = self.data_there(plain_len);
        match self.data_len.value {
            declared if declared > there => true,
            // No sound, and other chunks behind it, is a recording of nothing.
            0 => there > 0 && self.next_end.is_none_or(|end| end > plain_len),
            declared => is_placeholder(declared) && self.riff_len.value.saturating_add(8) != plain_len,
        }
    }

    fn patches(&self, plain_len: u64) -> Vec<Patch> {
        let is_unfinished = self.is_unfinished(plain_len);
        // The last chunk's padding counts here, and some leave it out.
        let padded_len = plain_len.saturating_add(self.data_len.value % 2);
        let reaches_past = self.riff_len.value.saturating_add(8) > padded_len;
        let mut patches = Vec::new();
        if is_unfinished || reaches_past || self.riff_len.value == 0 {
            patches.extend(self.riff_len.patch(plain_len.saturating_sub(8)));
        }
        if is_unfinished {
            let there = self.data_there(plain_len);
            patches.extend(self.data_len.patch(there));
            let frames = self.format.frames(there);
            let wrong = self.frames.iter().filter(|field| frames.is_some_and(|n| field.value == 0 || field.value > n));
            patches.extend(wrong.filter_map(|field| field.patch(frames?)));
        }
        patches.sort_by_key(|patch| patch.at);
        patches
    }

    /// How long a recording of `plain_len` bytes sounds, rounded down. Frames come first: ffmpeg streams ADPCM with a wrong
    /// byte rate.
    pub(super) fn duration_ms(&self, plain_len: u64) -> Option<u64> {
        let len = self.data_len(plain_len);
        let (units, per_second) = match self.format.frames(len) {
            Some(frames) => (frames, self.format.sample_rate),
            None => (len, self.format.byte_rate),
        };
        u64::try_from((u128::from(units) * 1000).checked_div(per_second.into())?).ok()
    }
}

/// What a streaming writer puts where it does not know: near 2^31 (sox, arecord) or near 2^32 (ffmpeg, npm `wav`), less or
/// more the header, and rounded to whole frames.
fn is_placeholder(declared: u64) -> bool {
    matches!(declared, 0x7FFF_0000..=0x8000_FFFF | 0xFFFF_0000..=0xFFFF_FFFF | u64::MAX)
}

/// The `fmt ` chunk.
#[derive(Debug)]
struct Format {
    tag: u16,
    channels: u16,
    sample_rate: u32,
    byte_rate: u32,
    /// Bytes of the smallest unit that can be played.
    block_len: u16,
    sample_bits: u16,
    /// Frames of one block in formats that pack several (ADPCM, GSM 6.10).
    block_frames: Option<u16>,
}

impl Format {
    fn read(source: &mut (impl Read + Seek), at: u64, len: u32) -> Option<Format> {
        let fixed: [u8; 16] = bytes(source, at).filter(|_| len >= 16)?;
        let u16_le = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
        let block_frames = if len >= 20 { bytes(source, at + 18).map(u16::from_le_bytes) } else { None };
        Some(Format {
            tag: u16_le(0),
            channels: u16_le(2),
            sample_rate: u32_le(&fixed[4..]),
            byte_rate: u32_le(&fixed[8..]),
            block_len: u16_le(12),
            sample_bits: u16_le(14),
            block_frames,
        })
    }

    /// Frames in `len` bytes, rounded down to whole blocks. `None`: the format does not say.
    fn frames(&self, len: u64) -> Option<u64> {
        let block_frames = match self.tag {
            // PCM, floats, A-law, mu-law and the long form of these: a block is a frame.
            0x0001 | 0x0003 | 0x0006 | 0x0007 | 0xFFFE if self.has_whole_frames() => 1,
            // Microsoft's and IMA's ADPCM, GSM 6.10.
            0x0002 | 0x0011 | 0x0031 => self.block_frames.filter(|frames| *frames > 0)?,
            _ => return None,
        };
        len.checked_div(self.block_len.into())?.checked_mul(block_frames.into())
    }

    fn has_whole_frames(&self) -> bool {
        u32::from(self.block_len) == u32::from(self.channels) * u32::from(self.sample_bits.div_ceil(8))
    }
}

/// Where the chunk ends whose header stands at `at`. Samples are not taken for one: its name is letters, digits or spaces.
fn next_end(source: &mut (impl Read + Seek), at: u64) -> Option<u64> {
    let head: [u8; 8] = bytes(source, at)?;
    let is_name = head[..4].iter().all(|b| b.is_ascii_alphanumeric() || *b == b' ');
    is_name.then(|| at + 8 + u64::from(u32_le(&head[4..])))
}

fn bytes<const N: usize>(source: &mut (impl Read + Seek), at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    source.seek(SeekFrom::Start(at)).ok()?;
    source.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn narrow(source: &mut (impl Read + Seek), at: u64) -> Option<Field> {
    let value = u32::from_le_bytes(bytes(source, at)?);
    Some(Field { at, len: 4, value: value.into() })
}

fn wide(source: &mut (impl Read + Seek), at: u64) -> Option<Field> {
    let value = u64::from_le_bytes(bytes(source, at)?);
    Some(Field { at, len: 8, value })
}

/// Of the first four bytes.
fn u32_le(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests;
