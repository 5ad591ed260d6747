//! Several key stores that hold the same files: one is enough to open, all must be destroyed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use zeroize::Zeroizing;

use super::{KeyStore, KeyStoreError, KeyringError};

/// Once a mirror has answered, the others are waited for no longer than this: one that hangs must not keep a server from
/// following the ring.
const OTHERS_PATIENCE: Duration = Duration::from_secs(3);

/// A file that another run is writing is waited for so long.
const WRITING_TIME_MAX: Duration = Duration::from_secs(10);
const WRITING_LOOK_EVERY: Duration = Duration::from_millis(50);

/// The mirrors of one kind of file: `ring.<g>` or `generation.<g>`.
#[derive(Clone)]
pub struct Mirrors {
    kind: &'static str,
    stores: Vec<Arc<dyn KeyStore>>,
    /// Which of them did not answer last; said when it changes.
    silent: Arc<[AtomicBool]>,
}

/// One mirror, for `status`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct MirrorState {
    pub kind: &'static str,
    pub place: String,
    pub reachable: bool,
    pub generations: Vec<u64>,
    /// Generations that it is behind the present one.
    pub lag: Option<u64>,
    /// Why it does not answer.
    pub error: Option<String>,
}

impl Mirrors {
    pub fn rings(stores: Vec<Arc<dyn KeyStore>>) -> Mirrors {
        Mirrors::of("ring", stores)
    }

    pub fn generations(stores: Vec<Arc<dyn KeyStore>>) -> Mirrors {
        Mirrors::of("generation", stores)
    }

    fn of(kind: &'static str, stores: Vec<Arc<dyn KeyStore>>) -> Mirrors {
        let silent = stores.iter().map(|_| AtomicBool::new(false)).collect();
        Mirrors { kind, stores, silent }
    }

    pub fn is_empty(&self) -> bool {
        self.stores.is_empty()
    }

    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.stores.iter().filter_map(|store| store.warning())
    }

    /// Says so where a place holds both kinds: whoever reaches it then has all but the master key, and one backup of it undoes
    /// every destruction.
    pub(super) fn shared_with<'a>(&'a self, others: &'a Mirrors) -> impl Iterator<Item = String> + 'a {
        let pairs = self
            .places()
            .into_iter()
            .flat_map(|ours| others.places().into_iter().map(move |other| (ours.clone(), other)));
        pairs.filter(|(ours, other)| are_one_place(ours, other)).map(|(ours, other)| {
            format!(
                "key_store {ours} and generation_store {other} are in one place: whoever reads or copies it has both halves of the \
                 ring's key; put the generation store on another disk, or in another bucket"
            )
        })
    }

    pub(super) fn places(&self) -> Vec<String> {
        self.stores.iter().map(|store| store.describe()).collect()
    }

    pub(super) async fn states(&self, present: u64) -> Vec<MirrorState> {
        let asked = self.stores.iter().map(|store| async move {
            let (generations, error) = match store.names().await {
                Ok(names) => (names.iter().filter_map(|name| self.generation_of(name)).collect(), None),
                Err(error) => (BTreeSet::new(), Some(format!("{error}: {}", error.source))),
            };
            let newest = generations.last().copied().unwrap_or(0);
            MirrorState {
                kind: self.kind,
                place: store.describe(),
                reachable: error.is_none(),
                lag: error.is_none().then(|| present.saturating_sub(newest)),
                generations: generations.into_iter().collect(),
                error,
            }
        });
        futures::future::join_all(asked).await
    }

    pub(super) async fn vet(&self) -> Result<(), KeyringError> {
        for store in &self.stores {
            store.vet().await?;
        }
        Ok(())
    }

    pub(super) async fn vet_for_reading(&self) -> Result<(), KeyringError> {
        for store in &self.stores {
            store.vet_for_reading().await?;
        }
        Ok(())
    }

    /// Every generation that any mirror names. An error only when no mirror answers.
    pub(super) async fn list_any(&self) -> Result<BTreeSet<u64>, KeyringError> {
        let mut found = BTreeSet::new();
        let mut failure = None;
        let mut answered = false;
        for listed in self.ask_any(|store| async move { store.names().await }).await {
            match listed {
                Ok(names) => {
                    answered = true;
                    found.extend(names.iter().filter_map(|name| self.generation_of(name)));
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !answered => Err(error.into()),
            _ => Ok(found),
        }
    }

    /// Every generation that any mirror names; an error when one does not answer, for whoever is about to destroy.
    pub(super) async fn list_all(&self) -> Result<BTreeSet<u64>, KeyStoreError> {
        let mut found = BTreeSet::new();
        for store in &self.stores {
            found.extend(store.names().await?.iter().filter_map(|name| self.generation_of(name)));
        }
        Ok(found)
    }

    /// The different contents that the mirrors hold for a generation; mirrors that do not answer are passed over.
    pub(super) async fn read_any(&self, generation: u64) -> Vec<Zeroizing<Vec<u8>>> {
        let mut contents: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        let name = &self.name(generation);
        for read in self.ask_any(|store| async move { store.read(name).await }).await {
            if let Ok(Some(bytes)) = read
                && !contents.contains(&bytes)
            {
                contents.push(bytes);
            }
        }
        contents
    }

    /// Asks all mirrors at once. What they answered, without those that hang while another has answered.
    async fn ask_any<T, A: Future<Output = Result<T, KeyStoreError>>>(
        &self,
        ask: impl Fn(Arc<dyn KeyStore>) -> A,
    ) -> Vec<Result<T, KeyStoreError>> {
        let asked = self.stores.iter().enumerate().map(|(index, store)| {
            let answer = ask(store.clone());
            async move { (index, answer.await) }
        });
        let mut asked = asked.collect::<FuturesUnordered<_>>();
        let mut answers = Vec::new();
        let mut waiting: BTreeSet<usize> = (0..self.stores.len()).collect();
        let mut has_answered = false;
        loop {
            let next = match has_answered {
                true => tokio::time::timeout(OTHERS_PATIENCE, asked.next()).await.unwrap_or(None),
                false => asked.next().await,
            };
            let Some((index, answer)) = next else { break };
            waiting.remove(&index);
            has_answered |= answer.is_ok();
            self.learn(index, answer.as_ref().err().map(|error| error.source.to_string()));
            answers.push(answer);
        }
        waiting.into_iter().for_each(|index| self.learn(index, Some("it hangs".into())));
        answers
    }

    /// Losing a mirror is survived, and said once.
    fn learn(&self, index: usize, failure: Option<String>) {
        let (was_silent, place) = (self.silent[index].swap(failure.is_some(), Relaxed), self.stores[index].describe());
        match failure {
            Some(error) if !was_silent => {
                tracing::error!(
                    key_store = place,
                    error,
                    "a key store mirror does not answer; the others go on without it"
                );
            }
            None if was_silent => tracing::info!(key_store = place, "a key store mirror answers again"),
            _ => {}
        }
    }

    /// The compare-and-swap between runs that know nothing of each other: what the first mirror holds for the generation,
    /// which is `bytes` if nothing was there. Nobody takes back what was agreed on.
    pub(super) async fn agree(&self, generation: u64, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let Some(store) = self.stores.first() else { return Ok(Zeroizing::new(bytes.to_vec())) };
        let name = self.name(generation);
        let created = match store.create(&name, bytes).await {
            Err(error) if error.source.kind() != std::io::ErrorKind::AlreadyExists => return Err(error.into()),
            created => created,
        };
        let deadline = Instant::now() + WRITING_TIME_MAX;
        loop {
            match (store.read(&name).await?, &created) {
                (Some(agreed), Err(_)) => return Ok(agreed),
                (Some(agreed), Ok(())) if *agreed == *bytes => return Ok(agreed),
                (_, Ok(())) => return Err(KeyringError::NotReadBack { generation, place: store.describe() }),
                // Another run is writing it.
                (None, Err(_)) if Instant::now() < deadline => tokio::time::sleep(WRITING_LOOK_EVERY).await,
                (None, Err(_)) => return Err(KeyringError::Overtaken(generation)),
            }
        }
    }

    /// Makes every mirror hold exactly these bytes for the generation, and reads each back.
    pub(super) async fn write_all(&self, generation: u64, bytes: &[u8]) -> Result<(), KeyringError> {
        let name = self.name(generation);
        for store in &self.stores {
            match store.read(&name).await? {
                Some(present) if *present == *bytes => continue,
                // What a run that died left half-written.
                Some(_) => store.destroy(&name).await?,
                None => {}
            }
            if let Err(error) = store.create(&name, bytes).await
                && error.source.kind() != std::io::ErrorKind::AlreadyExists
            {
                return Err(error.into());
            }
            if store.read(&name).await?.is_none_or(|read_back| *read_back != *bytes) {
                return Err(KeyringError::NotReadBack { generation, place: store.describe() });
            }
        }
        Ok(())
    }

    /// Refuses a mirror on which there is nothing at all: a disk that is not mounted looks like that, and what lies on it
    /// would outlive its destruction.
    pub(super) async fn refuse_empty(&self) -> Result<(), KeyringError> {
        for store in &self.stores {
            if !store.names().await?.iter().any(|name| self.generation_of(name).is_some()) {
                return Err(KeyringError::EmptyMirror(store.describe()));
            }
        }
        Ok(())
    }

    pub(super) async fn destroy_all(&self, generation: u64) -> Result<(), KeyStoreError> {
        let name = self.name(generation);
        for store in &self.stores {
            store.destroy(&name).await?;
        }
        Ok(())
    }

    fn name(&self, generation: u64) -> String {
        format!("{}.{generation}", self.kind)
    }

    /// The generation that a file's name tells; `None` for another's file, and for a number not written plainly.
    fn generation_of(&self, name: &str) -> Option<u64> {
        let number = name.strip_prefix(self.kind)?.strip_prefix('.')?;
        number.parse().ok().filter(|generation: &u64| generation.to_string() == number)
    }
}

/// Whether one lies in the other, or both in one bucket.
fn are_one_place(ours: &str, other: &str) -> bool {
    match (ours.split_once("://"), other.split_once("://")) {
        (Some(("file", ours)), Some(("file", other))) => {
            let whole =
                |dir: &str| Path::new(dir).canonicalize().or_else(|_| std::path::absolute(dir)).unwrap_or(dir.into());
            let (ours, other) = (whole(ours), whole(other));
            ours.starts_with(&other) || other.starts_with(&ours)
        }
        (Some(("s3", ours)), Some(("s3", other))) => ours.split('/').next() == other.split('/').next(),
        _ => false,
    }
}
