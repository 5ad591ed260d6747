//! The master key's file: 64 hexadecimal digits (32 raw bytes are read too), mode 0600.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::ConfigError;
use crate::crypto::keys::{KEY_LEN, MasterKey};

/// The example master key, which everyone knows.
pub const EXAMPLE_KEY: &str = include_str!("../../keys-example/master.key");

pub fn read_key(path: &Path) -> Result<MasterKey, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| {
        ConfigError(format!(
            "the master key {} cannot be read: {error}; 'callvault init' makes one for a new vault",
            path.display()
        ))
    })?;
    let key = parse_key(bytes)?;
    // A key that everyone knows needs no hiding; a checkout of the repository cannot hide it.
    if !is_example(&key) {
        refuse_readable_by_others(path)?;
    }
    Ok(key)
}

/// Writes a key file that did not exist, durably.
pub fn write_key(path: &Path, key: &MasterKey) -> Result<(), ConfigError> {
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let text = Zeroizing::new(format!("{}\n", &*key_text(key)));
        file.write_all(text.as_bytes())?;
        // Durability: a vault whose key was lost to a power cut after `init` is lost.
        file.sync_all()?;
        match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => std::fs::File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    })();
    written.map_err(|error: std::io::Error| {
        ConfigError(format!("the master key {} cannot be written: {error}", path.display()))
    })
}

pub fn key_text(key: &MasterKey) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY_LEN));
    for byte in key.expose() {
        text.push(char::from_digit(u32::from(byte >> 4), 16).expect("4 bits"));
        text.push(char::from_digit(u32::from(byte & 15), 16).expect("4 bits"));
    }
    text
}

/// 64 hexadecimal digits and white space around them, or 32 raw bytes.
pub(super) fn parse_key(bytes: Vec<u8>) -> Result<MasterKey, ConfigError> {
    let bytes = Zeroizing::new(bytes);
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if bytes.len() == KEY_LEN {
        key.copy_from_slice(&bytes);
        return Ok(MasterKey::take(&mut key));
    }
    let digits = bytes.trim_ascii();
    let value = |digit: u8| char::from(digit).to_digit(16);
    let sound = digits.len() == 2 * KEY_LEN && digits.iter().all(|digit| value(*digit).is_some());
    if !sound {
        return Err(ConfigError("a master key is 64 hexadecimal digits; 'callvault key generate' makes one".into()));
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (value(pair[0]).expect("checked") << 4 | value(pair[1]).expect("checked")) as u8;
    }
    Ok(MasterKey::take(&mut key))
}

pub(super) fn is_example(key: &MasterKey) -> bool {
    let example = parse_key(EXAMPLE_KEY.as_bytes().to_vec()).expect("the example key is well-formed");
    key.expose().ct_eq(example.expose()).into()
}

/// A file that holds a secret is for its owner, and his group, alone.
pub fn refuse_readable_by_others(path: &Path) -> Result<(), ConfigError> {
    let unreadable = |error| ConfigError(format!("{} cannot be read: {error}", path.display()));
    let mode = std::fs::metadata(path).map_err(unreadable)?.mode();
    if mode & 0o007 != 0 {
        let place = path.display();
        return Err(ConfigError(format!("{place} holds a secret and others can read it: chmod 600 {place}")));
    }
    Ok(())
}

/// A password is the file's text without the line end that editors leave.
pub(super) fn read_password(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| ConfigError(format!("postgres.password_file {}: {error}", path.display())))?;
    refuse_readable_by_others(path)?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

pub fn key_from_text(text: &str) -> Result<MasterKey, ConfigError> {
    parse_key(text.as_bytes().to_vec())
}
