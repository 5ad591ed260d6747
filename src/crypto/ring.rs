//! The ring: everything whose destruction is an expiry, in less than a kilobyte plus punctures.
//!
//! ```text
//! 0 4 "CVK1" | 4 1 version | 5 1 level | 6 2 zero | 8 8 generation | 16 8 created | 24 24 nonce | 48.. XChaCha20-Poly1305, aad = 0..24
//! plain: ring id16 || floor epoch u32 || n trees u16 || {tree id u16, created u64, cover} || tenant cover
//! ```
//! Times are seconds since 1970. Tenant paths stand in `start` as the tenant's number, right-aligned.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::CryptoError;
use super::keys::{GenerationSecret, KEY_LEN, Leaf, MasterKey, TenantKey};
use super::random::random;
use super::tree::Tree;
use super::wrap::{open, seal};
use crate::model::epoch::TAG_BITS;
use crate::model::{Epoch, TenantNumber, TimePath, TreeId};

const MAGIC: &[u8; 4] = b"CVK1";
const VERSION: u8 = 1;
const PREAMBLE_LEN: usize = 24;
const SEALED_AT: usize = 48;
const TAG_LEN: usize = 16;

/// Where the secrets are that open a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// The master key alone: destruction rests on the key store.
    MasterOnly = 1,
    /// And a generation secret in a second place.
    GenerationFile = 2,
    /// And a generation secret in a KMS or HSM that really destroys.
    GenerationKms = 3,
}

impl Level {
    pub fn from_number(number: u8) -> Option<Level> {
        [Level::MasterOnly, Level::GenerationFile, Level::GenerationKms].into_iter().find(|l| *l as u8 == number)
    }

    /// Whether a ring of this level opens with a generation secret beside the master key.
    pub fn has_secret(self) -> bool {
        self != Level::MasterOnly
    }
}

/// The clear part of a ring file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingHead {
    pub level: Level,
    pub generation: u64,
    /// Seconds since 1970.
    pub created_at_s: u64,
}

/// An opened ring.
pub struct Ring {
    id: [u8; 16],
    floor: Epoch,
    trees: Vec<TimeTree>,
    tenants: Tree<32>,
}

struct TimeTree {
    id: TreeId,
    created_at_s: u64,
    tree: Tree<64>,
}

/// The tree that new wraps are made in.
pub const FIRST_TREE: TreeId = TreeId(1);

impl Ring {
    /// A new ring with one time tree, everything below `floor` already dead.
    pub fn genesis(floor: Epoch, created_at_s: u64) -> Ring {
        let tree = TimeTree { id: FIRST_TREE, created_at_s, tree: Tree::new(&mut random()) };
        let mut ring = Ring { id: random(), floor: Epoch::FIRST, trees: vec![tree], tenants: Tree::new(&mut random()) };
        ring.advance(floor);
        ring
    }

    pub fn id(&self) -> &[u8; 16] {
        &self.id
    }

    pub fn floor(&self) -> Epoch {
        self.floor
    }

    /// The tree for new wraps: the newest.
    pub fn newest_tree(&self) -> TreeId {
        self.trees.last().map_or(FIRST_TREE, |tree| tree.id)
    }

    pub fn leaf(&self, path: &TimePath) -> Result<Leaf, CryptoError> {
        let mut leaf = self.tree(path.tree)?.derive(path.bits()).ok_or(CryptoError::Punctured)?;
        Ok(Leaf::take(&mut leaf))
    }

    pub fn tenant_key(&self, tenant: TenantNumber) -> Result<TenantKey, CryptoError> {
        let mut key = self.tenants.derive(u64::from(tenant.0)).ok_or(CryptoError::Punctured)?;
        Ok(TenantKey::take(&mut key))
    }

    pub fn is_alive(&self, path: &TimePath) -> bool {
        self.tree(path.tree).is_ok_and(|tree| tree.is_alive(path.bits()))
    }

    pub fn is_tenant_alive(&self, tenant: TenantNumber) -> bool {
        self.tenants.is_alive(u64::from(tenant.0))
    }

    /// The highest number whose key is destroyed.
    pub fn last_dead_tenant(&self) -> Option<TenantNumber> {
        let last = self.tenants.last_dead()?;
        Some(TenantNumber(u32::try_from(last).expect("a path of 32 bits")))
    }

    /// Destroys every path below `floor` in every tree. A floor below the present one changes nothing.
    pub fn advance(&mut self, floor: Epoch) {
        self.floor = self.floor.max(floor);
        for tree in &mut self.trees {
            tree.tree.advance(u64::from(self.floor.number()) << TAG_BITS);
        }
    }

    /// Destroys one path. `false`: it was dead before.
    pub fn puncture(&mut self, path: &TimePath) -> bool {
        let tree = self.trees.iter_mut().find(|tree| tree.id == path.tree);
        tree.is_some_and(|tree| tree.tree.puncture(path.bits()))
    }

    /// Destroys a tenant's key. `false`: it was dead before.
    pub fn puncture_tenant(&mut self, tenant: TenantNumber) -> bool {
        self.tenants.puncture(u64::from(tenant.0))
    }

    /// Subtrees held in all trees together.
    pub fn cover_count(&self) -> usize {
        self.trees.iter().map(|tree| tree.tree.cover_count()).sum::<usize>() + self.tenants.cover_count()
    }

    /// The bytes of `ring.<generation>`.
    ///
    /// # Panics
    /// If there is a secret at level 1, or none above it: the level would promise what the key does not keep.
    pub fn seal(&self, head: &RingHead, master: &MasterKey, secret: Option<&GenerationSecret>) -> Vec<u8> {
        self.seal_with_nonce(head, master, secret, random())
    }

    pub(super) fn seal_with_nonce(
        &self,
        head: &RingHead,
        master: &MasterKey,
        secret: Option<&GenerationSecret>,
        nonce: [u8; 24],
    ) -> Vec<u8> {
        assert_eq!(secret.is_some(), head.level.has_secret(), "a generation secret belongs to levels 2 and 3");
        let plain = self.plain();
        let mut file = Vec::with_capacity(SEALED_AT + plain.len() + TAG_LEN);
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&[VERSION, head.level as u8, 0, 0]);
        file.extend_from_slice(&head.generation.to_be_bytes());
        file.extend_from_slice(&head.created_at_s.to_be_bytes());
        file.extend_from_slice(&nonce);
        file.extend_from_slice(&plain);
        let key = master.ring_key(secret, head.level as u8, head.generation);
        let (clear, sealed) = file.split_at_mut(SEALED_AT);
        let tag = seal(key.expose(), &nonce, &clear[..PREAMBLE_LEN], sealed);
        file.extend_from_slice(&tag);
        file
    }

    /// Opens a ring file; accepts only what [`Ring::seal`] writes.
    pub fn open(
        file: &[u8],
        master: &MasterKey,
        secret: Option<&GenerationSecret>,
    ) -> Result<(RingHead, Ring), CryptoError> {
        let head = RingHead::read(file)?;
        // Secrecy: a ring that says level 2 and opens under the master key alone was not written by us.
        if secret.is_some() != head.level.has_secret() {
            return Err(CryptoError::NotAuthentic);
        }
        let key = master.ring_key(secret, head.level as u8, head.generation);
        let (sealed, tag) = file[SEALED_AT..].split_at(file.len() - SEALED_AT - TAG_LEN);
        let mut plain = Zeroizing::new(sealed.to_vec());
        open(key.expose(), &file[PREAMBLE_LEN..SEALED_AT], &file[..PREAMBLE_LEN], &mut plain, tag)?;
        Ok((head, Ring::read_plain(&plain)?))
    }

    fn tree(&self, id: TreeId) -> Result<&Tree<64>, CryptoError> {
        self.trees.iter().find(|tree| tree.id == id).map(|tree| &tree.tree).ok_or(CryptoError::UnknownTree)
    }

    fn plain(&self) -> Zeroizing<Vec<u8>> {
        // Secrecy: the exact capacity, since a vector that grows leaves copies behind.
        let trees_len: usize = self.trees.iter().map(|tree| 10 + tree.tree.written_len()).sum();
        let plain_len = 22 + trees_len + self.tenants.written_len();
        let mut plain = Zeroizing::new(Vec::with_capacity(plain_len));
        plain.extend_from_slice(&self.id);
        plain.extend_from_slice(&self.floor.number().to_be_bytes());
        plain.extend_from_slice(&(self.trees.len() as u16).to_be_bytes());
        for tree in &self.trees {
            plain.extend_from_slice(&tree.id.0.to_be_bytes());
            plain.extend_from_slice(&tree.created_at_s.to_be_bytes());
            tree.tree.write(&mut plain);
        }
        self.tenants.write(&mut plain);
        assert_eq!(plain.len(), plain_len, "the ring's length was computed");
        plain
    }

    pub(super) fn read_plain(plain: &[u8]) -> Result<Ring, CryptoError> {
        let malformed = CryptoError::Malformed;
        let mut input = plain;
        let cut = malformed("the ring is cut off");
        let id = input.split_off(..16).ok_or(cut)?.try_into().expect("16 bytes");
        let floor = u32::from_be_bytes(input.split_off(..4).ok_or(cut)?.try_into().expect("4 bytes"));
        let floor = Epoch::new(floor).ok_or(malformed("the floor is no epoch"))?;
        let count = u16::from_be_bytes(input.split_off(..2).ok_or(cut)?.try_into().expect("2 bytes"));
        let mut trees: Vec<TimeTree> = Vec::new();
        for _ in 0..count {
            let id = TreeId(u16::from_be_bytes(input.split_off(..2).ok_or(cut)?.try_into().expect("2 bytes")));
            let created_at_s = u64::from_be_bytes(input.split_off(..8).ok_or(cut)?.try_into().expect("8 bytes"));
            if trees.last().is_some_and(|before| before.id >= id) {
                return Err(malformed("trees are out of order"));
            }
            let tree = Tree::<64>::read(&mut input)?;
            if tree.first_alive().is_some_and(|first| first < u64::from(floor.number()) << TAG_BITS) {
                return Err(malformed("a path below the floor is alive"));
            }
            trees.push(TimeTree { id, created_at_s, tree });
        }
        let tenants = Tree::<32>::read(&mut input)?;
        if !input.is_empty() {
            return Err(malformed("bytes follow the ring"));
        }
        Ok(Ring { id, floor, trees, tenants })
    }
}

impl RingHead {
    pub fn read(file: &[u8]) -> Result<RingHead, CryptoError> {
        let malformed = |what| Err(CryptoError::Malformed(what));
        if file.len() < SEALED_AT + TAG_LEN {
            return malformed("the ring file is cut off");
        }
        if &file[..4] != MAGIC {
            return malformed("this is no ring file");
        }
        if file[4] != VERSION {
            return malformed("the ring file's version is not 1");
        }
        if file[6..8] != [0, 0] {
            return malformed("bytes 6 and 7 of the ring file are not zero");
        }
        let Some(level) = Level::from_number(file[5]) else { return malformed("the ring's level is not 1, 2 or 3") };
        Ok(RingHead {
            level,
            generation: u64::from_be_bytes(file[8..16].try_into().expect("8 bytes")),
            created_at_s: u64::from_be_bytes(file[16..24].try_into().expect("8 bytes")),
        })
    }
}

/// Names a ring file in receipts: SHA-256 over its bytes. The bytes themselves are destroyed at the next advance.
pub fn commitment(file: &[u8]) -> [u8; 32] {
    Sha256::digest(file).into()
}

const GENERATION_MAGIC: &[u8; 4] = b"CVG1";
pub const GENERATION_FILE_LEN: usize = 48;

/// The bytes of `generation.<g>`: `"CVG1" || 4 zero || generation u64 || secret32`.
pub fn write_generation(generation: u64, secret: &GenerationSecret) -> Zeroizing<[u8; GENERATION_FILE_LEN]> {
    let mut file = Zeroizing::new([0; GENERATION_FILE_LEN]);
    file[..4].copy_from_slice(GENERATION_MAGIC);
    file[8..16].copy_from_slice(&generation.to_be_bytes());
    file[16..].copy_from_slice(secret.expose());
    file
}

pub fn read_generation(file: &[u8]) -> Result<(u64, GenerationSecret), CryptoError> {
    let malformed = CryptoError::Malformed;
    let file: &[u8; GENERATION_FILE_LEN] =
        file.try_into().map_err(|_| malformed("a generation file is 48 bytes long"))?;
    if &file[..4] != GENERATION_MAGIC || file[4..8] != [0; 4] {
        return Err(malformed("this is no generation file"));
    }
    let mut secret = Zeroizing::new([0; KEY_LEN]);
    secret.copy_from_slice(&file[16..]);
    let generation = u64::from_be_bytes(file[8..16].try_into().expect("8 bytes"));
    Ok((generation, GenerationSecret::take(&mut secret)))
}

#[cfg(test)]
mod tests;
