//! Rust source as the rules of `tidy` look at it: code apart from comments and strings, the paths in it, its functions.
//!
//! No parser of the language: it knows just enough that a word in a comment or a string is not taken for code.

use std::path::Path;

/// One file.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments and the insides of strings and characters blanked; lines and columns are kept.
    pub code: String,
    /// The text with everything but comments blanked.
    pub comments: String,
}

/// A path such as `crate::crypto::keys::Kek`, with groups written out, and the line on which it begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    pub line: usize,
    pub segments: Vec<String>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub line: usize,
    pub name: String,
    /// Lines from its head to its last brace that hold code.
    pub len: usize,
    pub is_test: bool,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let (code, comments) = split(text);
        Source { path: path.to_owned(), text: text.to_owned(), code, comments }
    }

    /// Every `.rs` file below the folders that exist, by path.
    pub fn all(root: &Path, folders: &[&str]) -> Vec<Source> {
        let mut sources = Vec::new();
        for folder in folders.iter().map(|folder| root.join(folder)).filter(|folder| folder.exists()) {
            for file in
                crate::support::files(&folder).into_iter().filter(|file| file.extension().is_some_and(|e| e == "rs"))
            {
                let path =
                    file.strip_prefix(root).expect("the file lies below the root").to_string_lossy().replace('\\', "/");
                let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
                sources.push(Source::new(&path, &text));
            }
        }
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        sources
    }

    /// The folder or file directly below `src/`: `crypto` of `src/crypto/ring.rs`.
    pub fn module(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        Some(inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs"))
    }

    /// Modules between the crate and this file: `["crypto", "ring"]`.
    pub fn module_path(&self) -> Vec<&str> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path).trim_end_matches(".rs");
        inner.split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main")).collect()
    }

    /// Identifiers and keywords in code, each with its line.
    pub fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.lines().enumerate();
        lines.flat_map(|(index, line)| {
            line.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).map(move |word| (index + 1, word))
        })
    }

    pub fn paths(&self) -> Vec<Named> {
        let mut reader = PathReader { chars: self.code.chars().collect(), at: 0, line: 1, found: Vec::new() };
        while reader.at < reader.chars.len() {
            if reader.begins_word() { reader.read(&[]) } else { reader.step() }
        }
        reader.found
    }

    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            let is_word_end = self.code[..at].chars().next_back().is_some_and(is_word);
            let rest = &self.code[at + 3..];
            let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
            if is_word_end || name.is_empty() {
                continue;
            }
            let Some(body_len) = body_len(rest) else { continue };
            let lines = rest[..body_len].lines().filter(|line| !line.trim().is_empty());
            functions.push(Function {
                line: self.code[..at].matches('\n').count() + 1,
                len: lines.count(),
                is_test: has_test_attribute(&self.code[..at]),
                name,
            });
        }
        functions
    }
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the body that begins in `rest` ends; `None` for a function without one, as in a trait.
fn body_len(rest: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0usize, 0usize);
    for (at, c) in rest.char_indices() {
        match c {
            // The `;` of an array's type in the signature ends nothing.
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' if braces <= 1 => return Some(at + 1),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

/// Whether the attributes that stand directly before a function make it a test.
fn has_test_attribute(before: &str) -> bool {
    let head = before.rfind([';', '}', '{']).map_or(before, |at| &before[at + 1..]);
    head.contains("#[test]") || head.contains("#[tokio::test")
}

struct PathReader {
    chars: Vec<char>,
    at: usize,
    line: usize,
    found: Vec<Named>,
}

impl PathReader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn step(&mut self) {
        if self.peek(0) == Some('\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    fn begins_word(&self) -> bool {
        self.peek(0).is_some_and(is_word)
    }

    fn skip_space(&mut self) {
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.step();
        }
    }

    /// Reads one path from here, and the group that it may end with.
    fn read(&mut self, prefix: &[String]) {
        let line = self.line;
        let mut segments = prefix.to_vec();
        loop {
            let mut word = String::new();
            while let Some(c) = self.peek(0).filter(|c| is_word(*c)) {
                word.push(c);
                self.step();
            }
            segments.push(word);
            if !(self.peek(0) == Some(':') && self.peek(1) == Some(':')) {
                break;
            }
            self.at += 2;
            self.skip_space();
            match self.peek(0) {
                Some('{') => {
                    self.step();
                    return self.read_group(&segments);
                }
                Some(c) if is_word(c) => {}
                _ => break,
            }
        }
        self.found.push(Named { line, segments });
    }

    fn read_group(&mut self, prefix: &[String]) {
        loop {
            self.skip_space();
            match self.peek(0) {
                None => return,
                Some('}') => return self.step(),
                Some(c) if is_word(c) => {
                    self.read(prefix);
                    self.skip_rename();
                }
                Some(_) => self.step(),
            }
        }
    }

    /// The new name in `a as b` is no path of its own.
    fn skip_rename(&mut self) {
        while self.peek(0).is_some_and(|c| !matches!(c, ',' | '}')) {
            self.step();
        }
    }
}

/// Code and comments, each with the rest blanked.
fn split(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::with_capacity(text.len()), String::with_capacity(text.len()));
    let mut at = 0;
    while at < chars.len() {
        let (end, kind) = token(&chars, at);
        for c in &chars[at..end] {
            let blank = if *c == '\n' { '\n' } else { ' ' };
            code.push(if kind == Kind::Code { *c } else { blank });
            comments.push(if kind == Kind::Comment { *c } else { blank });
        }
        at = end;
    }
    (code, comments)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Quoted,
}

/// Where the token that begins at `at` ends, and what it is.
fn token(chars: &[char], at: usize) -> (usize, Kind) {
    let peek = |ahead: usize| chars.get(at + ahead).copied().unwrap_or('\0');
    match (peek(0), peek(1)) {
        ('/', '/') => (find(chars, at, |rest| rest[0] == '\n'), Kind::Comment),
        ('/', '*') => (block_comment_end(chars, at), Kind::Comment),
        ('"', _) => (quoted_end(chars, at + 1, '"'), Kind::Quoted),
        ('\'', '\\') => (quoted_end(chars, at + 1, '\''), Kind::Quoted),
        // A lifetime has no second quote.
        ('\'', _) if peek(2) == '\'' => (at + 3, Kind::Quoted),
        (first, _) if is_word(first) => {
            let end = find(chars, at, |rest| !is_word(rest[0]));
            let is_raw = matches!(chars[at..end], ['r'] | ['b' | 'c', 'r']);
            match is_raw.then(|| raw_end(chars, end)).flatten() {
                Some(raw_end) => (raw_end, Kind::Quoted),
                None => (end, Kind::Code),
            }
        }
        _ => (at + 1, Kind::Code),
    }
}

fn find(chars: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|at| is_end(&chars[*at..])).unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < chars.len() {
        match chars[at..] {
            ['/', '*', ..] => (at, depth) = (at + 2, depth + 1),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of a raw string whose `r` ends at `from`; `None` where there is none.
fn raw_end(chars: &[char], from: usize) -> Option<usize> {
    let hashes = chars[from..].iter().take_while(|c| **c == '#').count();
    if chars.get(from + hashes) != Some(&'"') {
        return None;
    }
    let is_end =
        |rest: &[char]| rest[0] == '"' && rest[1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    Some((find(chars, from + hashes + 1, is_end) + 1 + hashes).min(chars.len()))
}
