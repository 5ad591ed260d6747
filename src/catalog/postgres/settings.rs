//! Where the database is, and how it is used: from a URL and a few limits.
//!
//! # Secrecy
//! The URL holds a password. It is in no error and in no `Debug`; a refusal repeats nothing of the URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// Limits of this backend; `config` has their defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, besides one for each lease.
    pub pool_max: usize,
    pub statement_timeout: Duration,
    pub connect_timeout: Duration,
    /// How long after its end a recording answers that it is gone, before it was never there.
    pub gone_keep: Duration,
}

/// What `sslmode` asks for, as libpq means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    Disable,
    /// TLS where the server offers it, by whatever certificate: the default of libpq.
    Prefer,
    /// TLS or nothing, by whatever certificate unless `sslrootcert` names whom to trust.
    Require,
    /// TLS by a certificate of an authority that is trusted.
    VerifyCa,
    /// And for the host of the URL.
    VerifyFull,
}

#[derive(Clone)]
pub struct Settings {
    pub(super) server: Config,
    pub(super) tls: Tls,
    /// A file of trusted certificates in PEM; the system's when there is none.
    pub(super) root_cert: Option<PathBuf>,
    pub(super) limits: Limits,
}

const FORM: &str = "catalog: write it as postgres://<user>:<password>@<host>:<port>/<database>?sslmode=verify-full; a \
                    character of the password that is no letter or digit as %XX, or the whole of it into \
                    postgres.password_file. Options: sslmode (disable, prefer, require, verify-ca, verify-full), sslrootcert, \
                    and those of tokio-postgres";

impl Settings {
    /// # Errors
    /// What to write instead, without a word of what was written.
    pub fn parse(url: &str, password: Option<&str>, limits: Limits) -> Result<Settings, String> {
        // A question mark of the password is the password's.
        let login = url.rfind('@').unwrap_or(0);
        let (place, options) = match url[login..].find('?') {
            Some(mark) => (&url[..login + mark], &url[login + mark + 1..]),
            None => (url, ""),
        };
        let (mut tls, mut root_cert, mut others) = (Tls::Prefer, None, Vec::new());
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("sslmode", mode)) => tls = mode.parse()?,
                Some(("sslrootcert", file)) => root_cert = (file != "system").then(|| decoded(file)).transpose()?,
                _ => others.push(option),
            }
        }
        // Secrecy: the parser's message may quote what it did not understand.
        let mut server: Config = format!("{place}?{}", others.join("&")).parse().map_err(|_| FORM.to_owned())?;
        let is_named = |name: Option<&str>| name.is_some_and(|name| !name.is_empty());
        if server.get_hosts().is_empty() || !is_named(server.get_user()) || !is_named(server.get_dbname()) {
            return Err(FORM.to_owned());
        }
        if let Some(password) = password {
            if server.get_password().is_some() {
                return Err("catalog holds a password and postgres.password_file is given: give one, not both".into());
            }
            server.password(password);
        }
        server.ssl_mode(match tls {
            Tls::Disable => SslMode::Disable,
            Tls::Prefer => SslMode::Prefer,
            Tls::Require | Tls::VerifyCa | Tls::VerifyFull => SslMode::Require,
        });
        if server.get_application_name().is_none() {
            server.application_name("callvault");
        }
        server.connect_timeout(limits.connect_timeout);
        // A server whose machine is gone is found dead within half a minute.
        server
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        server.tcp_user_timeout(Duration::from_secs(30));
        Ok(Settings { server, tls, root_cert, limits })
    }

    /// `host:port/database`.
    pub fn place(&self) -> String {
        let hosts = self.server.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(dir) => dir.display().to_string(),
        });
        let hosts = hosts.collect::<Vec<_>>().join(",");
        let port = self.server.get_ports().first().copied().unwrap_or(5432);
        format!("{hosts}:{port}/{}", self.server.get_dbname().unwrap_or_default())
    }

    pub(super) fn user(&self) -> &str {
        self.server.get_user().unwrap_or_default()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "postgres://{} ({:?}, {:?})", self.place(), self.tls, self.limits)
    }
}

impl FromStr for Tls {
    type Err = String;

    fn from_str(mode: &str) -> Result<Tls, String> {
        match mode {
            "disable" => Ok(Tls::Disable),
            "prefer" | "allow" => Ok(Tls::Prefer),
            "require" => Ok(Tls::Require),
            "verify-ca" => Ok(Tls::VerifyCa),
            "verify-full" => Ok(Tls::VerifyFull),
            _ => Err(FORM.to_owned()),
        }
    }
}

/// `%XX` as the byte that it stands for.
fn decoded(text: &str) -> Result<PathBuf, String> {
    use std::os::unix::ffi::OsStringExt;
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(|| FORM.to_owned())?;
        bytes.push(byte);
        rest = &rest[2..];
    }
    Ok(std::ffi::OsString::from_vec(bytes).into())
}
