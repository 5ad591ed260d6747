//! What object_store has no verb for: versions, object lock, and uploads that nobody finished.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Method, Request, StatusCode};
use object_store::ObjectStoreExt;
use object_store::client::HttpRequestBody;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use serde::Deserialize;

use super::fault::by_code;
use super::wire::code_in;
use super::{Bucket, BucketError, Fault, Result};
use crate::model::Timestamp;

/// A signature by query is good for this long.
const SIGNED_FOR: Duration = Duration::from_secs(60);
// Limit: pages of 1,000 uploads that one sweep goes through.
const PAGES_MAX: usize = 100;

/// A multipart upload that was begun and neither completed nor aborted.
#[derive(Clone, Debug)]
pub struct OpenUpload {
    pub begun_at: Timestamp,
    key: String,
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    #[serde(default)]
    version: Vec<Version>,
    #[serde(default)]
    delete_marker: Vec<Version>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Versioning {
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ObjectLock {
    object_lock_enabled: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Uploads {
    #[serde(default)]
    upload: Vec<Upload>,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    is_truncated: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    initiated: String,
}

impl Bucket {
    /// Whether versions of the name are kept: `None` where the store does not tell, or does not tell us.
    pub(super) async fn keeps_versions(&self, name: &str) -> Result<Option<bool>> {
        let key = self.at(name).to_string();
        let Some(answer) = self.ask(&[("versions", ""), ("prefix", &key)]).await? else { return Ok(None) };
        let versions: Versions = self.parse(&answer)?;
        Ok(Some(versions.version.iter().chain(&versions.delete_marker).any(|version| version.key == key)))
    }

    /// Whether the bucket's versioning was ever switched on, or its objects are locked.
    pub(super) async fn is_set_to_keep(&self) -> Result<Option<&'static str>> {
        if let Some(answer) = self.ask(&[("versioning", "")]).await? {
            let versioning: Versioning = self.parse(&answer)?;
            if versioning.status.is_some_and(|status| !status.is_empty()) {
                return Ok(Some("its versioning is switched on, or was and is suspended"));
            }
        }
        if let Some(answer) = self.ask(&[("object-lock", "")]).await? {
            let lock: ObjectLock = self.parse(&answer)?;
            if lock.object_lock_enabled.is_some_and(|enabled| enabled == "Enabled") {
                return Ok(Some("it has object lock"));
            }
        }
        Ok(None)
    }

    /// Multipart uploads below the prefix; none where the store does not tell us.
    pub async fn open_uploads(&self) -> Result<Vec<OpenUpload>> {
        let prefix = if self.prefix.as_ref().is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let mut found = Vec::new();
        let mut marker: Option<(String, String)> = None;
        for _ in 0..PAGES_MAX {
            let mut query = vec![("uploads", ""), ("prefix", prefix.as_str())];
            if let Some((key, id)) = &marker {
                query.extend([("key-marker", key.as_str()), ("upload-id-marker", id.as_str())]);
            }
            let Some(answer) = self.ask(&query).await? else { break };
            let page: Uploads = self.parse(&answer)?;
            let uploads = page.upload.into_iter().filter_map(|upload| {
                Some(OpenUpload { begun_at: upload.initiated.parse().ok()?, key: upload.key, id: upload.upload_id })
            });
            found.extend(uploads);
            marker = match (page.is_truncated, page.next_key_marker, page.next_upload_id_marker) {
                (Some(true), Some(key), Some(id)) => Some((key, id)),
                _ => break,
            };
        }
        Ok(found)
    }

    /// Gives up somebody's upload.
    pub async fn abort(&self, upload: &OpenUpload) -> Result<()> {
        let path = Path::parse(&upload.key).map_err(|_| self.failed("abort", Fault::Refused, "an odd name"))?;
        match self.s3.abort_multipart(&path, &upload.id).await.map_err(|error| self.error("abort", &error)) {
            Err(error) if error.fault != Fault::NoObject => Err(error),
            _ => Ok(()),
        }
    }

    /// The time of the store's machine, asked for anew. `None`: it does not answer, or tells no time.
    pub async fn now(&self) -> Option<Timestamp> {
        let asked_at = Instant::now();
        // That there is no such object is an answer as any other, and a refusal has a date too.
        let answer = self.s3.head(&self.at("clock")).await;
        let now = self.connector.dates().since(asked_at);
        if now.is_none() {
            let error = answer.err().map(|error| self.error("get", &error).to_string());
            tracing::warn!(error, "the object store's clock cannot be read");
        }
        now
    }

    /// A question about the bucket; `None` where the store does not know it, the policy does not allow it, or nothing is set.
    async fn ask(&self, query: &[(&str, &str)]) -> Result<Option<Bytes>> {
        let options = SignedUrlOptions::new().with_query(query.iter().copied());
        let url = self.s3.signed_url_opts(Method::GET, &Path::default(), SIGNED_FOR, &options).await;
        let url = url.map_err(|error| self.error("sign", &error))?;
        let request = Request::builder().uri(url.as_str()).body(HttpRequestBody::empty());
        let request = request.map_err(|_| self.failed("list", Fault::Refused, "an odd address"))?;
        let unanswered = |error: object_store::client::HttpError| {
            self.error("list", &object_store::Error::Generic { store: "S3", source: Box::new(error) })
        };
        let answer = self.connector.client().execute(request).await.map_err(unanswered)?;
        let status = answer.status();
        let body = answer.into_body().bytes().await.map_err(unanswered)?;
        if status.is_success() {
            return Ok(Some(body));
        }
        let code = code_in(&body);
        let untold = [StatusCode::NOT_IMPLEMENTED, StatusCode::METHOD_NOT_ALLOWED, StatusCode::FORBIDDEN];
        let is_down = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
        let fault = by_code(&code).unwrap_or(if is_down { Fault::Down } else { Fault::Unknown });
        match fault {
            Fault::Unknown | Fault::Denied | Fault::NoObject => Ok(None),
            _ if untold.contains(&status) && fault != Fault::WrongKey => Ok(None),
            _ => Err(self.failed("list", fault, &format!("{code} ({})", status.as_u16()))),
        }
    }

    fn parse<'a, T: Deserialize<'a>>(&self, answer: &'a [u8]) -> Result<T> {
        let text = std::str::from_utf8(answer).ok();
        let parsed = text.and_then(|text| quick_xml::de::from_str(text).ok());
        parsed
            .ok_or_else(|| -> BucketError { self.failed("list", Fault::Refused, "the answer is not XML as S3 has it") })
    }
}
