//! Settings: raw arguments first, checked configuration second.
//!
//! Flag > `CALLVAULT_*` > TOML file (`--config`) > default. Unknown keys are refused. A secret is a value or a file, never
//! both, and a secret that others on the machine can read is refused.

mod access;
mod audit;
mod oidc;
mod otlp;
mod raw;
mod replica;
mod secret;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderValue;
use ipnet::IpNet;
use thiserror::Error;

pub use access::AccessConfig;
pub use audit::AuditConfig;
pub use raw::RawSettings;
pub use replica::ReplicaConfig;
pub use secret::{EXAMPLE_KEY, key_from_text, key_text, read_key, refuse_readable_by_others, write_key};

use crate::bucket::S3Settings;
use crate::catalog::postgres;
use crate::crypto::keys::MasterKey;
use crate::ingest::UploadLimits;
use crate::model::network::networks;
use crate::spool::SpoolLimits;
use crate::{spans, sso};

/// Exit code 2: says which setting, and what it may be.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Settings that were checked.
#[derive(Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub metrics: MetricsListen,
    pub catalog: CatalogPlace,
    pub store: String,
    pub s3: S3Settings,
    pub key_store: Vec<KeyPlace>,
    /// Empty: level 1, the master key alone.
    pub generation_store: Vec<KeyPlace>,
    pub master_key: KeySource,
    pub spool_dir: PathBuf,
    /// `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    pub trusted_proxies: Vec<IpNet>,
    pub cors_origins: Vec<HeaderValue>,
    pub upload: UploadLimits,
    pub upload_idle: Duration,
    /// Bytes per second; 0: any.
    pub rate_min: u64,
    pub rate_window: Duration,
    pub header_timeout: Duration,
    pub spool: SpoolLimits,
    /// `None`: never by `serve` itself.
    pub expire_every: Option<Duration>,
    pub drain_timeout: Duration,
    pub access: AccessConfig,
    pub audit: AuditConfig,
    pub replica: ReplicaConfig,
    /// `None`: nobody gets in by single sign-on.
    pub single_sign_on: Option<sso::Settings>,
    /// `None`: nothing is traced.
    pub traces: Option<spans::Settings>,
}

/// One mirror of a key store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    Dir(PathBuf),
    /// What stands behind `s3://`.
    Bucket(String),
}

/// Which backend holds the catalog, and where.
#[derive(Debug)]
pub enum CatalogPlace {
    Sqlite(PathBuf),
    /// Its `Debug` says host and database alone.
    Postgres(Box<postgres::Settings>),
}

/// What TLS is made of.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub clients: Clients,
}

/// Whether clients show certificates, and by which authorities.
#[derive(Clone, Debug)]
pub enum Clients {
    /// They are not asked.
    Unasked,
    /// One that is shown must be good.
    May(PathBuf),
    Must(PathBuf),
}

/// Where metrics are served; a default that is taken by another process is a warning, a chosen address an error.
#[derive(Debug)]
pub struct MetricsListen {
    pub address: SocketAddr,
    pub is_chosen: bool,
}

/// Where the master key comes from.
pub enum KeySource {
    File(PathBuf),
    Value(MasterKey),
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            KeySource::File(path) => write!(f, "File({})", path.display()),
            KeySource::Value(_) => f.write_str("Value(REDACTED)"),
        }
    }
}

impl Config {
    pub fn check(raw: RawSettings) -> Result<Config, ConfigError> {
        let raw = raw.with_file()?;
        let data_dir = raw.data_dir.unwrap_or_else(|| "callvault-data".into());
        let listen = address("listen", raw.listen.as_deref().unwrap_or("127.0.0.1:8787"))?;
        let trusted_proxies = networks(&raw.trusted_proxies.unwrap_or_default()).map_err(ConfigError)?;
        let tls = tls_files(raw.tls)?;
        if tls.is_none() && !listen.ip().is_loopback() && trusted_proxies.is_empty() {
            return Err(ConfigError(format!(
                "listen {listen}: plain HTTP is served on loopback only; give tls.cert and tls.key, or listen on 127.0.0.1, or \
                 put a proxy with TLS in front and name its address in trusted_proxies"
            )));
        }
        if tls.is_some() && raw.replica.url.is_some() {
            return Err(ConfigError(
                "replica.url with tls.cert: servers of one vault reach each other by plain HTTP; leave TLS to a proxy in front of \
                 each, or run one server"
                    .into(),
            ));
        }
        let is_chosen = raw.metrics_listen.is_some();
        let metrics = address("metrics_listen", raw.metrics_listen.as_deref().unwrap_or("127.0.0.1:9187"))?;
        let generation_store = match raw.generation_store {
            None => vec![KeyPlace::Dir(data_dir.join("generations"))],
            Some(stores) => key_places("generation_store", &stores)?,
        };
        Ok(Config {
            listen,
            metrics: MetricsListen { address: metrics, is_chosen },
            catalog: catalog_place(raw.catalog.as_deref(), &raw.postgres, &data_dir)?,
            s3: s3_settings(raw.s3, size("upload.bytes_max", raw.upload.bytes_max.as_deref(), UPLOAD_BYTES_MAX)?)?,
            store: raw.store.unwrap_or_else(|| format!("file://{}", data_dir.join("objects").display())),
            key_store: match raw.key_store {
                None => vec![KeyPlace::Dir(data_dir.join("keys"))],
                Some(stores) => some("key_store", key_places("key_store", &stores)?)?,
            },
            generation_store,
            master_key: key_source(raw.master_key, raw.master_key_file, &data_dir)?,
            spool_dir: raw.spool_dir.unwrap_or_else(|| data_dir.join("spool")),
            tls,
            trusted_proxies,
            cors_origins: raw
                .cors
                .origins
                .unwrap_or_default()
                .iter()
                .map(|text| origin(text))
                .collect::<Result<_, _>>()?,
            upload: UploadLimits {
                bytes_max: size("upload.bytes_max", raw.upload.bytes_max.as_deref(), UPLOAD_BYTES_MAX)?,
                count_max: raw.upload.count_max.unwrap_or(UPLOAD_COUNT_MAX),
                open_max: raw.upload.open_max.unwrap_or(UPLOAD_OPEN_MAX),
                resume_window: duration("upload.resume_window", raw.upload.resume_window.as_deref(), RESUME_WINDOW)?,
                store_patience: duration("store_patience", raw.store_patience.as_deref(), STORE_PATIENCE)?,
            },
            upload_idle: duration("upload.idle", raw.upload.idle.as_deref(), UPLOAD_IDLE)?,
            rate_min: size("upload.rate_min", raw.upload.rate_min.as_deref(), RATE_MIN)?,
            rate_window: duration("upload.rate_window", raw.upload.rate_window.as_deref(), RATE_WINDOW)?,
            header_timeout: duration("upload.header_timeout", raw.upload.header_timeout.as_deref(), HEADER_TIMEOUT)?,
            spool: SpoolLimits {
                bytes_max: size("spool.bytes_max", raw.spool.bytes_max.as_deref(), SPOOL_BYTES_MAX)?,
                count_max: raw.spool.count_max.unwrap_or(SPOOL_COUNT_MAX),
                sync_every: duration("spool.sync_every", raw.spool.sync_every.as_deref(), SPOOL_SYNC_EVERY)?,
                disk_free_min: size("spool.disk_free_min", raw.spool.disk_free_min.as_deref(), DISK_FREE_MIN)?,
            },
            expire_every: match raw.expire.every.as_deref() {
                Some("never") => None,
                every => Some(duration("expire.every", every, EXPIRE_EVERY)?),
            },
            drain_timeout: duration("drain.timeout", raw.drain.timeout.as_deref(), DRAIN_TIMEOUT)?,
            audit: AuditConfig::check(&raw.audit)?,
            access: AccessConfig::check(
                raw.four_eyes,
                raw.four_eyes_window.as_deref(),
                &raw.link,
                &raw.watch,
                &raw.rate,
            )?,
            replica: ReplicaConfig::check(raw.replica, raw.catalog.as_deref())?,
            single_sign_on: oidc::check(raw.oidc)?,
            traces: otlp::check(raw.otlp)?,
            data_dir,
        })
    }

    /// Reads the master key. The example key is public: it is taken on loopback only.
    pub fn read_master_key(&self) -> Result<MasterKey, ConfigError> {
        let key = match &self.master_key {
            KeySource::File(path) => read_key(path)?,
            KeySource::Value(key) => MasterKey::take(&mut { *key.expose() }),
        };
        if secret::is_example(&key) && !self.listen.ip().is_loopback() {
            return Err(ConfigError(
                "the master key is the example key, which everyone knows: make your own with 'callvault key generate'"
                    .into(),
            ));
        }
        Ok(key)
    }
}

// Limit: a day of stereo PCM at 48 kHz is 16 GB; nobody records a longer call.
const UPLOAD_BYTES_MAX: u64 = 16 << 30;
// Limit: 10,000 live calls with a chunk of 16 KiB each are 160 MB.
const UPLOAD_COUNT_MAX: usize = 10_000;
// Limit: resumable uploads that wait for their sender take about 3 KiB of memory each.
const UPLOAD_OPEN_MAX: usize = 50_000;
// Limit: a sender that lost its link over a night still finds its upload.
const RESUME_WINDOW: Duration = Duration::from_secs(24 * 3_600);
// Limit: no sender waits longer for an object store; his recording is safe in the spool.
const STORE_PATIENCE: Duration = Duration::from_secs(5);
// Limit: Asterisk writes 32 KiB of G.711 every 4.1 s; nobody who is still recording pauses for longer.
const UPLOAD_IDLE: Duration = Duration::from_secs(30);
// Limit: a sender of files that is slower holds an upload for days: an hour of G.711 takes a day at this rate. An hour of the
// slowest codec that is in use (GSM, 1,650 bytes a second) still comes six times slower than it was spoken.
const RATE_MIN: u64 = 256;
const RATE_WINDOW: Duration = Duration::from_secs(60);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
// Limit: two days of 100 calls at once.
const SPOOL_BYTES_MAX: u64 = 64 << 30;
// Limit: a day of an outage at 10,000 calls at once; names of files, not their bytes, are what this bounds.
const SPOOL_COUNT_MAX: u64 = 5_000_000;
// Limit: what a power cut may take of a call that goes on.
const SPOOL_SYNC_EVERY: Duration = Duration::from_secs(1);
// Limit: the last chunks of 200 running calls, and the catalog's log.
const DISK_FREE_MIN: u64 = 4 << 20;
const EXPIRE_EVERY: Duration = Duration::from_secs(3_600);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
// Limit: a database with the usual 100 connections serves five servers, their leases, expire and a person.
const POSTGRES_POOL_MAX: usize = 16;
// Limit: a thousand recordings are shredded in some 50 ms; whatever takes longer than this holds others up.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
// Limit: whoever asks after a year for what he was told would end is told that it did.
const GONE_KEEP: Duration = Duration::from_secs(9_600 * 3_600);
const GONE_KEEP_MIN: Duration = Duration::from_secs(672 * 3_600);

fn address(name: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    let advice = || ConfigError(format!("{name} {text:?}: an address with a port, such as 127.0.0.1:8787"));
    let text = text.replace("localhost:", "127.0.0.1:");
    text.parse().map_err(|_| advice())
}

fn tls_files(raw: raw::Tls) -> Result<Option<TlsFiles>, ConfigError> {
    let raw::Tls { cert, key, client_ca, client_required } = raw;
    let is_required = client_required.unwrap_or(false);
    let clients = match (client_ca, is_required) {
        (None, false) => Clients::Unasked,
        (Some(authorities), false) => Clients::May(authorities),
        (Some(authorities), true) => Clients::Must(authorities),
        (None, true) => {
            let advice = "tls.client_required needs tls.client_ca: the authorities that sign the clients' certificates";
            return Err(ConfigError(advice.into()));
        }
    };
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key, clients })),
        (None, None) if matches!(clients, Clients::Unasked) => Ok(None),
        (None, None) => Err(ConfigError("tls.client_ca is of no use without TLS: give tls.cert and tls.key".into())),
        _ => Err(ConfigError("tls.cert and tls.key: give both, or neither".into())),
    }
}

/// An origin as browsers write it (RFC 6454): scheme and host in small letters, a port unless it is the scheme's own.
fn origin(text: &str) -> Result<HeaderValue, ConfigError> {
    let uri = text.parse::<Uri>().ok();
    let written = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?, uri.port_u16())));
    let canonical = written.and_then(|(scheme, host, port)| match (scheme, port) {
        ("http", Some(80)) | ("https", Some(443)) => None,
        ("http" | "https", Some(port)) => Some(format!("{scheme}://{host}:{port}")),
        ("http" | "https", None) => Some(format!("{scheme}://{host}")),
        _ => None,
    });
    canonical
        .filter(|canonical| canonical == text && *canonical == text.to_ascii_lowercase() && !text.contains('*'))
        .and_then(|canonical| HeaderValue::try_from(canonical).ok())
        .ok_or_else(|| {
            ConfigError(format!(
                "cors.origins {text:?}: an origin as browsers send it, such as https://portal.example.com or \
                 http://localhost:3000, without a path; wildcards are not taken"
            ))
        })
}

fn catalog_place(url: Option<&str>, raw: &raw::Postgres, data_dir: &Path) -> Result<CatalogPlace, ConfigError> {
    match url.map(|url| url.split_once("://")) {
        None => Ok(CatalogPlace::Sqlite(data_dir.join("catalog.db"))),
        Some(Some(("sqlite", path))) => Ok(CatalogPlace::Sqlite(path.into())),
        Some(Some(("postgres" | "postgresql", _))) => {
            let limits = postgres_limits(raw)?;
            let password = raw.password_file.as_deref().map(secret::read_password).transpose()?;
            let password = password.as_ref().map(|password| password.as_str());
            let settings = postgres::Settings::parse(url.unwrap_or_default(), password, limits).map_err(ConfigError)?;
            Ok(CatalogPlace::Postgres(Box::new(settings)))
        }
        // Secrecy: what was written may be a URL with a password and a slip in its scheme.
        Some(_) => Err(ConfigError(
            "catalog is sqlite://<path>, or postgres://<user>:<password>@<host>:<port>/<database>".into(),
        )),
    }
}

fn postgres_limits(raw: &raw::Postgres) -> Result<postgres::Limits, ConfigError> {
    let gone_keep = duration("postgres.gone_keep", raw.gone_keep.as_deref(), GONE_KEEP)?;
    if gone_keep < GONE_KEEP_MIN {
        return Err(ConfigError("postgres.gone_keep: at least 672h, four weeks".into()));
    }
    let pool_max = raw.pool_max.unwrap_or(POSTGRES_POOL_MAX);
    if pool_max == 0 {
        return Err(ConfigError("postgres.pool_max: at least 1".into()));
    }
    let (statement, connect) = (raw.statement_timeout.as_deref(), raw.connect_timeout.as_deref());
    Ok(postgres::Limits {
        pool_max,
        statement_timeout: duration("postgres.statement_timeout", statement, STATEMENT_TIMEOUT)?,
        connect_timeout: duration("postgres.connect_timeout", connect, CONNECT_TIMEOUT)?,
        gone_keep,
    })
}

fn key_places(name: &str, urls: &[String]) -> Result<Vec<KeyPlace>, ConfigError> {
    let parse = |url: &String| match url.split_once("://") {
        Some(("file", path)) if !path.is_empty() => Ok(KeyPlace::Dir(path.into())),
        Some(("s3", place)) if !place.is_empty() => Ok(KeyPlace::Bucket(place.into())),
        _ => Err(ConfigError(format!("{name} is a list of file://<directory> and s3://<bucket>/<prefix>"))),
    };
    urls.iter().filter(|url| !url.is_empty()).map(parse).collect()
}

fn s3_settings(raw: raw::S3, upload_bytes_max: u64) -> Result<S3Settings, ConfigError> {
    let default = S3Settings::default();
    if let Some(path) = &raw.credentials_file {
        secret::refuse_readable_by_others(path)?;
    }
    let settings = S3Settings {
        connect_timeout: duration("s3.connect_timeout", raw.connect_timeout.as_deref(), default.connect_timeout)?,
        request_timeout: duration("s3.request_timeout", raw.request_timeout.as_deref(), default.request_timeout)?,
        retries_max: raw.retries_max.unwrap_or(default.retries_max),
        retry_pause: duration("s3.retry_pause", raw.retry_pause.as_deref(), default.retry_pause)?,
        retry_timeout: duration("s3.retry_timeout", raw.retry_timeout.as_deref(), default.retry_timeout)?,
        multipart_above: size("s3.multipart_above", raw.multipart_above.as_deref(), default.multipart_above)?,
        part_len: size("s3.part_len", raw.part_len.as_deref(), default.part_len)?,
        uploads_max: raw.uploads_max.unwrap_or(default.uploads_max),
        allow_http: raw.allow_http.unwrap_or(default.allow_http),
        virtual_host: raw.virtual_host,
        credentials_file: raw.credentials_file,
    };
    // A sealed object is a little longer than what was uploaded: 28 bytes for each 16 KiB, and its header.
    settings.check(upload_bytes_max + upload_bytes_max / 512 + 4_096).map_err(ConfigError)?;
    Ok(settings)
}

fn some<T>(name: &str, list: Vec<T>) -> Result<Vec<T>, ConfigError> {
    if list.is_empty() {
        return Err(ConfigError(format!("{name} needs at least one place")));
    }
    Ok(list)
}

fn key_source(value: Option<String>, file: Option<PathBuf>, data_dir: &Path) -> Result<KeySource, ConfigError> {
    match (value, file) {
        (Some(_), Some(_)) => Err(ConfigError("master_key and master_key_file: give one, not both".into())),
        (Some(value), None) => Ok(KeySource::Value(secret::parse_key(value.into_bytes())?)),
        (None, file) => Ok(KeySource::File(file.unwrap_or_else(|| data_dir.join("master.key")))),
    }
}

/// Bytes: a whole number, or one with `KiB`, `MiB`, `GiB`, `TiB`.
fn size(name: &str, text: Option<&str>, default: u64) -> Result<u64, ConfigError> {
    let Some(text) = text else { return Ok(default) };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let shift = match text[digits.len()..].trim() {
        "" | "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        "TiB" => Some(40),
        _ => None,
    };
    let bytes = digits.parse::<u64>().ok().zip(shift).and_then(|(n, shift)| n.checked_mul(1 << shift));
    bytes.ok_or_else(|| ConfigError(format!("{name} {text:?}: a number of bytes, such as 1048576 or 64MiB")))
}

// Limit: what is added to the time of day stays a time.
const DURATION_MAX: Duration = Duration::from_secs(3_660 * 86_400);

fn duration(name: &str, text: Option<&str>, default: Duration) -> Result<Duration, ConfigError> {
    let Some(text) = text else { return Ok(default) };
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    parsed
        .filter(|duration| !duration.is_zero() && *duration <= DURATION_MAX)
        .ok_or_else(|| ConfigError(format!("{name} {text:?}: a time span, such as 30s, 5m or 1h; at most ten years")))
}

#[cfg(test)]
mod tests;
