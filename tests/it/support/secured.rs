//! TLS as clients have it: an authority of the test's own, a server with its certificate, curl, and a stream to write on.

use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use super::{Server, Vault};

/// An authority, with its certificate in a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub file: PathBuf,
}

/// A certificate and its key, in files.
#[derive(Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// `<name>.pem` in this directory.
    pub fn new(dir: &Path, name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let file = dir.join(name).with_extension("pem");
        std::fs::write(&file, issuer.pem()).expect("written");
        Authority { issuer, file }
    }

    /// A certificate for a server on this machine, as `<name>.crt` and `<name>.key` beside the authority's.
    pub fn server(&self, name: &str) -> Pair {
        self.sign(name, ExtendedKeyUsagePurpose::ServerAuth, |_| {})
    }

    pub fn client(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        self.sign(name, ExtendedKeyUsagePurpose::ClientAuth, change)
    }

    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("two names");
        params.insert_extended_key_usage(usage);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let pair = Pair {
            cert: self.file.with_file_name(name).with_extension("crt"),
            key: self.file.with_file_name(name).with_extension("key"),
        };
        std::fs::write(&pair.cert, cert.pem()).expect("written");
        write_secret(&pair.key, &key.serialize_pem());
        pair
    }
}

fn write_secret(path: &Path, text: &str) {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
}

/// A vault whose server has a certificate.
pub struct Secured {
    pub server: Server,
    pub authority: Authority,
    pub pair: Pair,
    pub vault: Vault,
}

/// What curl got.
#[derive(Debug)]
pub struct Fetched {
    /// curl's own: 0 where an answer came.
    pub exit: i32,
    /// "1.1" or "2".
    pub version: String,
    pub status: u16,
    /// As they came, names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Secured {
    pub fn start(args: &[&str]) -> Secured {
        let vault = Vault::new();
        let authority = Authority::new(vault.dir.path(), "authority");
        let pair = authority.server("server");
        let server = serve(&vault, &pair, args);
        Secured { server, authority, pair, vault }
    }

    /// A server of this vault, with these settings besides.
    pub fn serve(&self, args: &[&str]) -> Server {
        serve(&self.vault, &self.pair, args)
    }

    /// A request by curl, with the vault's token.
    pub fn curl(&self, target: &str, args: &[&str]) -> Fetched {
        self.curl_by(&self.authority.file, target, args)
    }

    /// The same by a client that knows another authority.
    pub fn curl_by(&self, authority: &Path, target: &str, args: &[&str]) -> Fetched {
        let place = self.vault.dir.path().join(format!("curl-{}", super::unique()));
        let (head, body) = (place.with_extension("head"), place.with_extension("body"));
        let mut command = self.curl_command(authority, target, args);
        command.arg("-D").arg(&head).arg("-o").arg(&body).args(["-w", "%{http_version} %{http_code}"]);
        let output = command.output().expect("these tests need curl");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let (version, status) = told.split_once(' ').expect("both were asked for");
        let head = std::fs::read_to_string(head).unwrap_or_default();
        let last = head.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default();
        let headers = last.lines().skip(1).filter_map(|line| line.split_once(':'));
        Fetched {
            exit: output.status.code().unwrap_or(-1),
            version: version.to_owned(),
            status: status.parse().expect("a number"),
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect(),
            body: std::fs::read(body).unwrap_or_default(),
        }
    }

    /// curl that sends what is written to its stdin, as it comes.
    pub fn curl_from_pipe(&self, target: &str, args: &[&str]) -> Child {
        let mut command = self.curl_command(&self.authority.file, target, args);
        command.args(["-T", "-", "-w", "%{http_code}", "-o", "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("these tests need curl")
    }

    fn curl_command(&self, authority: &Path, target: &str, args: &[&str]) -> Command {
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "--max-time", "60", "--cacert"]).arg(authority);
        // An empty field is none: the client shows something else, or nothing.
        if !args.contains(&"Authorization:") {
            command.args(["-H", &format!("Authorization: Bearer {}", self.vault.token)]);
        }
        command.args(args);
        command.arg(format!("{}{target}", self.server.url));
        command
    }

    /// A recording of these bytes under a name; its id.
    pub fn put(&self, name: &str, bytes: &[u8], args: &[&str]) -> String {
        let file = self.vault.beside(&format!("body-{}", super::unique()));
        std::fs::write(&file, bytes).expect("written");
        let path = file.to_string_lossy();
        let put = self.curl(&format!("/v1/recordings/{name}"), &[&["-T", &*path], args].concat());
        assert_eq!((put.exit, put.status), (0, 201), "{put:?}");
        super::id_of(&put.json())
    }

    pub fn play(&self, id: &str, args: &[&str]) -> Fetched {
        self.curl(&super::wire::audio(id), args)
    }

    pub fn list(&self, query: &str) -> Vec<Value> {
        let listed = self.curl(&format!("/v1/recordings?{query}"), &[]).json();
        listed["recordings"].as_array().unwrap_or_else(|| panic!("no listing: {listed}")).clone()
    }

    /// A secured stream to write HTTP on; `protocols` as ALPN has them.
    pub fn connect(&self, protocols: &[&str]) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.authority.file).expect("a certificate")).expect("an authority");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.expect("both versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = "127.0.0.1".try_into().expect("an address");
        let tcp = TcpStream::connect(self.server.address()).expect("the server listens");
        tcp.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("a client"), tcp)
    }
}

fn serve(vault: &Vault, pair: &Pair, args: &[&str]) -> Server {
    let (cert, key) = (pair.cert.to_string_lossy(), pair.key.to_string_lossy());
    vault.serve_with(&[&["--tls-cert", &*cert, "--tls-key", &*key], args].concat(), None)
}

impl Fetched {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The one value of a header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}
