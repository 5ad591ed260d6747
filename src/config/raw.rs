//! Settings as they are written: flags and variables by clap, the file by serde. Nothing is checked in here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::ConfigError;

macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $type:ty,)* } $(tables { $($(#[$tattr:meta])* $table:ident: $ttype:ty,)* })?) => {
        $(#[$doc])*
        #[derive(Args, Clone, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$attr])* pub $field: Option<$type>,)*
            $($($(#[$tattr])* pub $table: $ttype,)*)?
        }

        impl $name {
            /// What is not set here is taken from `under`.
            fn over(self, under: $name) -> $name {
                $name {
                    $($field: self.$field.or(under.$field),)*
                    $($($table: self.$table.over(under.$table),)*)?
                }
            }
        }
    };
}

settings! {
    /// All settings; each is `None` until something sets it.
    RawSettings {
        /// A TOML file with settings
        #[arg(long, global = true, env = "CALLVAULT_CONFIG", value_name = "FILE")]
        #[serde(skip)]
        config: PathBuf,
        /// Where everything lies that has no place of its own [default: ./callvault-data]
        #[arg(long, global = true, env = "CALLVAULT_DATA_DIR", value_name = "DIR")]
        data_dir: PathBuf,
        /// Address of the HTTP listener [default: 127.0.0.1:8787]
        #[arg(long, global = true, env = "CALLVAULT_LISTEN", value_name = "ADDR")]
        listen: String,
        /// Address of the metrics listener [default: 127.0.0.1:9187]
        #[arg(long, global = true, env = "CALLVAULT_METRICS_LISTEN", value_name = "ADDR")]
        metrics_listen: String,
        /// sqlite://<path> or postgres://<user>:<password>@<host>:<port>/<database> [default: <data_dir>/catalog.db]
        #[arg(long, global = true, env = "CALLVAULT_CATALOG", value_name = "URL")]
        catalog: String,
        /// file://<dir> or s3://<bucket>/<prefix>, with AWS_* [default: <data_dir>/objects]
        #[arg(long, global = true, env = "CALLVAULT_STORE", value_name = "URL")]
        store: String,
        /// How long a sender waits for the object store before he is answered from the spool [default: 5s]
        #[arg(long, global = true, env = "CALLVAULT_STORE_PATIENCE", value_name = "TIME")]
        store_patience: String,
        /// Mirrors of the ring: file://<dir> or s3://<bucket>/<prefix>, separated by commas [default: <data_dir>/keys]
        #[arg(long, global = true, env = "CALLVAULT_KEY_STORE", value_name = "URL", value_delimiter = ',')]
        key_store: Vec<String>,
        /// Mirrors of the generation secret, best in another place; empty: level 1 [default: <data_dir>/generations]
        #[arg(long, global = true, env = "CALLVAULT_GENERATION_STORE", value_name = "URL", value_delimiter = ',')]
        generation_store: Vec<String>,
        /// The master key itself, 64 hexadecimal digits; only from the environment or the file
        #[arg(skip)]
        master_key: String,
        /// File of the master key, mode 0600 [default: <data_dir>/master.key]
        #[arg(long, global = true, env = "CALLVAULT_MASTER_KEY_FILE", value_name = "FILE")]
        master_key_file: PathBuf,
        /// Local disk for recordings on their way [default: <data_dir>/spool]
        #[arg(long, global = true, env = "CALLVAULT_SPOOL_DIR", value_name = "DIR")]
        spool_dir: PathBuf,
        /// Addresses of proxies that end TLS in front of callvault, separated by commas
        #[arg(long, global = true, env = "CALLVAULT_TRUSTED_PROXIES", value_name = "NET", value_delimiter = ',')]
        trusted_proxies: Vec<String>,
        /// Whether an erasure needs two persons: one asks for it, another confirms it [default: false]
        #[arg(long, global = true, env = "CALLVAULT_FOUR_EYES", value_name = "BOOL")]
        four_eyes: bool,
        /// How long what one person has asked for waits for the other [default: 24h]
        #[arg(long, global = true, env = "CALLVAULT_FOUR_EYES_WINDOW", value_name = "TIME")]
        four_eyes_window: String,
    }
    tables {
        #[command(flatten)]
        tls: Tls,
        #[command(flatten)]
        cors: Cors,
        #[command(flatten)]
        s3: S3,
        #[command(flatten)]
        upload: Upload,
        #[command(flatten)]
        spool: Spool,
        #[command(flatten)]
        expire: Expire,
        #[command(flatten)]
        audit: Audit,
        #[command(flatten)]
        drain: Drain,
        #[command(flatten)]
        postgres: Postgres,
        #[command(flatten)]
        replica: Replica,
        #[command(flatten)]
        oidc: Oidc,
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        rate: Rate,
        #[command(flatten)]
        otlp: Otlp,
    }
}

settings! {
    Tls {
        /// Certificate of the HTTP listener with those above it, PEM; it is read again when it changes
        #[arg(id = "tls-cert", long = "tls-cert", global = true, env = "CALLVAULT_TLS_CERT", value_name = "FILE")]
        cert: PathBuf,
        /// Its private key, PEM, mode 0600
        #[arg(id = "tls-key", long = "tls-key", global = true, env = "CALLVAULT_TLS_KEY", value_name = "FILE")]
        key: PathBuf,
        /// Authorities whose client certificates are accepted, PEM
        #[arg(id = "tls-client-ca", long = "tls-client-ca", global = true, env = "CALLVAULT_TLS_CLIENT_CA", value_name = "FILE")]
        client_ca: PathBuf,
        /// Whether clients without a certificate are refused [default: false]
        #[arg(id = "tls-client-required", long = "tls-client-required", global = true, env = "CALLVAULT_TLS_CLIENT_REQUIRED", value_name = "BOOL")]
        client_required: bool,
    }
}

settings! {
    Cors {
        /// Origins whose pages may read answers, such as https://portal.example.com, separated by commas [default: none]
        #[arg(id = "cors-origins", long = "cors-origins", global = true, env = "CALLVAULT_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
        origins: Vec<String>,
    }
}

settings! {
    S3 {
        /// How long S3 may take to accept a connection [default: 5s]
        #[arg(id = "s3-connect-timeout", long = "s3-connect-timeout", global = true, env = "CALLVAULT_S3_CONNECT_TIMEOUT", value_name = "TIME")]
        connect_timeout: String,
        /// How long a request to S3 may take, its body included [default: 30s]
        #[arg(id = "s3-request-timeout", long = "s3-request-timeout", global = true, env = "CALLVAULT_S3_REQUEST_TIMEOUT", value_name = "TIME")]
        request_timeout: String,
        /// Retries of a request to S3 [default: 3]
        #[arg(id = "s3-retries-max", long = "s3-retries-max", global = true, env = "CALLVAULT_S3_RETRIES_MAX", value_name = "N")]
        retries_max: usize,
        /// Pause before the first retry; it doubles, with jitter [default: 100ms]
        #[arg(id = "s3-retry-pause", long = "s3-retry-pause", global = true, env = "CALLVAULT_S3_RETRY_PAUSE", value_name = "TIME")]
        retry_pause: String,
        /// No retry begins later than this after the first try [default: 5s]
        #[arg(id = "s3-retry-timeout", long = "s3-retry-timeout", global = true, env = "CALLVAULT_S3_RETRY_TIMEOUT", value_name = "TIME")]
        retry_timeout: String,
        /// Objects that are longer go in parts [default: 16MiB]
        #[arg(id = "s3-multipart-above", long = "s3-multipart-above", global = true, env = "CALLVAULT_S3_MULTIPART_ABOVE", value_name = "SIZE")]
        multipart_above: String,
        /// Bytes of a part, which is in memory while it is sent [default: 16MiB]
        #[arg(id = "s3-part-len", long = "s3-part-len", global = true, env = "CALLVAULT_S3_PART_LEN", value_name = "SIZE")]
        part_len: String,
        /// Uploads to S3 at once, each with one part in memory [default: 16]
        #[arg(id = "s3-uploads-max", long = "s3-uploads-max", global = true, env = "CALLVAULT_S3_UPLOADS_MAX", value_name = "N")]
        uploads_max: usize,
        /// Allow an endpoint without TLS that is not on loopback [default: false]
        #[arg(id = "s3-allow-http", long = "s3-allow-http", global = true, env = "CALLVAULT_S3_ALLOW_HTTP", value_name = "BOOL")]
        allow_http: bool,
        /// The bucket's name before the host's instead of in the path [default: only without an endpoint of one's own]
        #[arg(id = "s3-virtual-host", long = "s3-virtual-host", global = true, env = "CALLVAULT_S3_VIRTUAL_HOST", value_name = "BOOL")]
        virtual_host: bool,
        /// A file of credentials in the form of ~/.aws/credentials, read again as it changes
        #[arg(id = "s3-credentials-file", long = "s3-credentials-file", global = true, env = "CALLVAULT_S3_CREDENTIALS_FILE", value_name = "FILE")]
        credentials_file: PathBuf,
    }
}

settings! {
    Upload {
        /// Bytes of one recording [default: 16GiB]
        #[arg(id = "upload-bytes-max", long = "upload-bytes-max", global = true, env = "CALLVAULT_UPLOAD_BYTES_MAX", value_name = "SIZE")]
        bytes_max: String,
        /// Uploads at once [default: 10000]
        #[arg(id = "upload-count-max", long = "upload-count-max", global = true, env = "CALLVAULT_UPLOAD_COUNT_MAX", value_name = "N")]
        count_max: usize,
        /// Resumable uploads that may be open at once [default: 50000]
        #[arg(id = "upload-open-max", long = "upload-open-max", global = true, env = "CALLVAULT_UPLOAD_OPEN_MAX", value_name = "N")]
        open_max: usize,
        /// How long a resumable upload waits for its sender [default: 24h]
        #[arg(id = "upload-resume-window", long = "upload-resume-window", global = true, env = "CALLVAULT_UPLOAD_RESUME_WINDOW", value_name = "TIME")]
        resume_window: String,
        /// How long a body may pause [default: 30s]
        #[arg(id = "upload-idle", long = "upload-idle", global = true, env = "CALLVAULT_UPLOAD_IDLE", value_name = "TIME")]
        idle: String,
        /// Bytes per second that a body with a Content-Length has at least; 0 switches it off [default: 256]
        #[arg(id = "upload-rate-min", long = "upload-rate-min", global = true, env = "CALLVAULT_UPLOAD_RATE_MIN", value_name = "SIZE")]
        rate_min: String,
        /// Time over which that rate is averaged [default: 60s]
        #[arg(id = "upload-rate-window", long = "upload-rate-window", global = true, env = "CALLVAULT_UPLOAD_RATE_WINDOW", value_name = "TIME")]
        rate_window: String,
        /// How long a request head may take [default: 10s]
        #[arg(id = "upload-header-timeout", long = "upload-header-timeout", global = true, env = "CALLVAULT_UPLOAD_HEADER_TIMEOUT", value_name = "TIME")]
        header_timeout: String,
    }
}

settings! {
    Spool {
        /// Bytes of all recordings on their way [default: 64GiB]
        #[arg(id = "spool-bytes-max", long = "spool-bytes-max", global = true, env = "CALLVAULT_SPOOL_BYTES_MAX", value_name = "SIZE")]
        bytes_max: String,
        /// Recordings on their way [default: 5000000]
        #[arg(id = "spool-count-max", long = "spool-count-max", global = true, env = "CALLVAULT_SPOOL_COUNT_MAX", value_name = "N")]
        count_max: u64,
        /// How often the newest bytes of all calls are made durable [default: 1s]
        #[arg(id = "spool-sync-every", long = "spool-sync-every", global = true, env = "CALLVAULT_SPOOL_SYNC_EVERY", value_name = "TIME")]
        sync_every: String,
        /// Bytes that stay free on the spool's disk [default: 4MiB]
        #[arg(id = "spool-disk-free-min", long = "spool-disk-free-min", global = true, env = "CALLVAULT_SPOOL_DISK_FREE_MIN", value_name = "SIZE")]
        disk_free_min: String,
    }
}

settings! {
    Expire {
        /// How often `serve` runs expire itself, or never [default: 1h]
        #[arg(id = "expire-every", long = "expire-every", global = true, env = "CALLVAULT_EXPIRE_EVERY", value_name = "TIME")]
        every: String,
    }
}

settings! {
    Audit {
        /// How long entries of audit trails are kept, 1mo to 120mo [default: 24mo]
        #[arg(id = "audit-term", long = "audit-term", global = true, env = "CALLVAULT_AUDIT_TERM", value_name = "TERM")]
        term: String,
        /// A playback session that asks for nothing for so long is over, and what it served is written [default: 5m]
        #[arg(id = "audit-session-idle", long = "audit-session-idle", global = true, env = "CALLVAULT_AUDIT_SESSION_IDLE", value_name = "TIME")]
        session_idle: String,
        /// What a session that goes on has served is written at the latest after so long [default: 15m]
        #[arg(id = "audit-session-write", long = "audit-session-write", global = true, env = "CALLVAULT_AUDIT_SESSION_WRITE", value_name = "TIME")]
        session_write: String,
    }
}

settings! {
    Drain {
        /// How long running requests may go on after SIGTERM [default: 10s]
        #[arg(id = "drain-timeout", long = "drain-timeout", global = true, env = "CALLVAULT_DRAIN_TIMEOUT", value_name = "TIME")]
        timeout: String,
    }
}

settings! {
    Postgres {
        /// File of the password, if it does not stand in the URL, readable by nobody else
        #[arg(id = "postgres-password-file", long = "postgres-password-file", global = true, env = "CALLVAULT_POSTGRES_PASSWORD_FILE", value_name = "FILE")]
        password_file: PathBuf,
        /// Connections of one server at once [default: 16]
        #[arg(id = "postgres-pool-max", long = "postgres-pool-max", global = true, env = "CALLVAULT_POSTGRES_POOL_MAX", value_name = "N")]
        pool_max: usize,
        /// How long one statement may take [default: 30s]
        #[arg(id = "postgres-statement-timeout", long = "postgres-statement-timeout", global = true, env = "CALLVAULT_POSTGRES_STATEMENT_TIMEOUT", value_name = "TIME")]
        statement_timeout: String,
        /// How long it may take to connect [default: 5s]
        #[arg(id = "postgres-connect-timeout", long = "postgres-connect-timeout", global = true, env = "CALLVAULT_POSTGRES_CONNECT_TIMEOUT", value_name = "TIME")]
        connect_timeout: String,
        /// How long after its end a recording is told as gone, and not as unknown; at least 672h [default: 9600h, 400 days]
        #[arg(id = "postgres-gone-keep", long = "postgres-gone-keep", global = true, env = "CALLVAULT_POSTGRES_GONE_KEEP", value_name = "TIME")]
        gone_keep: String,
    }
}

settings! {
    Replica {
        /// This server's name among those that share the catalog; it stays with the spool [default: the host's name; callvault over SQLite]
        #[arg(id = "replica-name", long = "replica-name", global = true, env = "CALLVAULT_REPLICA_NAME", value_name = "NAME")]
        name: String,
        /// Where the other servers reach this one, such as http://callvault-0.callvault:8787 [default: nowhere]
        #[arg(id = "replica-url", long = "replica-url", global = true, env = "CALLVAULT_REPLICA_URL", value_name = "URL")]
        url: String,
        /// Playback of a recording that lies in another server's spool: proxy or refuse [default: proxy]
        #[arg(id = "replica-playback", long = "replica-playback", global = true, env = "CALLVAULT_REPLICA_PLAYBACK", value_name = "HOW")]
        playback: String,
    }
}

settings! {
    Oidc {
        /// Provider of single sign-on whose access tokens let people in, as its tokens name it [default: none]
        #[arg(id = "oidc-issuer", long = "oidc-issuer", global = true, env = "CALLVAULT_OIDC_ISSUER", value_name = "URL")]
        issuer: String,
        /// For whom its tokens are, as it knows this vault, separated by commas; needed with an issuer
        #[arg(id = "oidc-audience", long = "oidc-audience", global = true, env = "CALLVAULT_OIDC_AUDIENCE", value_name = "NAME", value_delimiter = ',')]
        audience: Vec<String>,
        /// Where its keys are published [default: as <issuer>/.well-known/openid-configuration says]
        #[arg(id = "oidc-jwks-url", long = "oidc-jwks-url", global = true, env = "CALLVAULT_OIDC_JWKS_URL", value_name = "URL")]
        jwks_url: String,
        /// Authorities of its TLS certificate, PEM [default: the system's]
        #[arg(id = "oidc-ca", long = "oidc-ca", global = true, env = "CALLVAULT_OIDC_CA", value_name = "FILE")]
        ca: PathBuf,
        /// How its tokens may be signed, separated by commas [default: RS256,PS256,ES256,EdDSA]
        #[arg(id = "oidc-algorithms", long = "oidc-algorithms", global = true, env = "CALLVAULT_OIDC_ALGORITHMS", value_name = "NAME", value_delimiter = ',')]
        algorithms: Vec<String>,
        /// By how much its clock and this machine's may differ, 5m at most [default: 60s]
        #[arg(id = "oidc-clock-skew", long = "oidc-clock-skew", global = true, env = "CALLVAULT_OIDC_CLOCK_SKEW", value_name = "TIME")]
        clock_skew: String,
        /// Bytes of a token, 64KiB at most [default: 16KiB]
        #[arg(id = "oidc-token-len-max", long = "oidc-token-len-max", global = true, env = "CALLVAULT_OIDC_TOKEN_LEN_MAX", value_name = "SIZE")]
        token_len_max: String,
        /// How often its keys are fetched [default: 5m]
        #[arg(id = "oidc-keys-refresh", long = "oidc-keys-refresh", global = true, env = "CALLVAULT_OIDC_KEYS_REFRESH", value_name = "TIME")]
        keys_refresh: String,
        /// Between two fetches that unknown keys cause, and after one that failed [default: 10s]
        #[arg(id = "oidc-keys-pause", long = "oidc-keys-pause", global = true, env = "CALLVAULT_OIDC_KEYS_PAUSE", value_name = "TIME")]
        keys_pause: String,
        /// How long fetched keys are used while the provider is down, 168h at most [default: 24h]
        #[arg(id = "oidc-keys-max-age", long = "oidc-keys-max-age", global = true, env = "CALLVAULT_OIDC_KEYS_MAX_AGE", value_name = "TIME")]
        keys_max_age: String,
        /// How long it may take to fetch them [default: 5s]
        #[arg(id = "oidc-timeout", long = "oidc-timeout", global = true, env = "CALLVAULT_OIDC_TIMEOUT", value_name = "TIME")]
        timeout: String,
        /// Claim whose values give scopes: a name, or a JSON pointer such as /realm_access/roles [default: scope]
        #[arg(id = "oidc-scopes-claim", long = "oidc-scopes-claim", global = true, env = "CALLVAULT_OIDC_SCOPES_CLAIM", value_name = "CLAIM")]
        scopes_claim: String,
        /// What the values stand for, lists of scopes; only from the file. callvault:<scope> stands for that scope by itself
        #[arg(skip)]
        scopes: BTreeMap<String, Vec<String>>,
        /// Claim whose values give the tenants that a person may name [default: none, any tenant]
        #[arg(id = "oidc-tenants-claim", long = "oidc-tenants-claim", global = true, env = "CALLVAULT_OIDC_TENANTS_CLAIM", value_name = "CLAIM")]
        tenants_claim: String,
        /// What those values stand for, lists of tenants, or of "*"; only from the file. Without it they are tenants themselves
        #[arg(skip)]
        tenants: BTreeMap<String, Vec<String>>,
    }
}

settings! {
    Link {
        /// How long a playback link lives that names no end [default: 1h]
        #[arg(id = "link-lifetime", long = "link-lifetime", global = true, env = "CALLVAULT_LINK_LIFETIME", value_name = "TIME")]
        lifetime: String,
        /// How long a playback link may live, up to 168h [default: 168h]
        #[arg(id = "link-lifetime-max", long = "link-lifetime-max", global = true, env = "CALLVAULT_LINK_LIFETIME_MAX", value_name = "TIME")]
        lifetime_max: String,
        /// How long one player may go on with one use of a link [default: 4h]
        #[arg(id = "link-session", long = "link-session", global = true, env = "CALLVAULT_LINK_SESSION", value_name = "TIME")]
        session: String,
    }
}

settings! {
    Watch {
        /// Refused requests of one address, or of one token, in watch.window before it is turned away [default: 300]
        #[arg(id = "watch-denied-max", long = "watch-denied-max", global = true, env = "CALLVAULT_WATCH_DENIED_MAX", value_name = "N")]
        denied_max: u32,
        /// Time over which refusals are counted [default: 60s]
        #[arg(id = "watch-window", long = "watch-window", global = true, env = "CALLVAULT_WATCH_WINDOW", value_name = "TIME")]
        window: String,
    }
}

settings! {
    Rate {
        /// Requests of one token in a second, in the long run and but for uploads; 0: any number [default: 200]
        #[arg(id = "rate-requests-per-s", long = "rate-requests-per-s", global = true, env = "CALLVAULT_RATE_REQUESTS_PER_S", value_name = "N")]
        requests_per_s: u32,
        /// Requests of one token at once [default: 2000]
        #[arg(id = "rate-burst", long = "rate-burst", global = true, env = "CALLVAULT_RATE_BURST", value_name = "N")]
        burst: u32,
    }
}

settings! {
    Otlp {
        /// Collector of traces, by OTLP over HTTP: https://, or http:// on loopback, such as http://127.0.0.1:4318 [default: none]
        #[arg(id = "otlp-endpoint", long = "otlp-endpoint", global = true, env = "CALLVAULT_OTLP_ENDPOINT", value_name = "URL")]
        endpoint: String,
        /// Spans that may wait for it; more are dropped [default: 4096]
        #[arg(id = "otlp-queue-max", long = "otlp-queue-max", global = true, env = "CALLVAULT_OTLP_QUEUE_MAX", value_name = "N")]
        queue_max: usize,
        /// How long it may take to answer [default: 5s]
        #[arg(id = "otlp-timeout", long = "otlp-timeout", global = true, env = "CALLVAULT_OTLP_TIMEOUT", value_name = "TIME")]
        timeout: String,
    }
}

impl RawSettings {
    /// Adds what the environment gives as a secret, and what the file says.
    pub(super) fn with_file(mut self) -> Result<RawSettings, ConfigError> {
        if let Ok(value) = std::env::var("CALLVAULT_MASTER_KEY") {
            self.master_key = Some(value);
        }
        let Some(path) = self.config.take() else { return Ok(self) };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ConfigError(format!("the settings file {} cannot be read: {error}", path.display())))?;
        // Secrecy: the parser's message quotes the line, and the line may hold the key; its place is enough.
        let file: RawSettings = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            ConfigError(format!("the settings file {}, line {line}: {}", path.display(), error.message()))
        })?;
        let holds_password = file.catalog.as_ref().is_some_and(|url| !url.starts_with("sqlite:"));
        if file.master_key.is_some() || holds_password {
            super::secret::refuse_readable_by_others(&path)?;
        }
        Ok(self.over(file))
    }
}
