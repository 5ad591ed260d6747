//! How one generation of the ring follows another, and how a crash in between is completed.
//!
//! ```text
//! find ─► replicate (the found one on all mirrors) ─► clear (junk above it) ─► succeed (canary; g+1 on all mirrors, read back)
//!      ─► [the catalog takes the watermark] ─► retire (destroy what is below) ─► adopt
//! ```
//!
//! # Invariants
//! One run at a time is what the catalog's lease is for. The keys do not rest on it: a run may work on a catalog that was
//! restored, or have lost its lease without knowing. So whoever creates `ring.<g+1>` on the first mirror makes the
//! generation, and everybody else is [`KeyringError::Overtaken`]; a secret that is there already is used, not replaced; what
//! was made is never taken back; and a run destroys only what is below a generation that it has read back from every mirror.
//! All runs are given the mirrors in one order.

use std::time::Duration;

use super::{Keyring, KeyringError, Loaded, Mirrors};
use crate::crypto::keys::{GenerationSecret, KEY_LEN};
use crate::crypto::random::random;
use crate::crypto::ring::{self, Level, Ring, RingHead};
use crate::model::{Epoch, Tag, TenantNumber, TimePath, Timestamp};

/// What does not open is looked at twice before it is called junk: a directory on the network may show a file late.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The highest generation that opens.
pub struct Present {
    pub generation: u64,
    pub floor: Epoch,
    /// SHA-256 of the ring file.
    pub commitment: [u8; 32],
    loaded: Loaded,
    ring_file: Vec<u8>,
    generation_file: Option<zeroize::Zeroizing<Vec<u8>>>,
}

/// The next generation: durable everywhere, not yet the only one.
pub struct Successor {
    pub generation: u64,
    pub commitment: [u8; 32],
    /// Bytes written to all mirrors together.
    pub written_len: usize,
    loaded: Loaded,
}

/// The next generation before anybody else knows of it.
struct Sealed {
    generation: u64,
    file: Vec<u8>,
    written_len: usize,
    head: RingHead,
    ring: Ring,
}

/// A single key to destroy, besides what the floor takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destroyed {
    Path(TimePath),
    Tenant(TenantNumber),
}

impl Keyring {
    /// Makes the first generation. Refused where any ring file exists, whether it opens or not; but a first one that a crash
    /// left half-written, and which therefore never held anything, is written again.
    pub async fn create_first(&self, now: Timestamp) -> Result<Present, KeyringError> {
        match self.rings.list_all().await?.last() {
            None => {}
            Some(1) if self.rings.read_any(1).await.iter().all(|file| RingHead::read(file).is_err()) => {
                self.rings.destroy_all(1).await?;
            }
            Some(found) => return Err(KeyringError::RingExists(*found)),
        }
        let ring = Ring::genesis(Epoch::floor_at(now), unix_seconds(now));
        let sealed = self.seal(ring, 1, now).await?;
        let successor = self.publish(sealed).await?;
        self.adopt(successor);
        self.find(1).await
    }

    /// Loads the highest generation that opens and is at or above the watermark; works with read-only access.
    pub async fn load(&self, watermark: u64) -> Result<(), KeyringError> {
        let present = self.find(watermark).await?;
        self.set_loaded(present.loaded);
        Ok(())
    }

    /// Follows a newer generation, and lets the ring in memory age by `now`: what has ended cannot be derived here even
    /// before a run destroys it. A clock that was ahead and came back is healed by loading again.
    pub async fn follow(&self, watermark: u64, now: Timestamp) -> Result<(), KeyringError> {
        let floor = Epoch::floor_at(now);
        let newest = self.rings.list_any().await?.last().copied().unwrap_or(0);
        let behind = self.loaded().as_ref().is_none_or(|loaded| {
            let went_back = loaded.ring.floor() > floor.max(loaded.floor_on_disk);
            loaded.head.generation != newest.max(watermark) || went_back
        });
        if behind {
            self.load(watermark).await?;
        }
        let ages = self.loaded().as_ref().is_some_and(|loaded| loaded.ring.floor() < floor);
        if ages {
            self.name_keys().clear();
            if let Some(loaded) = self.loaded.write().expect("no holder of the ring's lock panics").as_mut() {
                loaded.ring.advance(floor);
            }
        }
        Ok(())
    }

    /// The highest generation that opens and is at or above the watermark. A ring below it is a restored one: refused.
    pub async fn find(&self, watermark: u64) -> Result<Present, KeyringError> {
        let mut generations = self.rings.list_any().await?;
        loop {
            for generation in generations.range(watermark..).rev() {
                if let Some(present) = self.open(*generation).await? {
                    return Ok(present);
                }
            }
            // A run elsewhere may have destroyed what was listed, and made the next, while this looked.
            let listed_again = self.rings.list_any().await?;
            if listed_again.last() <= generations.last() {
                break;
            }
            generations = listed_again;
        }
        let found = match (generations.first(), generations.last()) {
            (Some(first), Some(last)) => format!("found generations {first} to {last}"),
            _ => "found no ring file".to_owned(),
        };
        Err(KeyringError::NoRing { watermark, found })
    }

    /// Before anything is destroyed: every mirror answers and holds the present generation. One that has fallen behind is
    /// brought up to it; one that is empty is refused, since it may be a mount point without its disk.
    pub async fn replicate(&self, present: &Present) -> Result<(), KeyringError> {
        self.generations.refuse_empty().await?;
        self.rings.refuse_empty().await?;
        // What another run has retired meanwhile is not put back.
        self.refuse_overtaken(present).await?;
        self.fill(present).await
    }

    /// Removes rings above the present one that do not open, and so were never the next generation of anything. Returns how
    /// many. Their secrets, if there are any, are used by the next run that gets so far.
    pub async fn clear(&self, present: &Present) -> Result<usize, KeyringError> {
        let mut count = 0;
        for generation in self.rings.list_all().await?.into_iter().filter(|found| *found > present.generation) {
            for pause in [Duration::ZERO, LOOK_AGAIN_AFTER] {
                tokio::time::sleep(pause).await;
                if self.open(generation).await?.is_some() {
                    return Err(KeyringError::Overtaken(generation));
                }
            }
            // One that is being written shows nothing yet.
            if !self.rings.read_any(generation).await.is_empty() {
                self.rings.destroy_all(generation).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Puts the present generation on every mirror, new and empty ones too: for `init`, which a person runs.
    pub async fn fill(&self, present: &Present) -> Result<(), KeyringError> {
        if let Some(file) = &present.generation_file {
            self.generations.write_all(present.generation, file).await?;
        }
        self.rings.write_all(present.generation, &present.ring_file).await
    }

    /// Makes the generation after `present`, with everything below `floor` and each of `destroyed` dead: tries its canary,
    /// writes it to all mirrors, and reads it back. After an error the present generation is as it was; the next may have
    /// been made all the same, and is then the one that the next run finds.
    pub async fn succeed(
        &self,
        present: &Present,
        floor: Epoch,
        destroyed: &[Destroyed],
        now: Timestamp,
    ) -> Result<Successor, KeyringError> {
        let (_, mut ring) = self.reopen(present)?;
        ring.advance(floor);
        for key in destroyed {
            match key {
                Destroyed::Path(path) => ring.puncture(path),
                Destroyed::Tenant(tenant) => ring.puncture_tenant(*tenant),
            };
        }
        let sealed = self.seal(ring, present.generation + 1, now).await?;
        self.try_canary(present, &sealed, destroyed)?;
        self.publish(sealed).await
    }

    /// The point of no return: overwrites and removes every generation below `keep` on all mirrors, the secrets first, since
    /// without its secret a ring file opens no more. Returns how many files' generations there were.
    ///
    /// `keep` has been read back from every mirror. What is above it is another run's, and is left alone.
    pub async fn retire(&self, keep: u64) -> Result<usize, KeyringError> {
        let mut count = 0;
        for mirrors in [&self.generations, &self.rings] {
            for generation in mirrors.list_all().await?.into_iter().filter(|generation| *generation < keep) {
                mirrors.destroy_all(generation).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Whether no mirror holds a generation before this one.
    pub async fn is_first(&self, generation: u64) -> Result<bool, KeyringError> {
        let first = |mirrors: std::collections::BTreeSet<u64>| mirrors.first().is_none_or(|first| *first >= generation);
        Ok(first(self.rings.list_all().await?) && first(self.generations.list_all().await?))
    }

    /// From here on, this process derives from the successor.
    pub fn adopt(&self, successor: Successor) {
        self.set_loaded(successor.loaded);
    }

    async fn open(&self, generation: u64) -> Result<Option<Present>, KeyringError> {
        let ring_files = self.rings.read_any(generation).await;
        let generation_files = self.generations.read_any(generation).await;
        for ring_file in &ring_files {
            let Ok(head) = RingHead::read(ring_file) else { continue };
            if head.generation != generation {
                continue;
            }
            let secrets = generation_files.iter().filter_map(|file| {
                let (number, secret) = ring::read_generation(file).ok()?;
                (number == generation).then_some((file, secret))
            });
            let with_secret = secrets.map(|(file, secret)| (Some(file), Some(secret)));
            let alone = (head.level == Level::MasterOnly).then_some((None, None));
            for (generation_file, secret) in alone.into_iter().chain(with_secret) {
                if let Ok((head, ring)) = Ring::open(ring_file, &self.master, secret.as_ref()) {
                    return Ok(Some(Present {
                        generation,
                        floor: ring.floor(),
                        commitment: ring::commitment(ring_file),
                        loaded: Loaded { head, floor_on_disk: ring.floor(), ring },
                        ring_file: ring_file.to_vec(),
                        generation_file: generation_file.cloned(),
                    }));
                }
            }
        }
        Ok(None)
    }

    fn reopen(&self, present: &Present) -> Result<(RingHead, Ring), KeyringError> {
        let secret = present.generation_file.as_ref().map(|file| ring::read_generation(file)).transpose();
        let secret = secret.map_err(KeyringError::Integrity)?.map(|(_, secret)| secret);
        Ring::open(&present.ring_file, &self.master, secret.as_ref()).map_err(KeyringError::Integrity)
    }

    async fn refuse_overtaken(&self, present: &Present) -> Result<(), KeyringError> {
        for generation in self.rings.list_all().await?.into_iter().filter(|found| *found > present.generation) {
            if self.open(generation).await?.is_some() {
                return Err(KeyringError::Overtaken(generation));
            }
        }
        Ok(())
    }

    /// The next ring under the secret of its generation. The secret is on every mirror before there is a ring that needs it.
    async fn seal(&self, ring: Ring, generation: u64, now: Timestamp) -> Result<Sealed, KeyringError> {
        let secret_file = match self.level {
            Level::MasterOnly => None,
            Level::GenerationFile | Level::GenerationKms => {
                let drawn = GenerationSecret::take(&mut random::<KEY_LEN>());
                let file = self.generations.agree(generation, &*ring::write_generation(generation, &drawn)).await?;
                self.generations.write_all(generation, &file).await?;
                Some(file)
            }
        };
        let secret = match secret_file.as_ref().map(|file| ring::read_generation(file)) {
            None => None,
            Some(Ok((number, secret))) if number == generation => Some(secret),
            Some(_) => return Err(self.in_the_way("generation", generation, &self.generations).await?),
        };
        let head = RingHead { level: self.level, generation, created_at_s: unix_seconds(now) };
        let file = ring.seal(&head, &self.master, secret.as_ref());
        let (head, ring) = Ring::open(&file, &self.master, secret.as_ref()).map_err(KeyringError::Integrity)?;
        let secret_len = secret_file.as_ref().map_or(0, |file| file.len());
        Ok(Sealed { generation, written_len: secret_len + file.len(), file, head, ring })
    }

    /// From here on it is the next generation, whoever dies.
    async fn publish(&self, sealed: Sealed) -> Result<Successor, KeyringError> {
        let Sealed { generation, written_len, file, head, ring } = sealed;
        let unsettled = |source| KeyringError::Unsettled { generation, source: Box::new(source) };
        let agreed = match self.rings.agree(generation, &file).await {
            Ok(agreed) => agreed,
            Err(error @ KeyringError::Overtaken(_)) => return Err(error),
            // A create that failed may have been carried out all the same.
            Err(error) => return Err(if self.rings.lacks(generation).await { error } else { unsettled(error) }),
        };
        if *agreed != *file {
            return Err(match self.open(generation).await? {
                Some(_) => KeyringError::Overtaken(generation),
                None => self.in_the_way("ring", generation, &self.rings).await?,
            });
        }
        let commitment = ring::commitment(&file);
        let written = async {
            self.rings.write_all(generation, &file).await?;
            // Invariant: what was there before is destroyed only once this has opened from the mirrors.
            if self.open(generation).await?.is_none_or(|written| written.commitment != commitment) {
                return Err(KeyringError::NotReadBack { generation, place: self.rings.places().join(", ") });
            }
            Ok(())
        };
        written.await.map_err(unsettled)?;
        let loaded = Loaded { head, floor_on_disk: ring.floor(), ring };
        Ok(Successor { generation, commitment, written_len, loaded })
    }

    /// Why what is there does not open: a run that has gone further is destroying it, or it was never of this vault.
    async fn in_the_way(&self, kind: &str, generation: u64, mirrors: &Mirrors) -> Result<KeyringError, KeyringError> {
        if self.rings.list_all().await?.range(generation + 1..).next().is_some() || mirrors.lacks(generation).await {
            return Ok(KeyringError::Overtaken(generation));
        }
        Ok(KeyringError::InTheWay { name: format!("{kind}.{generation}"), place: mirrors.places().join(", ") })
    }

    /// A live path derives as before, a dead one is refused: tried on the bytes that will be written.
    fn try_canary(&self, present: &Present, sealed: &Sealed, destroyed: &[Destroyed]) -> Result<(), KeyringError> {
        let (old, new) = (&present.loaded.ring, &sealed.ring);
        let tree = old.newest_tree();
        let drawn = Tag::from_random(u64::from_be_bytes(random()));
        let live = [new.floor().saturating_add(1), Epoch::LAST].map(|epoch| TimePath { tree, epoch, tag: drawn });
        let lives = live.iter().all(|path| match (old.leaf(path), new.leaf(path)) {
            (Ok(before), Ok(after)) => before.expose() == after.expose(),
            // A path that was drawn may be one that was destroyed.
            (before, after) => before.is_err() == after.is_err(),
        });
        let below = new.floor().number().checked_sub(1).and_then(Epoch::new);
        let floor_is_dead = below.is_none_or(|epoch| !new.is_alive(&TimePath { tree, epoch, tag: drawn }));
        let destroyed_is_dead = destroyed.iter().all(|key| is_dead_in(new, key));
        if lives && floor_is_dead && destroyed_is_dead {
            return Ok(());
        }
        Err(KeyringError::Canary(sealed.generation))
    }
}

impl Present {
    /// Whether none of these can be derived any more.
    pub fn is_without(&self, destroyed: impl IntoIterator<Item = Destroyed>) -> bool {
        destroyed.into_iter().all(|key| is_dead_in(&self.loaded.ring, &key))
    }

    /// The highest number of a tenant whose key is destroyed in it.
    pub fn last_dead_tenant(&self) -> Option<TenantNumber> {
        self.loaded.ring.last_dead_tenant()
    }
}

fn is_dead_in(ring: &Ring, key: &Destroyed) -> bool {
    match key {
        Destroyed::Path(path) => !ring.is_alive(path),
        Destroyed::Tenant(tenant) => !ring.is_tenant_alive(*tenant),
    }
}

fn unix_seconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or(0)
}
