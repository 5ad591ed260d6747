//! Digests that a sender gives with his bytes: `Repr-Digest` and `Content-Digest` (RFC 9530), `Content-MD5` (RFC 1864), the
//! `Upload-Checksum` of tus.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

/// What [`ExpectedDigests::add_checksum`] takes. SHA-1 is the one that every tus client knows; against faults of a wire, which
/// is all that these are for, it serves.
pub const CHECKSUM_ALGORITHMS: &str = "sha1,sha256,md5";

/// What the bytes must hash to; empty where the sender gave nothing.
#[derive(Default)]
pub struct ExpectedDigests(Vec<Expected>);

struct Expected {
    running: Running,
    digest: Vec<u8>,
}

enum Running {
    Sha(Box<Context>),
    Md5(Box<Md5>),
}

impl ExpectedDigests {
    /// Adds the members of a `Repr-Digest` or `Content-Digest`: `sha-256=:<base64>:, sha-512=:<base64>:`. Algorithms that are
    /// not known are passed over, as RFC 9530 asks; known ones must be well-formed.
    pub fn add_structured(&mut self, field: &str, value: &str) -> Result<(), String> {
        for member in value.split(',').map(str::trim).filter(|member| !member.is_empty()) {
            let malformed = || format!("'{field}' is a list such as sha-256=:<base64>:");
            let (algorithm, digest) = member.split_once('=').ok_or_else(malformed)?;
            let (sha, len) = match algorithm.trim().to_ascii_lowercase().as_str() {
                "sha-256" => (&SHA256, 32),
                "sha-512" => (&SHA512, 64),
                _ => continue,
            };
            let digest = digest.split(';').next().unwrap_or_default().trim();
            let digest = digest.strip_prefix(':').and_then(|digest| digest.strip_suffix(':')).ok_or_else(malformed)?;
            let digest = STANDARD.decode(digest).ok().filter(|digest| digest.len() == len).ok_or_else(malformed)?;
            self.0.push(Expected { running: Running::Sha(Box::new(Context::new(sha))), digest });
        }
        Ok(())
    }

    /// Adds a `Content-MD5`.
    pub fn add_md5(&mut self, value: &str) -> Result<(), String> {
        let digest = STANDARD.decode(value.trim()).ok().filter(|digest| digest.len() == 16);
        let digest = digest.ok_or("'Content-MD5' is the base64 of 16 bytes")?;
        self.0.push(Expected { running: Running::Md5(Box::default()), digest });
        Ok(())
    }

    /// Adds an `Upload-Checksum`: `<algorithm> <base64>`.
    pub fn add_checksum(&mut self, value: &str) -> Result<(), String> {
        let malformed = || format!("'Upload-Checksum' is '<algorithm> <base64>', with one of {CHECKSUM_ALGORITHMS}");
        let (algorithm, digest) = value.trim().split_once(' ').ok_or_else(malformed)?;
        let (running, len) = match algorithm {
            "sha1" => (Running::Sha(Box::new(Context::new(&SHA1_FOR_LEGACY_USE_ONLY))), 20),
            "sha256" => (Running::Sha(Box::new(Context::new(&SHA256))), 32),
            "md5" => (Running::Md5(Box::default()), 16),
            _ => return Err(malformed()),
        };
        let digest = STANDARD.decode(digest.trim()).ok().filter(|digest| digest.len() == len).ok_or_else(malformed)?;
        self.0.push(Expected { running, digest });
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn update(&mut self, bytes: &[u8]) {
        for expected in &mut self.0 {
            match &mut expected.running {
                Running::Sha(context) => context.update(bytes),
                Running::Md5(md5) => md5.update(bytes),
            }
        }
    }

    /// Whether everything that was taken in hashes to what was expected.
    pub fn hold(self) -> bool {
        self.0.into_iter().all(|expected| match expected.running {
            Running::Sha(context) => context.finish().as_ref() == expected.digest,
            Running::Md5(md5) => md5.finalize()[..] == expected.digest,
        })
    }
}
