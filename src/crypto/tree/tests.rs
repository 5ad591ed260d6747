//! Trees: held against a model that keeps the root and a set of dead paths; canonical bytes; nothing left of the dead.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::crypto::property::check;

const ROOT: [u8; KEY_LEN] = *b"the root that these tests share.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Removal {
    Advance(u64),
    Puncture(u64),
}

/// What a tree must do, said without a cover: the root stays, and the dead are remembered.
#[derive(Default)]
struct Model {
    floor: u64,
    punctured: BTreeSet<u64>,
}

impl Model {
    fn is_alive(&self, path: u64) -> bool {
        path >= self.floor && !self.punctured.contains(&path)
    }

    fn apply(&mut self, removal: Removal) {
        match removal {
            Removal::Advance(floor) => self.floor = self.floor.max(floor),
            Removal::Puncture(path) => drop(self.punctured.insert(path)),
        }
    }
}

fn fresh<const BITS: u8>() -> Tree<BITS> {
    Tree::new(&mut ROOT.clone())
}

fn node_at<const BITS: u8>(path: u64, depth: u8) -> [u8; KEY_LEN] {
    let mut node = ROOT;
    for level in 0..depth {
        descend(&mut node, bit::<BITS>(path, level));
    }
    node
}

fn apply<const BITS: u8>(tree: &mut Tree<BITS>, removal: Removal) {
    match removal {
        Removal::Advance(floor) => tree.advance(floor),
        Removal::Puncture(path) => drop(tree.puncture(path)),
    }
}

fn after<const BITS: u8>(removals: &[Removal]) -> Tree<BITS> {
    let mut tree = fresh();
    removals.iter().for_each(|removal| apply(&mut tree, *removal));
    tree
}

fn bytes_of<const BITS: u8>(tree: &Tree<BITS>) -> Vec<u8> {
    let mut bytes = Vec::new();
    tree.write(&mut bytes);
    assert_eq!(bytes.len(), tree.written_len());
    bytes
}

/// Punctures anywhere; advances mostly short, so that they do not leave every tree empty.
fn small_removals<const BITS: u8>() -> impl Strategy<Value = Vec<Removal>> {
    let end = 1u64 << BITS;
    let removal = prop_oneof![
        8 => (0..end).prop_map(Removal::Puncture),
        1 => (0..end / 4).prop_map(Removal::Advance),
        1 => (0..=end).prop_map(Removal::Advance),
    ];
    prop::collection::vec(removal, 0..40)
}

/// Paths close to one another and to places where many bits turn, so that siblings and neighbours meet.
fn sparse_path<const BITS: u8>() -> impl Strategy<Value = u64> {
    let top = last::<BITS>(0, 0);
    let around = prop_oneof![Just(0), Just(top), Just(top / 2), Just(top / 3), Just(0x0123_4567 & top), any::<u64>()];
    (around, -3i64..=3).prop_map(move |(place, step)| place.wrapping_add_signed(step) & top)
}

fn sparse_removals<const BITS: u8>() -> impl Strategy<Value = Vec<Removal>> {
    let low = last::<BITS>(0, 0) / 2;
    let removal = prop_oneof![
        6 => sparse_path::<BITS>().prop_map(Removal::Puncture),
        1 => sparse_path::<BITS>().prop_map(move |path| Removal::Advance(path.min(low))),
        1 => sparse_path::<BITS>().prop_map(Removal::Advance),
    ];
    prop::collection::vec(removal, 0..12)
}

/// Applies the removals one by one and compares the tree with the model at `paths` after each.
fn compare<const BITS: u8>(removals: &[Removal], paths: &[u64]) {
    let (mut tree, mut model) = (fresh::<BITS>(), Model::default());
    for removal in removals {
        if let Removal::Puncture(path) = removal {
            assert_eq!(tree.is_alive(*path), model.is_alive(*path), "before {removal:?}");
        }
        match removal {
            Removal::Puncture(path) => assert_eq!(tree.puncture(*path), model.is_alive(*path), "{removal:?}"),
            Removal::Advance(floor) => tree.advance(*floor),
        }
        model.apply(*removal);
        paths.iter().for_each(|path| assert_eq!(tree.is_alive(*path), model.is_alive(*path), "{path:x}"));
    }
    for path in paths {
        let expected = model.is_alive(*path).then(|| node_at::<BITS>(*path, BITS));
        assert_eq!(tree.derive(*path).map(|leaf| *leaf), expected, "{path:x}");
    }
    nothing_of_the_dead_is_left(&tree, &model);
    assert_eq!(tree.first_alive().is_none(), tree.cover_count() == 0);
    assert_eq!(tree.last_dead(), model.punctured.last().copied().max(model.floor.checked_sub(1)));
}

/// Neither a stored subtree holds a dead path, nor is a stored node one from which a dead leaf can be reached.
fn nothing_of_the_dead_is_left<const BITS: u8>(tree: &Tree<BITS>, model: &Model) {
    for subtree in &tree.cover {
        let end = last::<BITS>(subtree.start, subtree.depth);
        assert!(subtree.start >= model.floor, "a subtree begins below the floor");
        assert!(model.punctured.range(subtree.start..=end).next().is_none(), "a subtree holds a punctured path");
        assert_eq!(**subtree.node, node_at::<BITS>(subtree.start, subtree.depth));
    }
    let below_floor = model.floor.checked_sub(1).map(|path| path & last::<BITS>(0, 0));
    for dead in model.punctured.iter().copied().chain(below_floor) {
        for depth in 0..=BITS {
            let ancestor = node_at::<BITS>(dead, depth);
            assert!(tree.cover.iter().all(|subtree| **subtree.node != ancestor), "an ancestor of {dead:x} is stored");
        }
    }
}

#[test]
fn a_small_tree_does_what_the_model_does_for_every_path_after_any_removals() {
    check(60, small_removals::<8>(), |removals| compare::<8>(&removals, &Vec::from_iter(0..1 << 8)));
    check(12, small_removals::<10>(), |removals| compare::<10>(&removals, &Vec::from_iter(0..1 << 10)));
}

#[test]
fn a_full_size_tree_does_what_the_model_does_around_every_removed_path() {
    fn neighbours<const BITS: u8>(removals: &[Removal]) -> Vec<u64> {
        let top = last::<BITS>(0, 0);
        let path = |removal: &Removal| match removal {
            Removal::Advance(path) | Removal::Puncture(path) => *path,
        };
        let around = removals.iter().map(path).flat_map(|p| [p.saturating_sub(1), p, p.saturating_add(1).min(top)]);
        around.chain([0, top]).collect()
    }
    check(60, sparse_removals::<64>(), |removals| compare::<64>(&removals, &neighbours::<64>(&removals)));
    check(60, sparse_removals::<32>(), |removals| compare::<32>(&removals, &neighbours::<32>(&removals)));
}

#[test]
fn the_same_removals_in_any_order_and_number_leave_the_same_bytes() {
    fn orders<const BITS: u8>(
        removals: impl Strategy<Value = Vec<Removal>>,
    ) -> impl Strategy<Value = (Vec<Removal>, Vec<Removal>)> {
        // The second order repeats some of them.
        removals.prop_flat_map(|first| {
            let twice: Vec<_> = first.iter().chain(first.iter().step_by(3)).copied().collect();
            (Just(first), Just(twice).prop_shuffle())
        })
    }
    let same = |first: Vec<u8>, second: Vec<u8>| assert!(first == second, "the order shows in the bytes");
    check(60, orders::<8>(small_removals::<8>()), |(a, b)| same(bytes_of(&after::<8>(&a)), bytes_of(&after::<8>(&b))));
    check(60, orders::<64>(sparse_removals::<64>()), |(a, b)| {
        same(bytes_of(&after::<64>(&a)), bytes_of(&after::<64>(&b)));
    });
}

#[test]
fn a_dead_epoch_punctured_leaf_by_leaf_leaves_the_bytes_of_one_advance() {
    for floor in [0, 1, 37, 128, 200, 255, 256] {
        let punctures: Vec<_> = (0..floor).rev().map(Removal::Puncture).collect();

        assert_eq!(bytes_of(&after::<8>(&punctures)), bytes_of(&after::<8>(&[Removal::Advance(floor)])), "{floor}");
    }
}

#[test]
fn a_written_tree_reads_back_to_the_same_tree_and_leaves_what_follows_unread() {
    check(100, sparse_removals::<64>(), |removals| {
        let bytes = bytes_of(&after::<64>(&removals));
        let mut followed = bytes.clone();
        followed.extend_from_slice(b"rest");
        let mut input = &followed[..];

        let read = Tree::<64>::read(&mut input).expect("a written tree");

        assert_eq!((bytes_of(&read), input), (bytes, &b"rest"[..]));
    });
}

#[test]
fn a_written_tree_cut_off_anywhere_is_refused() {
    let bytes = bytes_of(&after::<64>(&[Removal::Puncture(77), Removal::Advance(12)]));

    for len in 0..bytes.len() {
        assert!(Tree::<64>::read(&mut &bytes[..len]).is_err(), "{len} of {} bytes were accepted", bytes.len());
    }
}

/// Reads what may be no tree. What is accepted must be the only form of its live set, and bear removals.
fn accepts_only_canonical<const BITS: u8>(bytes: &[u8]) {
    let mut input = bytes;
    let Ok(mut tree) = Tree::<BITS>::read(&mut input) else { return };
    assert_eq!(bytes_of(&tree), bytes[..bytes.len() - input.len()]);
    for pair in tree.cover.windows(2) {
        assert!(last::<BITS>(pair[0].start, pair[0].depth) < pair[1].start);
        assert!(!are_siblings::<BITS>(&pair[0], pair[1].start, pair[1].depth));
    }
    let first = tree.first_alive().unwrap_or(0);
    for path in [first, u64::MAX] {
        let alive = tree.is_alive(path);
        assert_eq!(tree.derive(path).is_some(), alive);
        assert_eq!(tree.puncture(path), alive);
        assert!(!tree.is_alive(path));
    }
    tree.advance(u64::MAX);
    assert!(Tree::<BITS>::read(&mut &bytes_of(&tree)[..]).is_ok());
}

#[test]
fn arbitrary_bytes_never_panic_the_parser_and_only_canonical_ones_are_accepted() {
    check(500, prop::collection::vec(any::<u8>(), 0..300), |bytes| accepts_only_canonical::<64>(&bytes));

    // Subtrees that begin where one can, in any order, so that many covers are nearly or wholly sound.
    fn nearly_sound<const BITS: u8>() -> impl Strategy<Value = Vec<u8>> {
        let subtree = (0..=BITS, sparse_path::<BITS>(), 0u8..20).prop_map(|(depth, path, defect)| {
            let start = if defect == 0 { path } else { path & !span::<BITS>(depth) };
            (start, if defect == 1 { depth.wrapping_add(BITS) } else { depth })
        });
        (prop::collection::vec(subtree, 0..4), any::<bool>(), 0u32..30).prop_map(|(mut subtrees, sorted, extra)| {
            if sorted {
                subtrees.sort();
            }
            let count = subtrees.len() as u32 + extra.saturating_sub(28);
            let mut bytes = count.to_be_bytes().to_vec();
            for (start, depth) in subtrees {
                bytes.extend_from_slice(&start.to_be_bytes());
                bytes.push(depth);
                bytes.extend_from_slice(&[depth; KEY_LEN]);
            }
            bytes
        })
    }
    check(1500, nearly_sound::<64>(), |bytes| accepts_only_canonical::<64>(&bytes));
    check(500, nearly_sound::<32>(), |bytes| accepts_only_canonical::<32>(&bytes));
    check(1500, nearly_sound::<3>(), |bytes| accepts_only_canonical::<3>(&bytes));
}

#[test]
fn one_edited_byte_of_a_written_tree_is_refused_or_reads_as_another_canonical_tree() {
    let bytes = bytes_of(&after::<64>(&[Removal::Advance(u64::MAX - (5 << 58))]));
    assert!((3..8).contains(&(bytes.len() / SUBTREE_LEN)));

    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut edited = bytes.clone();
            edited[position] ^= 1 << bit;
            accepts_only_canonical::<64>(&edited);
        }
    }
}

#[test]
fn a_puncture_costs_as_many_subtrees_as_there_are_bits_and_kills_no_neighbour() {
    for path in [0, 1, u64::MAX - 1, u64::MAX, 1 << 63, (1 << 63) - 1] {
        let mut tree = fresh::<64>();

        assert!(tree.puncture(path));

        assert!(!tree.puncture(path), "a second puncture of {path:x} found it alive");
        assert_eq!(tree.cover_count(), 64);
        assert!(tree.derive(path).is_none());
        for neighbour in [path ^ 1, path ^ (1 << 63), path ^ 2] {
            assert_eq!(*tree.derive(neighbour).expect("a neighbour"), node_at::<64>(neighbour, 64));
        }
    }
}

#[test]
fn an_advance_to_an_end_of_the_tree_leaves_all_or_one_or_none() {
    let count_after = |floor| after::<64>(&[Removal::Advance(floor)]).cover_count();
    assert_eq!((count_after(0), count_after(1), count_after(1 << 63)), (1, 64, 1));

    let tree = after::<64>(&[Removal::Advance(u64::MAX)]);
    assert_eq!((tree.cover_count(), tree.first_alive()), (1, Some(u64::MAX)));
    assert_eq!(*tree.derive(u64::MAX).expect("the last path"), node_at::<64>(u64::MAX, 64));

    let none = after::<64>(&[Removal::Advance(u64::MAX), Removal::Puncture(u64::MAX)]);
    assert_eq!((none.cover_count(), none.first_alive(), bytes_of(&none)), (0, None, vec![0; 4]));
}

#[test]
fn a_path_of_more_bits_than_the_tree_is_dead() {
    let mut tree = fresh::<32>();

    for path in [1 << 32, 1 << 63, u64::MAX] {
        assert!(!tree.is_alive(path) && tree.derive(path).is_none() && !tree.puncture(path));
    }
    tree.advance(u64::MAX);
    assert_eq!(tree.cover_count(), 0);
}

#[test]
fn a_new_tree_wipes_the_callers_copy_of_its_root() {
    let mut root = ROOT;

    let tree = Tree::<8>::new(&mut root);

    assert_eq!(root, [0; KEY_LEN]);
    assert_eq!(*tree.derive(5).expect("all paths are alive"), node_at::<8>(5, 8));
}
