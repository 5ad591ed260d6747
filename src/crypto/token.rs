//! Bearer tokens: `cv_`, 32 random bytes in base62 (43 digits), and their CRC-32 in base62 (6 digits).
//!
//! The prefix lets secret scanners find a token that was published, the checksum tells a token cut short from a wrong one
//! without a look-up. Only the SHA-256 is stored: 256 random bits need no slow hash.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::random::random;

const PREFIX: &str = "cv_";
const BODY_LEN: usize = 43;
const CHECK_LEN: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token's text; shown once, never logged.
#[derive(ZeroizeOnDrop)]
pub struct Token(String);

/// What is stored of a token.
#[derive(Clone)]
pub struct TokenHash(pub [u8; 32]);

impl Token {
    pub fn random() -> Token {
        Token::from_secret(&Zeroizing::new(random()))
    }

    pub(super) fn from_secret(secret: &[u8; 32]) -> Token {
        let mut text = String::with_capacity(PREFIX.len() + BODY_LEN + CHECK_LEN);
        text.push_str(PREFIX);
        push_base62(&mut text, secret, BODY_LEN);
        push_base62(&mut text, &crc32fast::hash(secret).to_be_bytes(), CHECK_LEN);
        Token(text)
    }

    /// `None` for what cannot be a token: a wrong prefix, length, digit or checksum.
    pub fn parse(text: &str) -> Option<Token> {
        let digits = text.strip_prefix(PREFIX)?;
        if digits.len() != BODY_LEN + CHECK_LEN || !digits.is_ascii() {
            return None;
        }
        let mut secret = Zeroizing::new([0; 32]);
        base62(&digits[..BODY_LEN], &mut *secret)?;
        let mut check = [0; 4];
        base62(&digits[BODY_LEN..], &mut check)?;
        (check == crc32fast::hash(&*secret).to_be_bytes()).then(|| Token(text.to_owned()))
    }

    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }

    /// For the one time that it is shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Token(REDACTED)")
    }
}

impl TokenHash {
    /// In constant time.
    pub fn matches(&self, other: &TokenHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Big-endian base62 of `bytes`, padded with zeros to `len` digits.
fn push_base62(text: &mut String, bytes: &[u8], len: usize) {
    let mut number = Zeroizing::new(bytes.to_vec());
    let mut digits = Zeroizing::new(vec![b'0'; len]);
    for digit in digits.iter_mut().rev() {
        let mut rest = 0u32;
        for byte in number.iter_mut() {
            let value = rest << 8 | u32::from(*byte);
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        *digit = DIGITS[rest as usize];
    }
    text.extend(digits.iter().map(|digit| char::from(*digit)));
}

/// The reverse; `None` for a wrong digit or a number that does not fit.
fn base62(text: &str, bytes: &mut [u8]) -> Option<()> {
    for digit in text.bytes() {
        let mut carry = DIGITS.iter().position(|d| *d == digit)? as u32;
        for byte in bytes.iter_mut().rev() {
            let value = u32::from(*byte) * 62 + carry;
            *byte = value as u8;
            carry = value >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_parsing_and_every_edit_of_it_is_refused() {
        for secret in [[0; 32], [0xff; 32], random(), random()] {
            let token = Token::from_secret(&secret);
            let text = token.reveal().to_owned();

            assert_eq!(text.len(), 52);
            assert!(Token::parse(&text).expect("it was just made").hash().matches(&token.hash()));
            for position in 0..text.len() {
                let mut edited = text.clone().into_bytes();
                edited[position] = if edited[position] == b'x' { b'y' } else { b'x' };
                assert!(Token::parse(std::str::from_utf8(&edited).expect("ASCII")).is_none());
                assert!(Token::parse(&text[..position]).is_none());
            }
        }
    }

    #[test]
    fn a_token_is_not_printed_by_debug() {
        assert_eq!(format!("{:?}", Token::random()), "Token(REDACTED)");
    }
}
