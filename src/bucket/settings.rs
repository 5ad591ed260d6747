//! How S3 is spoken to: timeouts, retries, parts, and who may be spoken to without TLS.

use std::path::PathBuf;
use std::time::Duration;

use super::Opening;

/// The settings `s3.*`, for the object store and for key stores alike. What `AWS_*` variables say is not in here.
#[derive(Clone, Debug)]
pub struct S3Settings {
    pub connect_timeout: Duration,
    /// From the first byte of a request to the last one of its answer.
    pub request_timeout: Duration,
    pub retries_max: usize,
    /// Before the first retry; it doubles, with jitter.
    pub retry_pause: Duration,
    /// No retry begins later than this after the first try.
    pub retry_timeout: Duration,
    /// Longer objects go in parts.
    pub multipart_above: u64,
    pub part_len: u64,
    /// Uploads at once, each with one part in memory.
    pub uploads_max: usize,
    pub allow_http: bool,
    /// `None`: path style with an endpoint of one's own, else virtual-host style.
    pub virtual_host: Option<bool>,
    /// In the form of `~/.aws/credentials`, read again as it changes.
    pub credentials_file: Option<PathBuf>,
}

/// S3 takes at most this many parts for an object.
pub const PARTS_MAX: u64 = 10_000;
/// S3 takes no part below this, but the last.
pub const PART_LEN_MIN: u64 = 5 << 20;
/// S3 takes no larger request.
pub const REQUEST_LEN_MAX: u64 = 5 << 30;

impl Default for S3Settings {
    fn default() -> S3Settings {
        S3Settings {
            connect_timeout: Duration::from_secs(5),
            // Limit: a part of 16 MiB at 4.5 Mbit/s.
            request_timeout: Duration::from_secs(30),
            retries_max: 3,
            retry_pause: Duration::from_millis(100),
            // Limit: what the store does not take is durable in the spool, and is sent again from there.
            retry_timeout: Duration::from_secs(5),
            // Limit: a call of three minutes in G.711 is 1.4 MB; one request is cheaper than three.
            multipart_above: 16 << 20,
            part_len: 16 << 20,
            // Limit: 256 MiB of memory.
            uploads_max: 16,
            allow_http: false,
            virtual_host: None,
            credentials_file: None,
        }
    }
}

impl S3Settings {
    /// Whether these limits fit S3's own, for objects up to `object_len_max`.
    pub fn check(&self, object_len_max: u64) -> Opening<()> {
        if !(PART_LEN_MIN..=REQUEST_LEN_MAX).contains(&self.part_len) {
            return Err("s3.part_len is 5MiB to 5GiB: S3 takes no other parts".into());
        }
        if self.multipart_above > REQUEST_LEN_MAX {
            return Err("s3.multipart_above is 5GiB at most: S3 takes no larger request".into());
        }
        if object_len_max.div_ceil(self.part_len) >= PARTS_MAX {
            return Err(format!(
                "s3.part_len is too small for upload.bytes_max: S3 takes {PARTS_MAX} parts, so it must be more than {} bytes",
                object_len_max / PARTS_MAX
            ));
        }
        if self.uploads_max == 0 {
            return Err("s3.uploads_max is 1 or more".into());
        }
        Ok(())
    }
}
