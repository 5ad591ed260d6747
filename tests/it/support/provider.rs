//! A provider of single sign-on: it serves discovery and keys on loopback, counts who asks, and signs tokens, also hostile ones.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::secured::Pair;

/// How it answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Mood {
    Serving,
    /// Connections are closed without a word.
    Down,
    /// They are kept, and nothing is said.
    Silent,
    /// This status, with this body, and this `Location`.
    Saying(u16, String, Option<String>),
    /// Its keys are served this much later.
    Slow(Duration),
}

/// A provider that serves until it is dropped.
pub struct Provider {
    pub issuer: String,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    issuer: String,
    keys: Mutex<Vec<Value>>,
    /// Instead of its own description of itself.
    discovery: Mutex<Option<Value>>,
    mood: Mutex<Mood>,
    asked_for_keys: AtomicUsize,
    is_over: Mutex<bool>,
    tls: Option<Arc<ServerConfig>>,
}

impl Provider {
    /// By plain HTTP.
    pub fn start(keys: &[&SigningKey]) -> Provider {
        Provider::serve(keys, None)
    }

    pub fn start_secured(keys: &[&SigningKey], pair: &Pair) -> Provider {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&pair.cert).expect("a file").collect();
        let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("both versions").with_no_client_auth();
        let config = builder.with_single_cert(chain.expect("certificates"), key).expect("they belong together");
        Provider::serve(keys, Some(Arc::new(config)))
    }

    fn serve(keys: &[&SigningKey], tls: Option<Arc<ServerConfig>>) -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let issuer = format!("{scheme}://{address}/realms/staff");
        let shared = Arc::new(Shared {
            issuer: issuer.clone(),
            keys: Mutex::default(),
            discovery: Mutex::default(),
            mood: Mutex::new(Mood::Serving),
            asked_for_keys: AtomicUsize::new(0),
            is_over: Mutex::new(false),
            tls,
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if *serving.is_over.lock().expect("a lock") {
                    return;
                }
                let serving = serving.clone();
                std::thread::spawn(move || serving.answer_one(stream));
            }
        });
        let provider = Provider { issuer, address, shared };
        provider.publish(keys);
        provider
    }

    pub fn publish(&self, keys: &[&SigningKey]) {
        self.publish_raw(keys.iter().map(|key| key.jwk()).collect());
    }

    pub fn publish_raw(&self, keys: Vec<Value>) {
        *self.shared.keys.lock().expect("a lock") = keys;
    }

    pub fn describe_as(&self, discovery: Value) {
        *self.shared.discovery.lock().expect("a lock") = Some(discovery);
    }

    pub fn be(&self, mood: Mood) {
        *self.shared.mood.lock().expect("a lock") = mood;
    }

    pub fn keys_url(&self) -> String {
        self.shared.keys_url()
    }

    /// How often its keys were asked for.
    pub fn asked_for_keys(&self) -> usize {
        self.shared.asked_for_keys.load(SeqCst)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        *self.shared.is_over.lock().expect("a lock") = true;
        // Its thread waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn keys_url(&self) -> String {
        format!("{}/protocol/openid-connect/certs", self.issuer)
    }

    fn answer_one(&self, stream: TcpStream) {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        match &self.tls {
            None => self.answer(stream),
            Some(config) => {
                let connection = ServerConnection::new(config.clone()).expect("a server");
                self.answer(StreamOwned::new(connection, stream));
            }
        }
    }

    fn answer(&self, mut stream: impl Read + Write) {
        let Some(target) = read_head(&mut stream) else { return };
        let is_for_keys = self.keys_url().ends_with(&target);
        if is_for_keys {
            self.asked_for_keys.fetch_add(1, SeqCst);
        }
        let mood = self.mood.lock().expect("a lock").clone();
        let (status, body, location) = match mood {
            Mood::Down => return,
            Mood::Silent => {
                let _ = stream.read(&mut [0; 1]);
                return;
            }
            Mood::Saying(status, body, location) => (status, body, location),
            Mood::Serving | Mood::Slow(_) if is_for_keys => {
                if let Mood::Slow(pause) = mood {
                    std::thread::sleep(pause);
                }
                (200, json!({ "keys": *self.keys.lock().expect("a lock") }).to_string(), None)
            }
            Mood::Serving | Mood::Slow(_) if target.ends_with("/.well-known/openid-configuration") => {
                let own = json!({ "issuer": self.issuer, "jwks_uri": self.keys_url(), "token_endpoint": "x" });
                (200, self.discovery.lock().expect("a lock").clone().unwrap_or(own).to_string(), None)
            }
            _ => (404, String::new(), None),
        };
        let location = location.map_or(String::new(), |place| format!("Location: {place}\r\n"));
        let len = body.len();
        let head =
            format!("HTTP/1.1 {status} X\r\n{location}Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        let _ = stream.flush();
    }
}

/// The target of a request.
fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    for line in lines {
        if line.ok()?.is_empty() {
            return first.split(' ').nth(1).map(str::to_owned);
        }
    }
    None
}

/// A key of a provider, or of somebody who would be one.
pub struct SigningKey {
    pub kid: String,
    pub algorithm: &'static str,
    pair: SigningPair,
}

enum SigningPair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    pub fn new(algorithm: &'static str, kid: &str) -> SigningKey {
        let ecdsa = |curve| SigningPair::Ecdsa(EcdsaKeyPair::generate(curve).expect("a key"));
        let pair = match algorithm {
            "ES256" => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            "EdDSA" => SigningPair::Ed25519(Ed25519KeyPair::generate().expect("a key")),
            _ => SigningPair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")),
        };
        SigningKey { kid: kid.to_owned(), algorithm, pair }
    }

    /// As the provider publishes it.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            SigningPair::Rsa(pair) => {
                let (modulus, exponent) = (pair.public_key().modulus(), pair.public_key().exponent());
                json!({
                    "kty": "RSA",
                    "n": URL_SAFE_NO_PAD.encode(modulus.big_endian_without_leading_zero()),
                    "e": URL_SAFE_NO_PAD.encode(exponent.big_endian_without_leading_zero()),
                })
            }
            SigningPair::Ecdsa(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": curve, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
            }
            SigningPair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()) })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public half of an RSA key, in DER.
    pub fn public_der(&self) -> Vec<u8> {
        match &self.pair {
            SigningPair::Rsa(pair) => pair.public_key().as_der().expect("an encoding").as_ref().to_vec(),
            _ => panic!("only RSA keys are mistaken for secrets"),
        }
    }

    pub fn header(&self) -> Value {
        json!({ "alg": self.algorithm, "kid": self.kid, "typ": "at+jwt" })
    }

    /// An access token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// Signs whatever these texts are, with the key's own algorithm.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.signature(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn signature(&self, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            SigningPair::Ed25519(pair) => pair.sign(signed).as_ref().to_vec(),
            SigningPair::Ecdsa(pair) => pair.sign(&random, signed).expect("signed").as_ref().to_vec(),
            SigningPair::Rsa(pair) => {
                let padding: &dyn signature::RsaEncoding = match self.algorithm {
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, signed, &mut bytes).expect("signed");
                bytes
            }
        }
    }
}
