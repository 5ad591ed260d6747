//! A bucket of S3-compatible storage: how it is reached, and the few verbs that the object store and key stores need.
//!
//! # Promise
//! [`Bucket::open`] asks nothing of the network: it says what is wrong with settings and variables. [`Bucket::probe`] says
//! what is wrong with bucket and credentials. [`Bucket::create`] is a compare-and-swap wherever [`Bucket::vet`] found that
//! the store honours `If-None-Match`.
//! # Secrecy
//! Errors hold no key, header or query string; requests are signed by header. The few that object_store has no
//! verb for are signed by query, and neither logged nor quoted.

mod credentials;
mod dates;
mod fault;
mod listing;
mod probe;
mod settings;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, ObjectStoreExt, PutMode, PutResult, RetryConfig};
use zeroize::Zeroizing;

pub use fault::{BucketError, Fault};
pub use listing::OpenUpload;
pub use probe::Unfit;
pub use settings::S3Settings;

use credentials::ProfileFile;
use wire::Connector;

/// What is wrong with settings or variables, and what to do.
pub type Opening<T> = std::result::Result<T, String>;
pub type Result<T> = std::result::Result<T, BucketError>;

/// One bucket, and the prefix in it that is ours.
#[derive(Clone)]
pub struct Bucket {
    s3: AmazonS3,
    connector: Connector,
    prefix: Path,
    /// `s3://bucket/prefix`
    place: String,
    /// Where credentials come from, when nothing but the machine's own role is left.
    is_by_role: bool,
}

/// What a write said about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The bytes before are gone.
    Plain,
    /// The store numbered it: it keeps the bytes of before, or will keep these.
    Versioned,
}

/// What a conditional create found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    New(Written),
    Exists,
}

/// An object's bytes, and whether the store numbers its versions.
pub struct ReadBack {
    pub bytes: Zeroizing<Vec<u8>>,
    pub is_versioned: bool,
}

impl Bucket {
    /// `bucket/prefix` or `profile@bucket/prefix`, the profile being one of the credentials file.
    pub fn open(place: &str, settings: &S3Settings) -> Opening<Bucket> {
        let (profile, place) = place.split_once('@').map_or((None, place), |(profile, place)| (Some(profile), place));
        let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
            return Err(
                "it is s3://<bucket>/<prefix> or s3://<profile>@<bucket>/<prefix>: the bucket's name is missing or odd"
                    .into(),
            );
        }
        let prefix = Path::parse(prefix).map_err(|error| format!("the prefix in s3://{place} is odd: {error}"))?;
        let connector = Connector::default();
        let builder = with_credentials(environment()?, profile, settings)?;
        let is_by_role = is_by_role(&builder, profile, settings);
        let builder = with_endpoint(builder, name, settings)?
            .with_bucket_name(name)
            // One by one: replacing the client's options would drop those that came from the environment.
            .with_config(client(ClientConfigKey::ConnectTimeout), seconds(settings.connect_timeout))
            .with_config(client(ClientConfigKey::Timeout), seconds(settings.request_timeout))
            .with_http_connector(connector.clone())
            .with_retry(RetryConfig {
                max_retries: settings.retries_max,
                retry_timeout: settings.retry_timeout,
                backoff: BackoffConfig { init_backoff: settings.retry_pause, ..BackoffConfig::default() },
            });
        let s3 = builder
            .build()
            .map_err(|error| format!("s3://{place} cannot be used, look at the AWS_* variables: {error}"))?;
        Ok(Bucket { s3, connector, prefix, place: format!("s3://{}", place.trim_end_matches('/')), is_by_role })
    }

    pub fn describe(&self) -> &str {
        &self.place
    }

    /// The bucket with all verbs of object_store.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.s3.clone())
    }

    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    pub fn error(&self, verb: &'static str, error: &object_store::Error) -> BucketError {
        fault::fault(&self.place, verb, error)
    }

    /// Names directly below the prefix.
    pub async fn names(&self) -> Result<Vec<String>> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let listed = self.s3.list_with_delimiter(prefix).await.map_err(|error| self.error("list", &error))?;
        Ok(listed.objects.iter().filter_map(|meta| meta.location.filename().map(str::to_owned)).collect())
    }

    pub async fn read(&self, name: &str) -> Result<Option<ReadBack>> {
        let answer = match self.s3.get(&self.at(name)).await {
            Ok(answer) => answer,
            Err(error) => {
                let error = self.error("get", &error);
                return if error.fault == Fault::NoObject { Ok(None) } else { Err(error) };
            }
        };
        let is_versioned = answer.meta.version.is_some();
        let len = answer.meta.size;
        let bytes = answer.bytes().await.map_err(|error| self.error("get", &error))?;
        if bytes.len() as u64 != len {
            return Err(self.failed("get", Fault::Down, "the answer was cut off"));
        }
        Ok(Some(ReadBack { bytes: Zeroizing::new(bytes.to_vec()), is_versioned }))
    }

    /// Writes a name that must be new. A retry of a try that had succeeded finds the name taken by its own bytes, and is told
    /// from another's: that is what `Exists` is compared for.
    pub async fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        let payload = Bytes::copy_from_slice(bytes).into();
        match self.s3.put_opts(&self.at(name), payload, PutMode::Create.into()).await {
            Ok(put) => Ok(Created::New(written(&put))),
            Err(error) => {
                let error = self.error("put", &error);
                if error.fault != Fault::Exists {
                    return Err(error);
                }
                match self.read(name).await? {
                    Some(found) if *found.bytes == *bytes => {
                        let written = if found.is_versioned { Written::Versioned } else { Written::Plain };
                        Ok(Created::New(written))
                    }
                    _ => Ok(Created::Exists),
                }
            }
        }
    }

    /// Writes over whatever has the name.
    pub async fn overwrite(&self, name: &str, bytes: Vec<u8>) -> Result<Written> {
        let put = self.s3.put(&self.at(name), Bytes::from(bytes).into()).await;
        put.map(|put| written(&put)).map_err(|error| self.error("put", &error))
    }

    /// Removes the name; one that is not there is removed already.
    pub async fn remove(&self, name: &str) -> Result<()> {
        match self.s3.delete(&self.at(name)).await.map_err(|error| self.error("delete", &error)) {
            Err(error) if error.fault != Fault::NoObject => Err(error),
            _ => Ok(()),
        }
    }

    fn at(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    fn failed(&self, verb: &'static str, fault: Fault, reason: &str) -> BucketError {
        BucketError { place: self.place.clone(), verb, fault, reason: reason.to_owned() }
    }
}

fn written(put: &PutResult) -> Written {
    if put.version.is_some() { Written::Versioned } else { Written::Plain }
}

fn client(key: ClientConfigKey) -> AmazonS3ConfigKey {
    AmazonS3ConfigKey::Client(key)
}

fn seconds(duration: std::time::Duration) -> String {
    format!("{} ms", duration.as_millis())
}

fn environment() -> Opening<AmazonS3Builder> {
    let builder = AmazonS3Builder::from_env();
    let invalid = builder.get_config_value(&client(ClientConfigKey::AllowInvalidCertificates));
    if invalid.is_some_and(|value| value != "false") {
        return Err(
            "AWS_ALLOW_INVALID_CERTIFICATES is refused: name your authority's certificate in SSL_CERT_FILE instead"
                .into(),
        );
    }
    Ok(builder)
}

/// A profile that is named, or the file's default one where no variable says who we are.
fn with_credentials(
    builder: AmazonS3Builder,
    profile: Option<&str>,
    settings: &S3Settings,
) -> Opening<AmazonS3Builder> {
    let file = credentials_file(settings);
    let (path, profile) = match (file, profile) {
        (Some(path), Some(profile)) => (path, profile.to_owned()),
        (Some(path), None) if !is_named(&builder) => {
            (path, std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".into()))
        }
        (None, Some(profile)) => {
            return Err(format!(
                "s3://{profile}@...: the profile stands in a credentials file; name it in s3.credentials_file or AWS_SHARED_CREDENTIALS_FILE"
            ));
        }
        _ => return Ok(builder),
    };
    let file = ProfileFile::new(&path, &profile);
    let place = file.endpoint()?;
    let mut builder = builder.with_credentials(Arc::new(file));
    if let Some(endpoint) = place.endpoint {
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    if let Some(region) = place.region {
        builder = builder.with_region(region);
    }
    Ok(builder)
}

fn credentials_file(settings: &S3Settings) -> Option<std::path::PathBuf> {
    settings.credentials_file.clone().or_else(|| std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").map(Into::into))
}

fn is_by_role(builder: &AmazonS3Builder, profile: Option<&str>, settings: &S3Settings) -> bool {
    !is_named(builder) && profile.is_none() && credentials_file(settings).is_none()
}

/// Whether a variable gives a key or a role.
fn is_named(builder: &AmazonS3Builder) -> bool {
    let keys = [
        AmazonS3ConfigKey::AccessKeyId,
        AmazonS3ConfigKey::WebIdentityTokenFile,
        AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
        AmazonS3ConfigKey::ContainerCredentialsFullUri,
        AmazonS3ConfigKey::SkipSignature,
    ];
    keys.iter().any(|key| builder.get_config_value(key).is_some_and(|value| value != "false"))
}

/// Path or virtual-host style, TLS or a reason to go without it, and what guards the bytes on the way.
fn with_endpoint(builder: AmazonS3Builder, bucket: &str, settings: &S3Settings) -> Opening<AmazonS3Builder> {
    let value = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
    let endpoint = value(AmazonS3ConfigKey::S3Endpoint).or_else(|| value(AmazonS3ConfigKey::Endpoint));
    let asked_for = value(AmazonS3ConfigKey::VirtualHostedStyleRequest).is_some_and(|value| value == "true");
    let is_sealed_by_name = !bucket.contains('.');
    let by_host = settings.virtual_host.unwrap_or(asked_for || (endpoint.is_none() && is_sealed_by_name));
    let Some(endpoint) = endpoint else { return Ok(guarded(builder).with_virtual_hosted_style_request(by_host)) };
    let address: hyper::Uri =
        endpoint.parse().map_err(|_| "AWS_ENDPOINT_URL is an address such as https://s3.example.com".to_owned())?;
    let (Some(scheme), Some(host)) = (address.scheme_str(), address.authority()) else {
        return Err("AWS_ENDPOINT_URL is an address such as https://s3.example.com".into());
    };
    if host.as_str().contains('@') {
        return Err("AWS_ENDPOINT_URL holds a key: give keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".into());
    }
    let is_plain = scheme == "http";
    let may_be_plain = settings.allow_http
        || is_loopback(host.host())
        || value(client(ClientConfigKey::AllowHttp)).is_some_and(|value| value == "true");
    if is_plain && !may_be_plain {
        return Err(format!(
            "AWS_ENDPOINT_URL {scheme}://{host} is plain HTTP: use https, or set s3.allow_http where the way is safe by itself"
        ));
    }
    let (path, named) = (address.path().trim_end_matches('/'), format!("{bucket}."));
    let host = match by_host && !host.as_str().starts_with(&named) {
        true => format!("{named}{host}"),
        false => host.to_string(),
    };
    let builder = builder
        .with_config(AmazonS3ConfigKey::S3Endpoint, format!("{scheme}://{host}{path}"))
        .with_virtual_hosted_style_request(by_host)
        .with_allow_http(is_plain);
    Ok(if is_plain { builder } else { guarded(builder) })
}

/// Over TLS a checksum that the store verifies guards the bytes, for a third of what signing them costs. `AWS_*` may say
/// otherwise, for a store that does not know it.
fn guarded(builder: AmazonS3Builder) -> AmazonS3Builder {
    let is_told =
        ["AWS_UNSIGNED_PAYLOAD", "AWS_CHECKSUM_ALGORITHM"].iter().any(|name| std::env::var_os(name).is_some());
    if is_told {
        return builder;
    }
    builder.with_unsigned_payload(true).with_checksum_algorithm(object_store::aws::Checksum::CRC64NVME)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
