//! What no file may hold: a token that counts. Every vault of every test is gone through when it is dropped: its logs, its
//! catalog, its spool, whatever a test put beside them.

use std::path::Path;

use callvault::crypto::token::Token;
use memchr::memmem::find_iter;

const PREFIX: &[u8] = b"cv_";
/// Base62 digits behind the prefix: 256 bits and their checksum.
const DIGITS: usize = 49;

/// # Panics
/// If a file below this directory holds a token.
pub fn assert_no_token(dir: &Path) {
    for file in super::files(dir) {
        // One that went meanwhile holds nothing.
        let Ok(bytes) = std::fs::read(&file) else { continue };
        assert!(!holds_a_token(&bytes), "a token stands in {}", file.display());
    }
}

fn holds_a_token(bytes: &[u8]) -> bool {
    find_iter(bytes, PREFIX).any(|at| {
        let text = bytes.get(at..at + PREFIX.len() + DIGITS);
        text.and_then(|text| std::str::from_utf8(text).ok()).is_some_and(|text| Token::parse(text).is_some())
    })
}

#[test]
fn a_token_is_found_wherever_it_stands_and_what_only_looks_like_one_is_not() {
    let token = Token::random();
    let text = token.reveal();

    for around in [text.to_owned(), format!("a line\ncv_cv_{text}\n"), format!("\"{text}\"")] {
        assert!(holds_a_token(around.as_bytes()));
    }
    for none in [&text[1..], &text[..text.len() - 1], "cv_", &text.replace("cv_", "cv-")] {
        assert!(!holds_a_token(none.as_bytes()));
    }
}
