//! The few header fields of resumable uploads that have a form: items of RFC 9651, and the file name of RFC 6266.
//!
//! What does not have the form is as if it were not there; a field that a request needs is then missing, and it is told so.

use hyper::HeaderMap;

// Limit: RFC 9651 section 3.3.1, so that every recipient can hold the number exactly.
const INTEGER_DIGITS_MAX: usize = 15;

/// A Boolean: `?0` or `?1`.
pub fn boolean(headers: &HeaderMap, name: &str) -> Option<bool> {
    match bare_item(headers, name)? {
        "?0" => Some(false),
        "?1" => Some(true),
        _ => None,
    }
}

/// A non-negative Integer.
pub fn integer(headers: &HeaderMap, name: &str) -> Option<u64> {
    let digits = bare_item(headers, name)?;
    let is_number = (1..=INTEGER_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

/// The field's one Item, without its parameters: the fields in here have none that mean anything.
fn bare_item<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let text = single(headers, name)?.trim_matches(' ');
    let (item, parameters) = text.split_once(';').map_or((text, None), |(item, rest)| (item, Some(rest)));
    let is_sound = parameters.is_none_or(|parameters| parameters.split(';').all(is_parameter));
    is_sound.then_some(item)
}

/// `key` or `key=value`. A quoted value with a semicolon in it is no parameter here, so that the field counts as malformed.
fn is_parameter(text: &str) -> bool {
    let text = text.trim_start_matches(' ');
    let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
    let is_key_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b);
    let is_key = key.starts_with(|c: char| c.is_ascii_lowercase() || c == '*') && key.bytes().all(is_key_byte);
    let is_value = |value: &str| {
        let quotes = value.matches('"').count();
        let is_string = quotes == 2 && value.len() > 1 && value.starts_with('"') && value.ends_with('"');
        is_string || (quotes == 0 && !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic()))
    };
    is_key && value.is_none_or(is_value)
}

/// The field's one line. Two are a List, and not an Item.
pub fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?;
    line.to_str().ok()
}

/// The file name of a `Content-Disposition`: `filename*`, which may hold any text, before `filename`.
pub fn file_name(headers: &HeaderMap) -> Option<String> {
    let mut rest = single(headers, "content-disposition")?.split_once(';')?.1;
    let mut plain = None;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = parameter_value(after.trim_start())?;
        match key.trim().to_ascii_lowercase().as_str() {
            "filename*" => return extended(&value).or(plain),
            "filename" => plain = Some(value),
            _ => {}
        }
        match after.trim_start().strip_prefix(';') {
            Some(more) => rest = more,
            None => return plain,
        }
    }
}

/// A token, or a quoted string without its quotes and backslashes; and what stands behind it.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((text[..end].trim_end().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// RFC 8187: `UTF-8'<language>'<percent-encoded>`.
fn extended(text: &str) -> Option<String> {
    let mut parts = text.splitn(3, '\'');
    let (charset, _, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let mut bytes = Vec::new();
    let mut rest = encoded.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                (digit(*high)? << 4 | digit(*low)?, after)
            }
            (b'%', _) => return None,
            plain => plain,
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
        let lines = lines.iter().map(|line| HeaderValue::from_bytes(line.as_bytes()).expect("a header value"));
        lines.map(|line| (HeaderName::from_static(name), line)).collect()
    }

    #[test]
    fn only_an_item_of_the_right_type_is_read() {
        let offset = |line: &str| integer(&headers("upload-offset", &[line]), "upload-offset");
        let complete = |line: &str| boolean(&headers("upload-complete", &[line]), "upload-complete");

        assert_eq!([offset("0"), offset(" 007 "), offset("25;a;b=1")], [Some(0), Some(7), Some(25)]);
        assert_eq!(offset("999999999999999"), Some(999_999_999_999_999));
        for wrong in ["", "-1", "+1", "1.0", "1 2", "1, 2", "0x1", "?1", "\"1\"", ":MQ==:", "1;", "1;A", "1;a="] {
            assert_eq!(offset(wrong), None, "{wrong}");
        }
        assert_eq!(offset("1000000000000000"), None);
        assert_eq!([complete("?0"), complete("?1"), complete("?1;a=\"b\"")], [Some(false), Some(true), Some(true)]);
        for wrong in ["", "1", "true", "?2", "?", "?1 ?1", "? 1"] {
            assert_eq!(complete(wrong), None, "{wrong}");
        }
        assert_eq!(integer(&headers("upload-offset", &["1", "1"]), "upload-offset"), None);
    }

    #[test]
    fn a_file_name_is_read_in_both_of_its_forms() {
        let name = |line: &str| file_name(&headers("content-disposition", &[line]));

        assert_eq!(name("inline; filename=call.wav").as_deref(), Some("call.wav"));
        assert_eq!(name(r#"inline; x=1; FileName = "a;\"b\".wav""#).as_deref(), Some(r#"a;"b".wav"#));
        assert_eq!(name("inline; filename=\"a.wav\"; filename*=UTF-8''%C3%A9.wav").as_deref(), Some("é.wav"));
        assert_eq!(name("inline; filename*=utf-8'nl'a%20b; filename=c").as_deref(), Some("a b"));
        assert_eq!(name("inline; filename=a; filename*=UTF-8''%ff").as_deref(), Some("a"));
        for without in ["inline", "inline; filename", "inline; filename=\"a", "inline; filename*=UTF-8''%4"] {
            assert_eq!(name(without), None, "{without}");
        }
    }
}
