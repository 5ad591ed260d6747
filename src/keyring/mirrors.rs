//! Several key stores that hold the same files: one is enough to open, all must be destroyed.

use std::collections::BTreeSet;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{KeyStore, KeyStoreError, KeyringError};

/// The mirrors of one kind of file: `ring.<g>` or `generation.<g>`.
#[derive(Clone)]
pub struct Mirrors {
    kind: &'static str,
    stores: Vec<Arc<dyn KeyStore>>,
}

/// One mirror, for `status`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct MirrorState {
    pub kind: &'static str,
    pub place: String,
    pub generations: Vec<u64>,
    /// Why it does not answer.
    pub error: Option<String>,
}

impl Mirrors {
    pub fn rings(stores: Vec<Arc<dyn KeyStore>>) -> Mirrors {
        Mirrors { kind: "ring", stores }
    }

    pub fn generations(stores: Vec<Arc<dyn KeyStore>>) -> Mirrors {
        Mirrors { kind: "generation", stores }
    }

    pub fn is_empty(&self) -> bool {
        self.stores.is_empty()
    }

    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.stores.iter().filter_map(|store| store.warning())
    }

    pub(super) fn places(&self) -> Vec<String> {
        self.stores.iter().map(|store| store.describe()).collect()
    }

    pub async fn states(&self) -> Vec<MirrorState> {
        let mut states = Vec::new();
        for store in &self.stores {
            let (generations, error) = match store.names().await {
                Ok(names) => (names.iter().filter_map(|name| self.generation_of(name)).collect(), None),
                Err(error) => (BTreeSet::new(), Some(format!("{error}: {}", error.source))),
            };
            let generations = generations.into_iter().collect();
            states.push(MirrorState { kind: self.kind, place: store.describe(), generations, error });
        }
        states
    }

    /// Every generation that any mirror names. An error only when no mirror answers.
    pub(super) async fn list_any(&self) -> Result<BTreeSet<u64>, KeyringError> {
        let mut found = BTreeSet::new();
        let mut failure = None;
        let mut answered = false;
        for store in &self.stores {
            match store.names().await {
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
        for store in &self.stores {
            match store.read(&self.name(generation)).await {
                Ok(Some(bytes)) if !contents.contains(&bytes) => contents.push(bytes),
                Ok(_) => {}
                Err(error) => {
                    let place = store.describe();
                    tracing::warn!(key_store = place, generation, error = %error.source, "a key store mirror does not answer");
                }
            }
        }
        contents
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
            store.create(&name, bytes).await?;
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
