//! Credentials from a file that is mounted, such as a Secret of Kubernetes: read again while the server runs, so that a new
//! key needs no restart.
//!
//! # Secrecy
//! No error repeats a line of the file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::aws::AwsCredential;
use object_store::{CredentialProvider, Error};

/// A changed file is in use after this.
const READ_EVERY: Duration = Duration::from_secs(60);

/// One profile of a file in the form of `~/.aws/credentials`.
pub struct ProfileFile {
    path: PathBuf,
    profile: String,
    read: Mutex<Option<(Instant, Arc<AwsCredential>)>>,
}

/// What a profile says besides the key.
#[derive(Default)]
pub struct ProfileEndpoint {
    pub endpoint: Option<String>,
    pub region: Option<String>,
}

impl ProfileFile {
    pub fn new(path: &Path, profile: &str) -> ProfileFile {
        ProfileFile { path: path.to_owned(), profile: profile.to_owned(), read: Mutex::default() }
    }

    /// Reads the file once, so that what is wrong with it is said at the start.
    pub fn endpoint(&self) -> Result<ProfileEndpoint, String> {
        let text = self.text()?;
        let lines = self.lines(&text)?;
        credential(&lines).ok_or_else(|| self.lacks_keys())?;
        let value = |wanted: &str| lines.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        Ok(ProfileEndpoint { endpoint: value("endpoint_url"), region: value("region") })
    }

    fn load(&self) -> Result<Arc<AwsCredential>, String> {
        let text = self.text()?;
        credential(&self.lines(&text)?).map(Arc::new).ok_or_else(|| self.lacks_keys())
    }

    fn text(&self) -> Result<zeroize::Zeroizing<String>, String> {
        let text = std::fs::read_to_string(&self.path);
        text.map(Into::into)
            .map_err(|error| format!("the credentials file {} cannot be read: {error}", self.path.display()))
    }

    fn lines<'a>(&self, text: &'a str) -> Result<Vec<(&'a str, &'a str)>, String> {
        let heads = [format!("[{}]", self.profile), format!("[profile {}]", self.profile)];
        let mut lines = text.lines().map(str::trim).skip_while(|line| !heads.iter().any(|head| head == line));
        if lines.next().is_none() {
            return Err(format!("the credentials file {} has no profile [{}]", self.path.display(), self.profile));
        }
        let section = lines.take_while(|line| !line.starts_with('['));
        let pairs = section.filter(|line| !line.starts_with(['#', ';'])).filter_map(|line| line.split_once('='));
        Ok(pairs.map(|(name, value)| (name.trim(), value.trim())).collect())
    }

    fn lacks_keys(&self) -> String {
        format!(
            "the profile [{}] of {} needs aws_access_key_id and aws_secret_access_key",
            self.profile,
            self.path.display()
        )
    }
}

fn credential(lines: &[(&str, &str)]) -> Option<AwsCredential> {
    let value = |wanted: &str| lines.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
    Some(AwsCredential {
        key_id: value("aws_access_key_id")?,
        secret_key: value("aws_secret_access_key")?,
        token: value("aws_session_token"),
    })
}

#[async_trait]
impl CredentialProvider for ProfileFile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut read = self.read.lock().expect("no holder of this lock panics");
        if let Some((at, credential)) = &*read
            && at.elapsed() < READ_EVERY
        {
            return Ok(credential.clone());
        }
        match self.load() {
            Ok(credential) => {
                *read = Some((Instant::now(), credential.clone()));
                Ok(credential)
            }
            // A mount that is being exchanged: the key in memory may still be good.
            Err(reason) => match &*read {
                Some((_, credential)) => {
                    tracing::warn!(reason, "the key in memory goes on");
                    Ok(credential.clone())
                }
                None => Err(Error::Generic { store: "S3", source: reason.into() }),
            },
        }
    }
}

impl std::fmt::Debug for ProfileFile {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "ProfileFile({}, REDACTED)", self.path.display())
    }
}
