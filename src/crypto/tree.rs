//! A puncturable pseudo-random function: the GGM tree (Goldreich, Goldwasser, Micali 1986), punctured as in Green and
//! Miers, "Forward Secure Asynchronous Messaging from Puncturable Encryption" (2015).
//!
//! A leaf's key is reached from the root by one HMAC a level. What is kept is not the root but the *cover*: the set of
//! the greatest subtrees that are wholly alive. Destroying a leaf replaces the subtree above it by the siblings along its
//! path; nothing that is left leads to it.
//!
//! # Invariants
//! The cover is ascending, disjoint and maximal (no two siblings): the same live set has the same bytes, in whatever order
//! it was reached. No stored node is an ancestor of a dead leaf.

use zeroize::Zeroizing;

use super::CryptoError;
use super::keys::{KEY_LEN, child, descend};

/// A subtree that is wholly alive: all paths that begin with the first `depth` bits of `start`.
struct Subtree {
    start: u64,
    depth: u8,
    node: Box<Zeroizing<[u8; KEY_LEN]>>,
}

/// A tree over paths of `BITS` bits, 1 to 64.
pub struct Tree<const BITS: u8> {
    cover: Vec<Subtree>,
}

/// Start 8, depth 1, node 32.
const SUBTREE_LEN: usize = 41;

impl<const BITS: u8> Tree<BITS> {
    /// All paths alive, under a random root.
    pub fn new(root: &mut [u8; KEY_LEN]) -> Tree<BITS> {
        let mut node = Box::new(Zeroizing::new([0; KEY_LEN]));
        node.copy_from_slice(root);
        zeroize::Zeroize::zeroize(root);
        Tree { cover: vec![Subtree { start: 0, depth: 0, node }] }
    }

    /// The leaf's 32 bytes; `None` if it was destroyed.
    pub fn derive(&self, path: u64) -> Option<Zeroizing<[u8; KEY_LEN]>> {
        let subtree = &self.cover[self.position(path)?];
        let mut node = Zeroizing::new([0; KEY_LEN]);
        node.copy_from_slice(&**subtree.node);
        for level in subtree.depth..BITS {
            descend(&mut node, bit::<BITS>(path, level));
        }
        Some(node)
    }

    pub fn is_alive(&self, path: u64) -> bool {
        self.position(path).is_some()
    }

    /// Destroys one leaf. `false`: it was dead before.
    pub fn puncture(&mut self, path: u64) -> bool {
        let Some(position) = self.position(path) else { return false };
        let Subtree { start, depth, node } = self.cover.remove(position);
        let siblings = walk::<BITS>(start, depth, node, path, |_| true, |_| false).0;
        self.cover.splice(position..position, siblings);
        true
    }

    /// Destroys every leaf below `floor`. One step, whatever the number of leaves.
    pub fn advance(&mut self, floor: u64) {
        let dead = self.cover.partition_point(|subtree| last::<BITS>(subtree.start, subtree.depth) < floor);
        self.cover.drain(..dead);
        let cut = self.cover.first().is_some_and(|first| first.start < floor);
        if cut {
            let Subtree { start, depth, node } = self.cover.remove(0);
            // Alive is what stands right of the path, and the subtree that begins exactly at the floor.
            let (siblings, rest) = walk::<BITS>(start, depth, node, floor, |bit| bit == 0, |start| start == floor);
            self.cover.splice(0..0, rest.into_iter().chain(siblings));
        }
    }

    /// Subtrees held: 1 after [`Tree::new`], at most `BITS` more for each puncture.
    pub fn cover_count(&self) -> usize {
        self.cover.len()
    }

    /// The path of the first leaf that is alive.
    pub fn first_alive(&self) -> Option<u64> {
        self.cover.first().map(|subtree| subtree.start)
    }

    /// The path of the last leaf that is dead.
    pub fn last_dead(&self) -> Option<u64> {
        let mut end = last::<BITS>(0, 0);
        for Subtree { start, depth, .. } in self.cover.iter().rev() {
            if last::<BITS>(*start, *depth) < end {
                break;
            }
            end = start.checked_sub(1)?;
        }
        Some(end)
    }

    /// `n u32 || n x (start u64, depth u8, node 32)`, ascending.
    pub fn write(&self, out: &mut Vec<u8>) {
        let count = u32::try_from(self.cover.len()).expect("a cover of 2^32 subtrees does not fit into memory");
        out.extend_from_slice(&count.to_be_bytes());
        for subtree in &self.cover {
            out.extend_from_slice(&subtree.start.to_be_bytes());
            out.push(subtree.depth);
            out.extend_from_slice(&**subtree.node);
        }
    }

    pub fn written_len(&self) -> usize {
        4 + self.cover.len() * SUBTREE_LEN
    }

    /// Reads what [`Tree::write`] wrote and nothing else: every live set has exactly one form that is accepted.
    pub fn read(input: &mut &[u8]) -> Result<Tree<BITS>, CryptoError> {
        let malformed = CryptoError::Malformed;
        let count = input.split_off(..4).ok_or(malformed("a cover's count is cut off"))?;
        let count = u32::from_be_bytes(count.try_into().expect("4 bytes")) as usize;
        if count > input.len() / SUBTREE_LEN {
            return Err(malformed("a cover is cut off"));
        }
        let mut cover: Vec<Subtree> = Vec::with_capacity(count);
        for _ in 0..count {
            let bytes = input.split_off(..SUBTREE_LEN).expect("the length was checked");
            let start = u64::from_be_bytes(bytes[..8].try_into().expect("8 bytes"));
            let depth = bytes[8];
            if depth > BITS || start & span::<BITS>(depth) != 0 || start > last::<BITS>(0, 0) {
                return Err(malformed("a subtree does not begin where a subtree of its depth can"));
            }
            if let Some(before) = cover.last() {
                if start <= last::<BITS>(before.start, before.depth) {
                    return Err(malformed("subtrees overlap or are out of order"));
                }
                if are_siblings::<BITS>(before, start, depth) {
                    return Err(malformed("two siblings stand for their parent"));
                }
            }
            let mut node = Box::new(Zeroizing::new([0; KEY_LEN]));
            node.copy_from_slice(&bytes[9..]);
            cover.push(Subtree { start, depth, node });
        }
        Ok(Tree { cover })
    }

    fn position(&self, path: u64) -> Option<usize> {
        let after = self.cover.partition_point(|subtree| subtree.start <= path);
        let position = after.checked_sub(1)?;
        let subtree = &self.cover[position];
        (path <= last::<BITS>(subtree.start, subtree.depth)).then_some(position)
    }
}

/// Goes from a subtree down towards `path`, wiping each node as it leaves it. Returns the siblings for which `keep(bit of the
/// path)` holds, ascending, and the subtree at which `stop(start)` first held.
fn walk<const BITS: u8>(
    mut start: u64,
    mut depth: u8,
    mut node: Box<Zeroizing<[u8; KEY_LEN]>>,
    path: u64,
    keep: impl Fn(u8) -> bool,
    stop: impl Fn(u64) -> bool,
) -> (Vec<Subtree>, Option<Subtree>) {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    while depth < BITS && !stop(start) {
        let taken = bit::<BITS>(path, depth);
        let half = 1 << (BITS - depth - 1);
        if keep(taken) {
            let sibling_start = if taken == 0 { start | half } else { start };
            let sibling = Subtree { start: sibling_start, depth: depth + 1, node: Box::new(child(&node, 1 - taken)) };
            if taken == 0 { right.push(sibling) } else { left.push(sibling) }
        }
        descend(&mut node, taken);
        start |= u64::from(taken) * half;
        depth += 1;
    }
    left.extend(right.into_iter().rev());
    let rest = stop(start).then_some(Subtree { start, depth, node });
    (left, rest)
}

/// Bit `level` of a path, the most significant first.
fn bit<const BITS: u8>(path: u64, level: u8) -> u8 {
    (path >> (BITS - 1 - level) & 1) as u8
}

/// The lower bits that vary inside a subtree of this depth.
fn span<const BITS: u8>(depth: u8) -> u64 {
    match BITS - depth {
        64 => u64::MAX,
        free => (1 << free) - 1,
    }
}

fn last<const BITS: u8>(start: u64, depth: u8) -> u64 {
    start | span::<BITS>(depth)
}

fn are_siblings<const BITS: u8>(before: &Subtree, start: u64, depth: u8) -> bool {
    depth > 0 && before.depth == depth && before.start | span::<BITS>(depth - 1) == start | span::<BITS>(depth - 1)
}

#[cfg(test)]
mod tests;
