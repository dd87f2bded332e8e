//! Strings and members of JSON text that has been checked

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt::Write as _;

use super::scan::{Outcome, Scan};

/// The text that stands between the quotes of a JSON string
///
/// Borrowed where nothing is escaped. Half a surrogate pair, which JSON's grammar lets through, becomes U+FFFD, as in Go;
/// so does what is not UTF-8 or not an escape, which a string that was received never holds.
///
/// ```
/// use flyrpc_core::jsonrpc::unescape;
///
/// assert_eq!(unescape(br"plain"), "plain");
/// assert_eq!(unescape(br#"\"a\u00e9\ud83d\ude00\n"#), "\"aé😀\n");
/// ```
#[must_use]
pub fn unescape(raw: &[u8]) -> Cow<'_, str> {
    if !raw.contains(&b'\\') {
        return String::from_utf8_lossy(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (plain, escape) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        text.push_str(&String::from_utf8_lossy(plain));
        let (character, len) = unescape_one(escape);
        text.push(character);
        rest = escape.get(len..).unwrap_or_default();
    }
    text.push_str(&String::from_utf8_lossy(rest));
    Cow::Owned(text)
}

/// The character that an escape stands for, and the escape's length
fn unescape_one(escape: &[u8]) -> (char, usize) {
    let character = match escape.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unescape_unit(escape),
        Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
        _ => return (char::REPLACEMENT_CHARACTER, 1),
    };
    (character, 2)
}

fn unescape_unit(escape: &[u8]) -> (char, usize) {
    let Some(high) = unit(escape) else { return (char::REPLACEMENT_CHARACTER, 2) };
    if let Some(character) = char::from_u32(high) {
        return (character, 6);
    }
    let pair = escape.get(6..).filter(|next| next.starts_with(b"\\u")).and_then(unit);
    match pair {
        Some(low @ 0xdc00..=0xdfff) if high < 0xdc00 => {
            let point = 0x1_0000 + ((high - 0xd800) << 10 | (low - 0xdc00));
            (char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        _ => (char::REPLACEMENT_CHARACTER, 6),
    }
}

/// The number of `\uXXXX`
fn unit(escape: &[u8]) -> Option<u32> {
    escape.get(2..6)?.iter().try_fold(0, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)?))
}

/// Is `name` what stands between the quotes?
pub(super) fn is(raw: &[u8], name: &[u8]) -> bool {
    raw == name || raw.contains(&b'\\') && raw.len() <= 12 * name.len() && unescape(raw).as_bytes() == name
}

/// What stands between the quotes, if it is a string
#[inline]
pub(super) fn string(raw: &[u8]) -> Option<&[u8]> {
    match raw {
        [b'"', inner @ .., b'"'] => Some(inner),
        _ => None,
    }
}

/// A text as it stands between the quotes of a JSON string
///
/// Quotes, backslashes and control characters are escaped; all else goes as it is.
pub(super) fn escape_into(text: &str, into: &mut String) {
    for character in text.chars() {
        match character {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            // Writing to a string does not fail.
            '\0'..='\u{1f}' => drop(write!(into, "\\u{:04x}", u32::from(character))),
            _ => into.push(character),
        }
    }
}

/// A text as it stands between the quotes of a JSON string, borrowed where it can be; `None` for what is not UTF-8
#[inline]
pub(super) fn escape(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let plain = text.iter().all(|byte| matches!(byte, 0x20..0x80) && !matches!(byte, b'"' | b'\\'));
    if plain { Some(Cow::Borrowed(text)) } else { escape_all(text) }
}

#[cold]
fn escape_all(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = core::str::from_utf8(text).ok()?;
    let mut escaped = String::with_capacity(text.len() + 8);
    escape_into(text, &mut escaped);
    Some(Cow::Owned(escaped.into_bytes()))
}

/// The raw value of a member of a JSON object; of several with that name the last
///
/// For text that is JSON, such as the parameters of a request; `None` for anything else than an object, for a member that
/// is not there, and for what can't be read up to it. Members of nested objects do not count.
///
/// ```
/// use flyrpc_core::jsonrpc::member;
///
/// let params = br#"{"to": {"id": 1}, "id": 7}"#;
/// assert_eq!(member(params, "id"), Some(&b"7"[..]));
/// assert_eq!(member(params, "to"), Some(&br#"{"id": 1}"#[..]));
/// assert_eq!(member(params, "from"), None);
/// ```
#[must_use]
pub fn member<'j>(object: &'j [u8], name: &str) -> Option<&'j [u8]> {
    let mut rest = skip_space(object).strip_prefix(b"{")?;
    let mut found = None;
    loop {
        rest = skip_space(rest);
        if let Some(behind) = rest.strip_prefix(b"}") {
            return if skip_space(behind).is_empty() { found } else { None };
        }
        let (key, behind) = value(rest)?;
        let behind = skip_space(skip_space(behind).strip_prefix(b":")?);
        let (value, behind) = value(behind)?;
        if is(string(key)?, name.as_bytes()) {
            found = Some(value);
        }
        rest = skip_space(behind);
        rest = rest.strip_prefix(b",").unwrap_or(rest);
    }
}

/// The first value of a text, and what is behind it
pub(super) fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    match Scan::default().run(text, true, u8::MAX) {
        Outcome::Done(end) => text.split_at_checked(end),
        Outcome::More | Outcome::Bad(_) => None,
    }
}

/// The text without white space before it
#[inline]
pub(super) fn skip_space(text: &[u8]) -> &[u8] {
    text.get(space(text)..).unwrap_or_default()
}

/// Bytes of white space that a text begins with
#[inline]
pub(super) fn space(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count()
}

/// Is it one JSON value with nothing but white space around it, nested at most so deep? Returns it without the space
#[inline]
pub(super) fn check(text: &[u8], max_depth: u8) -> Option<&[u8]> {
    let text = skip_space(text);
    match Scan::default().run(text, true, max_depth) {
        Outcome::Done(end) if space(text.get(end..)?) + end == text.len() => text.get(..end),
        Outcome::Done(_) | Outcome::More | Outcome::Bad(_) => None,
    }
}

/// A number that is an integer of 64 bits, `1.0` and `-32600.0` included
pub(super) fn integer(raw: &[u8]) -> Option<i64> {
    let text = core::str::from_utf8(raw).ok()?;
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    whole.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn what_is_escaped_comes_back() {
        for text in ["", "plain", "\"quoted\"", "a\\b", "\u{0}\u{1f}\u{7f}", "tab\tline\r\n", "é😀\u{2028}"]
        {
            let mut escaped = String::new();
            escape_into(text, &mut escaped);
            assert_eq!(unescape(escaped.as_bytes()), text);
            assert_eq!(escape(text.as_bytes()).unwrap(), escaped.as_bytes());
            let quoted = alloc::format!("\"{escaped}\"");
            assert_eq!(check(quoted.as_bytes(), 1), Some(quoted.as_bytes()));
        }
        assert_eq!(escape(b"\xff"), None);
    }

    #[test]
    fn half_a_pair_is_replaced() {
        assert_eq!(unescape(br"\ud800"), "\u{fffd}");
        assert_eq!(unescape(br"\ud800\ud800x"), "\u{fffd}\u{fffd}x");
        assert_eq!(unescape(br"\udc00\ud83d\ude00"), "\u{fffd}😀");
        assert_eq!(unescape(br"\ud83dx"), "\u{fffd}x");
    }

    #[test]
    fn what_is_no_escape_does_no_harm() {
        for raw in [&b"\\"[..], b"\\u", b"\\u12", b"\\uzzzz", b"\\x", b"\\\xff", b"a\\"] {
            let _ = unescape(raw).to_string();
        }
    }

    #[test]
    fn p12_a_member_is_found_at_its_own_depth_and_the_last_wins() {
        let object = br#" { "a" : {"b":1}, "b" : [2] , "b":"x\"}", "\u0063": true } "#;
        assert_eq!(member(object, "a"), Some(&br#"{"b":1}"#[..]));
        assert_eq!(member(object, "b"), Some(&br#""x\"}""#[..]));
        assert_eq!(member(object, "c"), Some(&b"true"[..]));
        assert_eq!(member(b"[1]", "a"), None);
        assert_eq!(member(b"{\"a\":1", "a"), None);
        assert_eq!(member(b"{}", ""), None);
    }

    #[test]
    fn integers_may_be_written_with_zeros_behind_a_point() {
        assert_eq!(integer(b"-32601"), Some(-32601));
        assert_eq!(integer(b"1.0"), Some(1));
        assert_eq!(integer(b"1.5"), None);
        assert_eq!(integer(b"1e3"), None);
        assert_eq!(integer(b"99999999999999999999"), None);
    }
}
