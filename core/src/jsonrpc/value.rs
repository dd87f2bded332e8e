//! Whole JSON values, as applications have them

use alloc::string::String;

use super::text::{escape_into, skip_space, value};

/// Is this one JSON value, with nothing but white space around it?
///
/// Nested no deeper than 255.
///
/// ```
/// use flyrpc_core::jsonrpc::is_json;
///
/// assert!(is_json(b" [1, {}] ") && is_json(b"null"));
/// assert!(!is_json(b"") && !is_json(b"[1,]") && !is_json(b"1 2"));
/// ```
#[must_use]
pub fn is_json(text: &[u8]) -> bool {
    value(skip_space(text)).is_some_and(|(_, rest)| skip_space(rest).is_empty())
}

/// The element of an array of one element, as it stands there
///
/// ```
/// use flyrpc_core::jsonrpc::only_element;
///
/// assert_eq!(only_element(br#" [ {"a": 1} ]"#), Some(&br#"{"a": 1}"#[..]));
/// assert_eq!(only_element(b"[]"), None);
/// assert_eq!(only_element(b"[1, 2]"), None);
/// assert_eq!(only_element(b"7"), None);
/// ```
#[must_use]
pub fn only_element(array: &[u8]) -> Option<&[u8]> {
    let inner = skip_space(array).strip_prefix(b"[")?;
    let (element, rest) = value(skip_space(inner))?;
    let behind = skip_space(rest).strip_prefix(b"]")?;
    skip_space(behind).is_empty().then_some(element)
}

/// A text as a JSON string, with its quotes
///
/// ```
/// assert_eq!(flyrpc_core::jsonrpc::quote("a \"b\"\n"), r#""a \"b\"\n""#);
/// ```
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    escape_into(text, &mut quoted);
    quoted.push('"');
    quoted
}
