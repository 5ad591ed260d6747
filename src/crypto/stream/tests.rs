//! Objects: every attack on a stream of chunks is refused; the split of the writes does not show; no nonce repeats.

use std::collections::HashSet;

use hkdf::Hkdf;
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::crypto::labels;
use crate::crypto::property::check;

const TENANT: TenantNumber = TenantNumber(7);
const STEP: usize = SEALED_CHUNK_LEN;

fn data_key() -> DataKey {
    DataKey::take(&mut [0x42; 32])
}

fn recording(number: u8) -> RecordingId {
    RecordingId::from_bytes([number; 16])
}

fn plain(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect()
}

fn sealed_as(recording: RecordingId, salt: u8, plain: &[u8]) -> (Vec<u8>, SealedObject) {
    let mut sealer = Sealer::with_salt(&data_key(), TENANT, recording, [salt; 24]);
    sealer.write(plain);
    let (object, known) = sealer.finish();
    (object.to_vec(), known)
}

fn sealed(plain: &[u8]) -> Vec<u8> {
    sealed_as(recording(1), 1, plain).0
}

fn opener_of(object: &[u8]) -> Result<Opener, CryptoError> {
    let header = &object[..object.len().min(HEADER_LEN)];
    Opener::new(&data_key(), TENANT, recording(1), header, object.len() as u64)
}

/// Opens an object from its first chunk to its last; checks that no byte is handed out of a chunk that is refused.
fn open(object: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let opener = opener_of(object)?;
    let mut plain = Vec::new();
    for index in 0..opener.geometry().chunk_count() {
        let span = opener.geometry().span(index, index);
        let mut chunk = BytesMut::from(&object[span.start as usize..span.end as usize]);
        let opened = opener.open_chunk(index, &mut chunk);
        assert!(opened.is_ok() || chunk.is_empty(), "bytes of a refused chunk were handed out");
        opened?;
        plain.extend_from_slice(&chunk);
    }
    assert_eq!(plain.len() as u64, opener.geometry().plain_len());
    Ok(plain)
}

/// Header, chunk, chunk, ...
fn pieces(object: &[u8]) -> Vec<&[u8]> {
    std::iter::once(&object[..HEADER_LEN]).chain(object[HEADER_LEN..].chunks(STEP)).collect()
}

const LENGTHS: [usize; 9] =
    [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 2 * CHUNK_LEN - 1, 2 * CHUNK_LEN, 2 * CHUNK_LEN + 1, 50_000];

#[test]
fn an_object_of_any_length_opens_to_what_was_sealed_and_is_as_long_as_announced() {
    for len in LENGTHS {
        let (object, known) = sealed_as(recording(1), 1, &plain(len));

        assert!(open(&object) == Ok(plain(len)), "{len} bytes do not come back");
        assert_eq!((known.plain_len, known.sealed_len), (len as u64, object.len() as u64));
        assert_eq!(known.digest, DigestOfTags::of_object(&object).expect("a whole object"));
        assert_eq!(Geometry::of_plain(len as u64).sealed_len(), object.len() as u64);
    }
}

#[test]
fn an_object_cut_at_any_byte_is_refused() {
    let object = sealed(&plain(CHUNK_LEN + 100));

    for len in 0..object.len() {
        assert!(open(&object[..len]).is_err(), "{len} of {} bytes were accepted", object.len());
    }
}

#[test]
fn an_object_of_three_chunks_cut_near_a_chunks_end_is_refused() {
    for plain_len in [2 * CHUNK_LEN, 3 * CHUNK_LEN - 1, 2 * CHUNK_LEN + 500] {
        let object = sealed(&plain(plain_len));
        for chunk in 0..=2 {
            for len in HEADER_LEN + chunk * STEP - 40..HEADER_LEN + chunk * STEP + 40 {
                assert!(len >= object.len() || open(&object[..len]).is_err(), "{len} of {} bytes", object.len());
            }
        }
    }
}

#[test]
fn an_extended_object_is_refused() {
    for plain_len in [0, 100, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 100] {
        let object = sealed(&plain(plain_len));
        let last = object.len() - HEADER_LEN - (object.len() - HEADER_LEN) / STEP * STEP;
        let tails =
            [vec![0; 1], vec![0; 15], vec![0; 16], vec![0; 17], vec![0; STEP - last], vec![0; STEP], vec![0; 2 * STEP]];
        let own_end = object[object.len() - last..].to_vec();
        for tail in tails.into_iter().chain([own_end, object.clone()]) {
            let extended = [&object[..], &tail].concat();

            assert!(open(&extended).is_err(), "{plain_len} bytes and a tail of {} were accepted", tail.len());
        }
    }
}

#[test]
fn one_flipped_bit_anywhere_in_a_short_object_is_refused() {
    for plain_len in [0, 1, 100] {
        let object = sealed(&plain(plain_len));
        for bit in 0..object.len() * 8 {
            let mut edited = object.clone();
            edited[bit / 8] ^= 1 << (bit % 8);

            assert!(open(&edited).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn a_flipped_bit_in_a_long_object_is_refused() {
    let object = sealed(&plain(2 * CHUNK_LEN + 500));
    let tag_bytes = [HEADER_LEN + STEP, HEADER_LEN + 2 * STEP, object.len()].map(|end| end - TAG_LEN..end);
    let positions =
        (0..HEADER_LEN).chain(tag_bytes.into_iter().flatten()).chain((HEADER_LEN..object.len()).step_by(61));

    for position in positions {
        let mut edited = object.clone();
        edited[position] ^= 1 << (position % 8);

        assert!(open(&edited).is_err(), "byte {position}");
    }
}

#[test]
fn every_arrangement_of_an_objects_chunks_but_its_own_is_refused() {
    let object = sealed(&plain(2 * CHUNK_LEN + 500));
    let pieces = pieces(&object);
    let (header, chunks) = (pieces[0], &pieces[1..]);
    // Every sequence of up to four of the three chunks: reordered, dropped, duplicated, replaced.
    for count in 0..=4u32 {
        for number in 0..3usize.pow(count) {
            let order: Vec<usize> = (0..count).map(|place| number / 3usize.pow(place) % 3).collect();
            let arranged =
                [header].into_iter().chain(order.iter().map(|chunk| chunks[*chunk])).collect::<Vec<_>>().concat();

            assert_eq!(open(&arranged).is_ok(), order == [0, 1, 2], "{order:?}");
        }
    }
}

#[test]
fn a_chunk_or_header_of_another_object_is_refused_in_every_place() {
    let text = plain(2 * CHUNK_LEN + 500);
    let object = sealed(&text);
    let same_recording = sealed_as(recording(1), 2, &text).0;
    let another_recording = sealed_as(recording(2), 1, &text).0;
    for other in [&same_recording, &another_recording] {
        for place in 0..4 {
            let mut spliced = pieces(&object);
            spliced[place] = pieces(other)[place];

            assert!(open(&spliced.concat()).is_err(), "piece {place} of another object was accepted");
        }
    }
    assert!(open(&same_recording) == Ok(text), "another segment of the recording is sound by itself");
}

#[test]
fn a_header_that_names_another_form_is_refused() {
    let object = sealed(&plain(2 * CHUNK_LEN + 500));
    for position in [4, 5, 6, 7, 8, 15] {
        for value in (0..=255).filter(|value| *value != object[position]) {
            let mut downgraded = object.clone();
            downgraded[position] = value;

            assert!(open(&downgraded).is_err(), "byte {position} = {value} was accepted");
        }
    }
}

#[test]
fn an_object_opens_for_its_own_tenant_recording_and_data_key_only() {
    let object = sealed(b"text");
    let try_as = |key: DataKey, tenant, recording| {
        Opener::new(&key, tenant, recording, &object[..HEADER_LEN], object.len() as u64).map(drop)
    };

    assert_eq!(try_as(data_key(), TENANT, recording(1)), Ok(()));
    assert_eq!(try_as(data_key(), TenantNumber(8), recording(1)), Err(CryptoError::NotAuthentic));
    assert_eq!(try_as(data_key(), TENANT, recording(2)), Err(CryptoError::NotAuthentic));
    assert_eq!(try_as(DataKey::take(&mut [0x43; 32]), TENANT, recording(1)), Err(CryptoError::NotAuthentic));
}

#[test]
fn a_chunk_asked_for_beyond_the_end_or_with_another_length_is_refused() {
    let object = sealed(&plain(CHUNK_LEN + 100));
    let opener = opener_of(&object).expect("a sound object");
    let first = &object[HEADER_LEN..HEADER_LEN + STEP];

    for index in [2, 3, 1 << 50, u64::MAX] {
        for bytes in [first, &first[..16], &[][..]] {
            let mut chunk = BytesMut::from(bytes);
            assert!(matches!(opener.open_chunk(index, &mut chunk), Err(CryptoError::Malformed(_))));
            assert!(chunk.is_empty());
        }
    }
    for len in [0, 15, 16, STEP - 1] {
        assert!(opener.open_chunk(0, &mut BytesMut::from(&first[..len])).is_err());
    }
}

#[test]
fn chunks_open_in_any_order_and_again() {
    let text = plain(3 * CHUNK_LEN + 9);
    let object = sealed(&text);
    let opener = opener_of(&object).expect("a sound object");

    for index in [3, 1, 1, 0, 2, 3] {
        let mut chunk = BytesMut::from(pieces(&object)[index + 1]);
        opener.open_chunk(index as u64, &mut chunk).expect("a sound chunk");
        assert!(chunk == text[index * CHUNK_LEN..text.len().min((index + 1) * CHUNK_LEN)]);
    }
}

/// Lengths of single writes, many of them at a chunk's end, each with whether the sealed bytes are taken after it.
fn writes() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let chunk = CHUNK_LEN;
    let len = prop_oneof![0..200usize, chunk - 2..chunk + 3, Just(chunk), 0..2 * chunk + 5, Just(0)];
    prop::collection::vec((len, any::<bool>()), 0..8)
}

#[test]
fn any_split_of_the_writes_and_any_clearing_between_them_gives_the_same_object() {
    check(80, writes(), |writes| {
        let text = plain(writes.iter().map(|(len, _)| len).sum());
        let mut sealer = Sealer::with_salt(&data_key(), TENANT, recording(1), [1; 24]);
        let (mut object, mut at) = (Vec::new(), 0);

        for (len, take) in writes {
            sealer.write(&text[at..at + len]);
            at += len;
            if take {
                object.extend_from_slice(sealer.sealed());
                sealer.clear_sealed();
                assert!(sealer.sealed().is_empty());
            }
            assert_eq!(sealer.plain_len(), at as u64);
            assert_eq!(sealer.unsealed_len(), at % CHUNK_LEN, "plaintext is held in the chunk being filled only");
        }
        let (rest, known) = sealer.finish();
        object.extend_from_slice(&rest);

        let (whole, known_whole) = sealed_as(recording(1), 1, &text);
        assert!(object == whole, "the split shows in the object");
        assert_eq!(known, known_whole);
        assert!(open(&object) == Ok(text), "the object opens to another plaintext");
    });
}

#[test]
fn plaintext_that_is_moved_leaves_no_copy_behind() {
    for (sealed_len, plain_len) in [(0, 5), (5, 0), (3, 5), (5, 3), (5, 5), (1, 100), (100, 1)] {
        let mut bytes = [vec![b's'; sealed_len], vec![b'p'; plain_len]].concat();

        move_to_front(&mut bytes, sealed_len);

        assert_eq!(bytes[..plain_len], vec![b'p'; plain_len]);
        assert!(!bytes[plain_len..].contains(&b'p'), "{plain_len} bytes behind {sealed_len}");
    }
}

#[test]
fn a_full_chunk_is_sealed_at_once_and_then_does_not_change() {
    let text = plain(2 * CHUNK_LEN);
    let whole = sealed(&text);
    let mut sealer = Sealer::with_salt(&data_key(), TENANT, recording(1), [1; 24]);
    assert_eq!(sealer.sealed(), &whole[..HEADER_LEN]);

    sealer.write(&text[..CHUNK_LEN - 1]);
    assert_eq!(sealer.sealed().len(), HEADER_LEN);

    sealer.write(&text[CHUNK_LEN - 1..CHUNK_LEN]);
    assert!(sealer.sealed() == &whole[..HEADER_LEN + STEP]);
}

#[test]
fn a_segment_whose_writer_died_at_any_byte_opens_in_its_full_chunks() {
    let text = plain(2 * CHUNK_LEN + 500);
    let object = sealed(&text);
    let cuts =
        (0..object.len()).step_by(97).chain([HEADER_LEN, HEADER_LEN + STEP - 1, HEADER_LEN + STEP, object.len()]);
    for cut in cuts {
        let count = full_chunks(cut as u64) as usize;

        assert_eq!(count, cut.saturating_sub(HEADER_LEN) / STEP);
        // Read as if a short chunk followed, of which nothing is opened.
        let assumed_len = HEADER_LEN + count * STEP + TAG_LEN;
        let opener = opener_of(&object[..assumed_len.min(object.len())]).expect("the header is whole");
        for index in 0..count {
            let mut chunk = BytesMut::from(pieces(&object)[index + 1]);
            opener.open_chunk(index as u64, &mut chunk).expect("a full chunk");
            assert!(chunk == text[index * CHUNK_LEN..(index + 1) * CHUNK_LEN]);
        }
    }
}

#[test]
fn no_key_and_nonce_meet_twice_over_many_segments_and_chunks_of_one_data_key() {
    let data_key = data_key();
    let mut met = HashSet::new();
    for segment in 0..3000 {
        // One recording whose spool is reopened again and again, and others under the same data key.
        let recording = recording((segment % 3) as u8);
        let mut sealer = Sealer::new(&data_key, TENANT, recording);
        let preamble: [u8; 40] = sealer.sealed()[..40].try_into().expect("a preamble");
        let info = [labels::OBJECT, &preamble, &TENANT.0.to_be_bytes(), recording.as_bytes()];
        let mut okm = [0; 76];
        let hkdf = Hkdf::<Sha256>::from_prk(data_key.expose()).expect("32 bytes");
        hkdf.expand_multi_info(&info, &mut okm).expect("76 bytes");
        assert_eq!((&okm[32..44], &okm[44..]), (&sealer.key.base_nonce[..], &sealer.key.commitment[..]));
        let key: [u8; 32] = okm[..32].try_into().expect("32 bytes");

        // `next_chunk` is the index that the next sealed chunk uses; every one that was used is noted once.
        let mut used = 0;
        for len in [0, CHUNK_LEN - 1, 1, segment % 50] {
            sealer.write(&vec![0; len]);
            sealer.clear_sealed();
            assert!(sealer.next_chunk >= used, "an index went back");
            used = sealer.next_chunk;
        }
        for index in 0..=used {
            let nonce = *chunk_nonce(&sealer.key.base_nonce, index).as_ref();
            assert!(met.insert((key, nonce)), "segment {segment}, chunk {index}");
        }
        sealer.finish();
    }
    assert_eq!(met.len(), 3000 * 2);
}

#[test]
fn chunk_nonces_of_one_object_differ_at_every_byte_of_the_index() {
    let indices = (0..70_000).chain((0..64).map(|bit| 1 << bit).filter(|index| *index >= 70_000)).chain([u64::MAX]);
    let nonces: Vec<[u8; 12]> = indices.map(|index| *chunk_nonce(&[0xa5; 12], index).as_ref()).collect();

    assert_eq!(nonces.iter().collect::<HashSet<_>>().len(), nonces.len());
    assert_eq!(nonces[0], [0xa5; 12]);
}

#[test]
fn two_sealers_of_one_recording_draw_different_salts() {
    let headers: HashSet<Vec<u8>> =
        (0..100).map(|_| Sealer::new(&data_key(), TENANT, recording(1)).sealed().to_vec()).collect();

    assert_eq!(headers.len(), 100);
}

#[test]
fn every_sealed_length_has_at_most_one_reading_at_every_chunk_size() {
    for chunk_log2 in 12..=20 {
        let header = Header { chunk_log2, salt: [0; 24], commitment: [0; 32] };
        let chunk_len = header.chunk_len();
        let mut read_as = Vec::new();
        let near_ends =
            (0..4).flat_map(|chunk| (0..60).map(move |step| HEADER_LEN as u64 - 30 + chunk * (chunk_len + 16) + step));
        for sealed_len in near_ends {
            if let Ok(geometry) = Geometry::of_sealed(&header, sealed_len) {
                assert_eq!(geometry.sealed_len(), sealed_len);
                let last = geometry.chunk_count() - 1;
                assert!(geometry.chunk_plain_len(last) < chunk_len);
                assert_eq!(geometry.span(0, last).end, sealed_len);
                read_as.push(geometry.plain_len());
            }
        }
        assert!(read_as.is_sorted_by(|a, b| a < b), "two sealed lengths read as one plaintext length");
    }
}

#[test]
fn arbitrary_headers_and_lengths_never_panic_and_only_canonical_headers_are_accepted() {
    let sound = Header { chunk_log2: 14, salt: [3; 24], commitment: [4; 32] }.write();
    let edits = prop::collection::vec((0..HEADER_LEN, any::<u8>()), 0..3);
    check(2000, (edits, any::<u64>(), 60..90usize), |(edits, sealed_len, len)| {
        let mut bytes = sound.to_vec();
        edits.iter().for_each(|(position, value)| bytes[*position] = *value);
        bytes.resize(if len < 72 { len } else { 72 }, 0);
        if let Ok(header) = Header::read(&bytes) {
            assert_eq!(header.write()[..], bytes);
            if let Ok(geometry) = Geometry::of_sealed(&header, sealed_len) {
                assert_eq!(geometry.sealed_len(), sealed_len);
            }
        }
    });
}
