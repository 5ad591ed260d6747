//! Byte ranges of plaintext, resolved against a length.

/// A non-empty range of plaintext bytes, `first..=last`, inside a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    first: u64,
    last: u64,
}

impl ByteRange {
    pub fn new(first: u64, last: u64, plain_len: u64) -> Option<ByteRange> {
        (first <= last && last < plain_len).then_some(ByteRange { first, last })
    }

    /// All of it; `None` for nothing.
    pub fn whole(plain_len: u64) -> Option<ByteRange> {
        plain_len.checked_sub(1).map(|last| ByteRange { first: 0, last })
    }

    pub fn first(self) -> u64 {
        self.first
    }

    pub fn last(self) -> u64 {
        self.last
    }

    /// At least 1.
    #[allow(clippy::len_without_is_empty, reason = "a range in here is never empty")]
    pub fn len(self) -> u64 {
        self.last - self.first + 1
    }
}

/// A `Content-Range` of an upload (RFC 9110 section 14.4): which bytes of the sender's file the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadRange {
    pub first: u64,
    pub last: u64,
    /// `None`: the sender does not know yet (`*`).
    pub total: Option<u64>,
}

impl UploadRange {
    /// `bytes <first>-<last>/<total or *>`.
    pub fn parse(text: &str) -> Option<UploadRange> {
        let (span, total) = text.trim().strip_prefix("bytes ")?.trim_start().split_once('/')?;
        let (first, last) = span.split_once('-')?;
        let number = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse::<u64>().ok()).flatten();
        let total = if total == "*" { None } else { Some(number(total)?) };
        let range = UploadRange { first: number(first)?, last: number(last)?, total };
        let sound = range.first <= range.last && range.last < u64::MAX && total.is_none_or(|t| range.last < t);
        sound.then_some(range)
    }

    #[allow(clippy::len_without_is_empty, reason = "a range in here is never empty")]
    pub fn len(self) -> u64 {
        self.last - self.first + 1
    }

    /// Whether the sender's last byte is in it.
    pub fn is_final(self) -> bool {
        self.total == Some(self.last + 1)
    }

    pub fn is_whole(self) -> bool {
        self.first == 0 && self.is_final()
    }
}
