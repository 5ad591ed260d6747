//! Rings: the file opens under its own keys and unedited only, and the parser accepts one form of every ring.

use proptest::prelude::*;

use super::*;
use crate::crypto::property::check;
use crate::model::Tag;

const HEAD: RingHead = RingHead { level: Level::GenerationFile, generation: 5, created_at_s: 1_780_000_000 };

fn master(number: u8) -> MasterKey {
    MasterKey::take(&mut [number; KEY_LEN])
}

fn secret(number: u8) -> GenerationSecret {
    GenerationSecret::take(&mut [number; KEY_LEN])
}

fn epoch(number: u32) -> Epoch {
    Epoch::new(number).expect("an epoch of 20 bits")
}

fn path(tree: u16, epoch_number: u32, tag: u64) -> TimePath {
    TimePath { tree: TreeId(tree), epoch: epoch(epoch_number), tag: Tag::new(tag).expect("a tag of 44 bits") }
}

/// Two time trees, advanced, with a punctured path and a punctured tenant.
fn used_ring() -> Ring {
    let tree = |id, root| TimeTree { id: TreeId(id), created_at_s: 9, tree: Tree::new(&mut [root; KEY_LEN]) };
    let mut ring = Ring {
        id: [1; 16],
        floor: Epoch::FIRST,
        trees: vec![tree(1, 2), tree(4, 3)],
        tenants: Tree::new(&mut [4; 32]),
    };
    ring.advance(epoch(20_000));
    assert!(ring.puncture(&path(4, 20_500, 77)));
    assert!(ring.puncture_tenant(TenantNumber(7)));
    ring
}

fn sealed() -> Vec<u8> {
    Ring::genesis(epoch(20_000), 9).seal(&HEAD, &master(1), Some(&secret(2)))
}

fn open_sealed(file: &[u8]) -> Result<(), CryptoError> {
    Ring::open(file, &master(1), Some(&secret(2))).map(drop)
}

#[test]
fn a_ring_sealed_at_any_level_opens_to_the_same_ring_and_head() {
    for level in [Level::MasterOnly, Level::GenerationFile, Level::GenerationKms] {
        let (ring, head, secret) = (used_ring(), RingHead { level, ..HEAD }, secret(2));
        let secret = level.has_secret().then_some(&secret);
        let file = ring.seal(&head, &master(1), secret);

        let (read_head, read) = Ring::open(&file, &master(1), secret).expect("its own keys");

        assert_eq!(read_head, head);
        assert_eq!(*read.plain(), *ring.plain());
        assert_eq!((read.id(), read.floor(), read.newest_tree()), (&[1; 16], epoch(20_000), TreeId(4)));
        let alive = path(1, 20_500, 77);
        assert_eq!(read.leaf(&alive).expect("alive").expose(), ring.leaf(&alive).expect("alive").expose());
        assert_eq!(read.leaf(&path(4, 20_500, 77)).map(drop), Err(CryptoError::Punctured));
        assert_eq!(read.leaf(&path(1, 19_999, 77)).map(drop), Err(CryptoError::Punctured));
        assert_eq!(read.leaf(&path(2, 20_500, 77)).map(drop), Err(CryptoError::UnknownTree));
        assert_eq!(read.tenant_key(TenantNumber(7)).map(drop), Err(CryptoError::Punctured));
        assert!(read.is_tenant_alive(TenantNumber(6)) && !read.is_tenant_alive(TenantNumber(7)));
    }
}

#[test]
fn a_ring_opens_under_its_own_master_key_and_secret_only() {
    let file = sealed();

    assert_eq!(open_sealed(&file), Ok(()));
    assert_eq!(Ring::open(&file, &master(2), Some(&secret(2))).map(drop), Err(CryptoError::NotAuthentic));
    assert_eq!(Ring::open(&file, &master(1), Some(&secret(3))).map(drop), Err(CryptoError::NotAuthentic));
    assert_eq!(Ring::open(&file, &master(1), None).map(drop), Err(CryptoError::NotAuthentic));
    assert_eq!(Ring::open(&file, &master(2), Some(&secret(1))).map(drop), Err(CryptoError::NotAuthentic));
}

#[test]
fn a_ring_whose_level_or_generation_was_edited_does_not_open_with_or_without_the_secret() {
    let file = sealed();
    let edits = (0..=255).map(|level| (5, level)).chain((8..16).map(|position| (position, 0xee)));
    for (position, value) in edits.filter(|(position, value)| file[*position] != *value) {
        let mut edited = file.clone();
        edited[position] = value;

        assert!(open_sealed(&edited).is_err(), "byte {position} = {value}");
        assert!(Ring::open(&edited, &master(1), None).is_err(), "byte {position} = {value}");
    }
}

#[test]
fn a_ring_with_one_flipped_bit_is_refused() {
    let file = used_ring().seal(&HEAD, &master(1), Some(&secret(2)));
    for position in 0..file.len() {
        let bits = if position < SEALED_AT { 0..8 } else { position as u32 % 8..position as u32 % 8 + 1 };
        for bit in bits {
            let mut edited = file.clone();
            edited[position] ^= 1 << bit;

            assert!(open_sealed(&edited).is_err(), "byte {position}, bit {bit}");
        }
    }
}

#[test]
fn a_ring_cut_at_any_byte_or_extended_is_refused() {
    let file = sealed();

    for len in 0..file.len() {
        assert!(open_sealed(&file[..len]).is_err(), "{len} of {} bytes were accepted", file.len());
    }
    for tail in [1, 16, 41, 64] {
        assert!(open_sealed(&[&file[..], &vec![0; tail]].concat()).is_err(), "a tail of {tail} was accepted");
    }
}

#[test]
#[should_panic(expected = "a generation secret belongs to levels 2 and 3")]
fn a_ring_of_level_2_is_never_sealed_under_the_master_key_alone() {
    Ring::genesis(Epoch::FIRST, 0).seal(&HEAD, &master(1), None);
}

#[test]
#[should_panic(expected = "a generation secret belongs to levels 2 and 3")]
fn a_ring_of_level_1_is_never_sealed_with_a_secret() {
    let head = RingHead { level: Level::MasterOnly, ..HEAD };
    Ring::genesis(Epoch::FIRST, 0).seal(&head, &master(1), Some(&secret(2)));
}

#[test]
fn a_ring_without_punctures_is_smaller_than_a_kilobyte_whatever_its_floor() {
    let sealed_len = |floor| Ring::genesis(floor, 0).seal(&HEAD, &master(1), Some(&secret(2))).len();

    // The greatest cover is that of epoch 1: one subtree for every bit of an epoch.
    assert_eq!(sealed_len(epoch(1)), 965);
    check(300, 0..1u32 << 20, |floor| assert!(sealed_len(epoch(floor)) < 1024));
    assert!(sealed_len(Epoch::LAST) < 1024 && sealed_len(Epoch::FIRST) < 1024);
}

#[test]
fn a_new_ring_has_keys_of_its_own_and_nothing_alive_below_its_floor() {
    let (one, two) = (Ring::genesis(epoch(100), 9), Ring::genesis(epoch(100), 9));
    let alive = path(1, 100, 0);

    assert!(!one.is_alive(&path(1, 99, Tag::INDEX.number())) && one.is_alive(&alive));
    assert_eq!(one.newest_tree(), FIRST_TREE);
    assert_ne!(one.id(), two.id());
    assert_ne!(one.leaf(&alive).expect("alive").expose(), two.leaf(&alive).expect("alive").expose());
    let tenant = TenantNumber(1);
    assert_ne!(one.tenant_key(tenant).expect("alive").expose(), two.tenant_key(tenant).expect("alive").expose());
}

#[test]
fn an_advance_reaches_every_tree_and_a_lower_floor_changes_nothing() {
    let mut ring = used_ring();
    ring.advance(epoch(20_100));
    let plain = ring.plain();
    for tree in [1, 4] {
        assert!(!ring.is_alive(&path(tree, 20_099, 5)) && ring.is_alive(&path(tree, 20_100, 5)));
    }

    ring.advance(epoch(3));

    assert_eq!((ring.floor(), &*ring.plain()), (epoch(20_100), &*plain));
}

#[test]
fn erasing_one_recording_and_one_tenant_leaves_all_others_readable() {
    let mut ring = used_ring();
    let (erased, beside) = (path(1, 20_500, 8), path(1, 20_500, 9));

    assert!(ring.puncture(&erased) && !ring.puncture(&erased));
    assert!(!ring.puncture_tenant(TenantNumber(7)), "it was dead before");

    assert!(!ring.is_alive(&erased) && ring.is_alive(&beside) && ring.is_alive(&path(4, 20_500, 8)));
    assert!(!ring.puncture(&path(9, 20_500, 8)), "there is no tree 9");
}

#[test]
fn the_last_state_does_not_tell_the_order_of_erasures_and_advances() {
    check(40, (0..100u64, 0..100u64, 20_001..20_600u32), |(one, two, floor)| {
        let erasures = [path(1, 20_500, one), path(4, 20_500, two), path(1, 20_550, two)];
        let (mut first, mut second) = (used_ring(), used_ring());

        erasures.iter().for_each(|path| assert!(first.puncture(path) || !first.is_alive(path)));
        first.advance(epoch(floor));
        second.advance(epoch(floor));
        erasures.iter().rev().for_each(|path| assert!(second.puncture(path) || !second.is_alive(path)));

        assert_eq!(*first.plain(), *second.plain());
    });
}

fn accepts_only_canonical(bytes: &[u8]) {
    if let Ok(ring) = Ring::read_plain(bytes) {
        assert_eq!(*ring.plain(), bytes);
        assert!(ring.trees.is_sorted_by(|a, b| a.id < b.id));
        let floor = u64::from(ring.floor().number()) << TAG_BITS;
        assert!(ring.trees.iter().all(|tree| tree.tree.first_alive().is_none_or(|first| first >= floor)));
    }
}

#[test]
fn arbitrary_bytes_never_panic_the_parsers_and_only_canonical_ones_are_accepted() {
    check(1000, prop::collection::vec(any::<u8>(), 0..200), |bytes| {
        accepts_only_canonical(&bytes);
        let _ = RingHead::read(&bytes);
        let _ = open_sealed(&bytes);
        let _ = read_generation(&bytes);
    });

    let sound = used_ring().plain().to_vec();
    let edit = (0..sound.len(), any::<u8>());
    check(1000, (prop::collection::vec(edit, 0..3), 0..=sound.len(), any::<bool>()), |(edits, len, cut)| {
        let mut bytes = sound.clone();
        edits.iter().for_each(|(position, value)| bytes[*position] = *value);
        bytes.truncate(if cut { len } else { sound.len() });
        accepts_only_canonical(&bytes);
    });
}

#[test]
fn every_edited_count_depth_and_start_in_a_ring_is_refused_or_canonical() {
    let sound = Ring::genesis(epoch(20_000), 9).plain().to_vec();
    assert!(Ring::read_plain(&sound).is_ok());
    for position in 16..sound.len() {
        for value in [0, 1, 2, 0x40, 0x7f, 0x80, 0xff] {
            let mut edited = sound.clone();
            edited[position] = value;
            accepts_only_canonical(&edited);
        }
    }
    for len in 0..sound.len() {
        assert!(Ring::read_plain(&sound[..len]).is_err(), "{len} of {} bytes were accepted", sound.len());
    }
}

#[test]
fn a_generation_file_reads_back_and_no_other_length_or_magic_is_taken() {
    let file = write_generation(9, &secret(2));
    let (generation, read) = read_generation(&*file).expect("a sound file");
    assert_eq!((generation, read.expose()), (9, secret(2).expose()));

    for len in 0..file.len() {
        assert!(read_generation(&file[..len]).is_err());
    }
    for position in 0..8 {
        let mut edited = file.clone();
        edited[position] ^= 1;
        assert!(read_generation(&*edited).is_err(), "byte {position}");
    }
}
