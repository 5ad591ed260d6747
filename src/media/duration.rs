//! How long a recording sounds.
//! media type, source of its bytes -> milliseconds, rounded down, or `None`
//!
//! WAV by its header; the other containers by counting what their packets last, without decoding one. So a recording that
//! was cut off, or streamed without a length, has the length of what came, and not what its header hoped for.
//!
//! # Promise      No input panics, and reads, packets and memory have limits. What cannot be read has no duration.

use std::io::{Error, Read, Result, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use symphonia::core::errors::Result as ParseResult;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::units::{TimeBase, Timestamp};
use symphonia::default::formats::{FlacReader, IsoMp4Reader, MkvReader, MpaReader, OggReader};

use super::sniff::{Container, is_id3};
use super::wav::Layout;

// Limit: what is read before the first packet, and may be kept in memory: tags, pictures, the tables of an MP4 (1.5 MiB for
// two hours).
const HEAD_READ_MAX: u64 = 8 << 20;
// Limit: what is read to count packets: an hour of MP3 at 128 kbit/s, four at 32. Packets are dropped one by one.
const WALK_READ_MAX: u64 = 64 << 20;
// Limit: a day of packets of 20 ms. An MP4 may declare 2^32 packets without a byte in them.
const PACKETS_MAX: usize = 24 * 3600 * 50;
// Limit: every read costs as much as one of this length, so that a file that sends its reader back and forth ends too.
const READ_COST_MIN: u64 = 4096;
// Limit: ID3 tags in a row. One is usual, and a stitched recording has two.
const ID3_TAGS_MAX: usize = 8;

/// How long a recording of `plain_len` bytes sounds; a media type of which nothing is known, or bytes that are not what it
/// says, have no duration.
///
/// This may read tens of megabytes (an MP3 says nothing reliable of its length), and belongs on a thread that may block.
/// Bytes behind `plain_len` do not count.
pub fn duration_ms(media_type: &str, source: &mut (impl Read + Seek + Send + Sync), plain_len: u64) -> Option<u64> {
    let container = Container::named(media_type)?;
    if container == Container::Wav {
        return Layout::read(source)?.duration_ms(plain_len);
    }
    // Limit: a parser that panics on bytes from outside costs a recording its duration, and nothing else.
    catch_unwind(AssertUnwindSafe(|| packets_ms(container, source, plain_len))).ok().flatten()
}

fn packets_ms<S: Read + Seek + Send + Sync>(container: Container, source: &mut S, plain_len: u64) -> Option<u64> {
    let start = after_id3(source, plain_len)?;
    let allowance = AtomicU64::new(HEAD_READ_MAX);
    source.seek(SeekFrom::Start(start)).ok()?;
    let window = Window { source, start, len: plain_len.checked_sub(start)?, at: 0, allowance: &allowance };
    let mut reader = open(container, MediaSourceStream::new(Box::new(window), Default::default()))?.ok()?;
    let declared = declared(reader.as_ref());
    // An Ogg's comes from its last page, and is exact when there is one.
    if container == Container::Ogg && declared.is_some() {
        return declared;
    }
    allowance.store(WALK_READ_MAX, Ordering::Relaxed);
    // A header that knows of the encoder's padding knows the length without it: there is no more sound than it says.
    let padding_is_known = reader.tracks().first().is_some_and(|track| track.padding.is_some());
    let bound = declared.filter(|_| padding_is_known || container == Container::Mp4).unwrap_or(u64::MAX);
    match counted(reader.as_mut(), &allowance) {
        Counted::Ms(ms) => Some(ms.min(bound)),
        Counted::Nothing => None,
        Counted::GaveUp => declared,
    }
}

/// Where the sound begins: ID3 tags are passed over without reading the pictures in them.
fn after_id3(source: &mut (impl Read + Seek), plain_len: u64) -> Option<u64> {
    let mut at = 0;
    for _ in 0..ID3_TAGS_MAX {
        let mut head = [0; 10];
        if plain_len < at + head.len() as u64 {
            break;
        }
        source.seek(SeekFrom::Start(at)).ok()?;
        source.read_exact(&mut head).ok()?;
        if !is_id3(&head) {
            break;
        }
        let footer_len = if head[5] & 0x10 == 0 { 0 } else { head.len() as u64 };
        let len = head[6..].iter().fold(0, |len, byte| len << 7 | u64::from(*byte));
        at += head.len() as u64 + len + footer_len;
    }
    Some(at)
}

fn open<'s>(container: Container, stream: MediaSourceStream<'s>) -> Option<ParseResult<Box<dyn FormatReader + 's>>> {
    fn boxed<'s>(reader: ParseResult<impl FormatReader + 's>) -> Option<ParseResult<Box<dyn FormatReader + 's>>> {
        Some(reader.map(|reader| Box::new(reader) as Box<dyn FormatReader + 's>))
    }
    let options = FormatOptions::default();
    match container {
        Container::Flac => boxed(FlacReader::try_new(stream, options)),
        Container::Matroska => boxed(MkvReader::try_new(stream, options)),
        Container::Mp3 => boxed(MpaReader::try_new(stream, options)),
        Container::Mp4 => boxed(IsoMp4Reader::try_new(stream, options)),
        Container::Ogg => boxed(OggReader::try_new(stream, options)),
        Container::Aiff | Container::Amr | Container::Au | Container::Caf | Container::Wav => None,
    }
}

/// What the header says, if it says anything.
fn declared(reader: &dyn FormatReader) -> Option<u64> {
    let media = reader.media_info();
    let declared = media.duration.filter(|duration| duration.get() > 0)?;
    ms(media.time_base?, declared.get().into())
}

/// What the packets of the first audio track come to.
enum Counted {
    Ms(u64),
    Nothing,
    /// A limit was reached.
    GaveUp,
}

fn counted(reader: &mut dyn FormatReader, allowance: &AtomicU64) -> Counted {
    let track = reader.default_track(TrackType::Audio).and_then(|track| Some((track.id, track.time_base?)));
    let Some((track_id, time_base)) = track else { return Counted::Nothing };
    let (mut first, mut end) = (None, None);
    for _ in 0..PACKETS_MAX {
        // An end inside of a packet, or damage: what came before it counts.
        let Ok(Some(packet)) = reader.next_packet() else {
            let is_over = allowance.load(Ordering::Relaxed) > 0;
            return if is_over { between(time_base, first, end) } else { Counted::GaveUp };
        };
        if packet.track_id == track_id {
            // Decoders drop what is before zero.
            first = first.or(Some(packet.pts.max(Timestamp::ZERO)));
            end = end.max(packet.pts.checked_add(packet.dur));
        }
    }
    Counted::GaveUp
}

fn between(time_base: TimeBase, first: Option<Timestamp>, end: Option<Timestamp>) -> Counted {
    let ticks = first.zip(end).map(|(first, end)| i128::from(end.get()) - i128::from(first.get()));
    let ticks = ticks.and_then(|ticks| u128::try_from(ticks).ok()).filter(|ticks| *ticks > 0);
    ticks.and_then(|ticks| ms(time_base, ticks)).map_or(Counted::Nothing, Counted::Ms)
}

fn ms(time_base: TimeBase, ticks: u128) -> Option<u64> {
    let thousands = ticks.checked_mul(1000)?.checked_mul(time_base.numer.get().into())?;
    u64::try_from(thousands / u128::from(time_base.denom.get())).ok()
}

/// The part of a source from `start` on, `len` bytes of it, of which so many may be read as are allowed.
struct Window<'a, S> {
    source: &'a mut S,
    start: u64,
    len: u64,
    /// From `start`; the source stands there.
    at: u64,
    /// 0 once a read was refused.
    allowance: &'a AtomicU64,
}

impl<S: Read> Read for Window<'_, S> {
    fn read(&mut self, piece: &mut [u8]) -> Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = piece.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        let cost = (wanted as u64).max(READ_COST_MIN);
        let allowed = self.allowance.load(Ordering::Relaxed);
        if cost >= allowed {
            self.allowance.store(0, Ordering::Relaxed);
            return Err(Error::other("more would have to be read than is allowed"));
        }
        self.allowance.store(allowed - cost, Ordering::Relaxed);
        let len = self.source.read(&mut piece[..wanted])?;
        self.at += len as u64;
        Ok(len)
    }
}

impl<S: Seek> Seek for Window<'_, S> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
        };
        let place = at.and_then(|at| self.start.checked_add(at));
        let (Some(at), Some(place)) = (at, place) else { return Err(Error::other("no such place")) };
        self.source.seek(SeekFrom::Start(place))?;
        self.at = at;
        Ok(at)
    }
}

impl<S: Read + Seek + Send + Sync> MediaSource for Window<'_, S> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.len)
    }
}

// Secrecy: symphonia's messages quote bytes of recordings. `Cargo.toml` leaves them out of the program.
const _: () = assert!(matches!(log::STATIC_MAX_LEVEL, log::LevelFilter::Off));

#[cfg(test)]
mod tests;
