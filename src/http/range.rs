//! Which bytes a playback request asks for (RFC 9110 sections 13 and 14).

use http_range_header::parse_range_header;
use hyper::HeaderMap;
use hyper::header::{HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};

use crate::model::range::ByteRange;

/// What the conditions and the range of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// 200: no range, several ranges, a range that cannot be read, or `If-Range` for another version.
    Whole,
    /// 206.
    Part(ByteRange),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    NotSatisfiable,
}

/// `etag` is strong, in quotes. A range counts only for GET.
pub fn asked(headers: &HeaderMap, is_get: bool, etag: &str, plain_len: u64) -> Asked {
    if headers.contains_key(IF_MATCH) && !any_matches(headers, IF_MATCH, |tag| tag == etag) {
        return Asked::PreconditionFailed;
    }
    // Weak comparison (section 13.1.2).
    if any_matches(headers, IF_NONE_MATCH, |tag| tag.strip_prefix("W/").unwrap_or(tag) == etag) {
        return Asked::NotModified;
    }
    let Some(range) = headers.get(RANGE).filter(|_| is_get).and_then(|value| value.to_str().ok()) else {
        return Asked::Whole;
    };
    // A date never matches: recordings carry no Last-Modified.
    if headers.get(IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes()) {
        return Asked::Whole;
    }
    let Ok(ranges) = parse_range_header(range) else { return Asked::Whole };
    match ranges.validate(plain_len) {
        Ok(ranges) => match ranges.as_slice() {
            [range] => {
                ByteRange::new(*range.start(), *range.end(), plain_len).map_or(Asked::NotSatisfiable, Asked::Part)
            }
            _ => Asked::Whole,
        },
        Err(_) if range.contains(',') => Asked::Whole,
        Err(_) => Asked::NotSatisfiable,
    }
}

/// Whether a list of entity tags, or `*`, has one that matches.
fn any_matches(headers: &HeaderMap, name: HeaderName, matches: impl Fn(&str) -> bool) -> bool {
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).any(|tag| tag == "*" || matches(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    const ETAG: &str = "\"abc\"";

    fn ask(fields: &[(HeaderName, &'static str)]) -> Asked {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        asked(&headers, true, ETAG, 1000)
    }

    fn part(first: u64, last: u64) -> Asked {
        Asked::Part(ByteRange::new(first, last, 1000).expect("inside"))
    }

    #[test]
    fn a_single_range_is_answered_by_its_bytes() {
        assert_eq!(ask(&[(RANGE, "bytes=0-0")]), part(0, 0));
        assert_eq!(ask(&[(RANGE, "bytes=10-")]), part(10, 999));
        assert_eq!(ask(&[(RANGE, "bytes=-10")]), part(990, 999));
        assert_eq!(ask(&[(RANGE, "bytes=-5000")]), part(0, 999));
        assert_eq!(ask(&[(RANGE, "bytes=500-5000")]), part(500, 999));
    }

    #[test]
    fn a_range_outside_the_recording_is_not_satisfiable_and_nonsense_is_passed_over() {
        assert_eq!(ask(&[(RANGE, "bytes=1000-")]), Asked::NotSatisfiable);
        assert_eq!(ask(&[(RANGE, "bytes=-0")]), Asked::NotSatisfiable);
        assert_eq!(ask(&[(RANGE, "lines=1-2")]), Asked::Whole);
        assert_eq!(ask(&[(RANGE, "bytes=a-b")]), Asked::Whole);
        assert_eq!(ask(&[(RANGE, "bytes=0-1,5-6")]), Asked::Whole);
    }

    #[test]
    fn a_condition_decides_before_the_range() {
        assert_eq!(ask(&[(IF_MATCH, "\"other\""), (RANGE, "bytes=0-1")]), Asked::PreconditionFailed);
        assert_eq!(ask(&[(IF_MATCH, "\"other\", \"abc\""), (RANGE, "bytes=0-1")]), part(0, 1));
        assert_eq!(ask(&[(IF_MATCH, "*")]), Asked::Whole);
        assert_eq!(ask(&[(IF_NONE_MATCH, "W/\"abc\"")]), Asked::NotModified);
        assert_eq!(ask(&[(IF_RANGE, "\"abc\""), (RANGE, "bytes=0-1")]), part(0, 1));
        assert_eq!(ask(&[(IF_RANGE, "\"other\""), (RANGE, "bytes=0-1")]), Asked::Whole);
        assert_eq!(ask(&[(IF_RANGE, "W/\"abc\""), (RANGE, "bytes=0-1")]), Asked::Whole);
        assert_eq!(ask(&[(IF_RANGE, "Wed, 21 Oct 2015 07:28:00 GMT"), (RANGE, "bytes=0-1")]), Asked::Whole);
    }
}
