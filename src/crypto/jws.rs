//! Signed statements: a JWS in compact form (RFC 7515) with Ed25519 (RFC 8037), so that any JOSE library reads them.
//!
//! The type of a statement stands in its signed head: what was signed as a receipt is never read as a checkpoint.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::receipt::{Signer, verify_signature};

#[derive(Serialize, Deserialize)]
struct Head {
    alg: String,
    typ: String,
    jwk: Jwk,
}

/// RFC 8037.
#[derive(Serialize, Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
}

/// A kind of statement: `what` for people, `callvault-<what>+jws` as its type.
#[derive(Clone, Copy)]
pub struct Statement(pub &'static str);

impl Statement {
    fn typ(self) -> String {
        format!("callvault-{}+jws", self.0)
    }

    pub fn sign(self, signer: &Signer, body: &impl Serialize) -> String {
        let jwk = Jwk { kty: "OKP".into(), crv: "Ed25519".into(), x: URL_SAFE_NO_PAD.encode(signer.public_key()) };
        let head = Head { alg: "EdDSA".into(), typ: self.typ(), jwk };
        let head = serde_json::to_vec(&head).expect("a head has only texts");
        let body = serde_json::to_vec(body).expect("a statement has only texts and numbers");
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(body));
        let signature = signer.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The body of a statement of this kind whose signature holds under `public_key`; the key in its head is not looked at.
    pub fn read<T: DeserializeOwned>(self, public_key: &[u8; 32], jws: &str) -> Result<T, String> {
        let malformed = || "it is no JWS in compact form".to_owned();
        let (signed, signature) = jws.rsplit_once('.').ok_or_else(malformed)?;
        let (head, body) = signed.split_once('.').ok_or_else(malformed)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed());
        if !verify_signature(public_key, signed.as_bytes(), &decode(signature)?) {
            return Err("its signature does not hold under the public key".into());
        }
        let is_of_kind = serde_json::from_slice::<Head>(&decode(head)?).is_ok_and(|head| head.typ == self.typ());
        let body = serde_json::from_slice(&decode(body)?).ok().filter(|_| is_of_kind);
        body.ok_or_else(|| format!("it is signed, but holds no {}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::SigningSeed;

    #[test]
    fn a_statement_is_read_under_its_key_and_as_its_kind_only() {
        let signer = Signer::new(&SigningSeed::take(&mut [1; 32]));
        let other = Signer::new(&SigningSeed::take(&mut [2; 32]));
        let jws = Statement("receipt").sign(&signer, &7);

        assert_eq!(Statement("receipt").read::<u32>(&signer.public_key(), &jws), Ok(7));
        assert!(Statement("receipt").read::<u32>(&other.public_key(), &jws).is_err());
        assert!(Statement("checkpoint").read::<u32>(&signer.public_key(), &jws).is_err());
        let (signed, _) = jws.rsplit_once('.').expect("three parts");
        assert!(Statement("receipt").read::<u32>(&signer.public_key(), signed).is_err());
    }
}
