//! What a message is, by the members of its outermost object

use super::owed::MAX_ID;
use super::scan::{Member, Scan};
use super::text::{self, integer, member, string};
use super::{Notes, codes};

/// One message
#[derive(Debug)]
pub(super) enum Envelope<'i> {
    Request {
        /// As it came
        id: &'i [u8],
        method: &'i [u8],
        /// Empty for none
        params: &'i [u8],
        escaped: bool,
        /// In the form of version 1.0
        old: bool,
    },
    Notification {
        method: &'i [u8],
        params: &'i [u8],
        escaped: bool,
    },
    Reply {
        /// 0 for an id that is none of ours
        sequence: u32,
        /// Empty for success
        code: &'i [u8],
        body: &'i [u8],
        notes: Notes,
    },
    /// Not a valid request, to be answered with the id, `null` where none could be read
    Invalid {
        id: &'i [u8],
    },
    /// A notification that is not valid: not answered
    InvalidNotification,
}

/// How the id of a message came
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id<'i> {
    Absent,
    /// Null, a string, or a number
    Legal(&'i [u8]),
    Illegal,
}

const NULL: &[u8] = b"null";

/// Tells what a message is; `text` is one whole value, which `scan` has read
#[inline]
pub(super) fn read<'i>(text: &'i [u8], scan: &Scan, lenient: bool, max_method: usize) -> Envelope<'i> {
    let id = match scan.get(Member::Id, text) {
        None => Id::Absent,
        Some(raw @ [b'"' | b'-' | b'0'..=b'9' | b'n', ..]) if raw.len() <= MAX_ID => Id::Legal(raw),
        Some(_) => Id::Illegal,
    };
    let version = scan.get(Member::Version, text);
    let current = version.is_some_and(is_version_2);
    let Some(method) = scan.get(Member::Method, text) else {
        let (result, error) = (scan.get(Member::Result, text), scan.get(Member::Error, text));
        if result.is_none() && error.is_none() {
            return invalid(id);
        }
        return reply(id, result, error, current || lenient);
    };
    let Some(name) = string(method) else { return invalid(id) };
    let params = match scan.get(Member::Params, text) {
        None | Some(NULL) => Some(&[][..]),
        Some(raw @ [b'{' | b'[', ..]) => Some(raw),
        Some(_) => None,
    };
    let (Some(params), true) = (params, (current || lenient) && name.len() <= max_method) else {
        return if id == Id::Absent { Envelope::InvalidNotification } else { invalid(id) };
    };
    let escaped = name.contains(&b'\\');
    match id {
        Id::Absent => Envelope::Notification { method: name, params, escaped },
        Id::Legal(id) => Envelope::Request { id, method: name, params, escaped, old: !current },
        Id::Illegal => invalid(id),
    }
}

/// What can be told of a message that is not kept, from what has been read of it, and from its id where that is known
pub(super) fn read_part<'i>(id: Option<&'i [u8]>, scan: &Scan) -> Envelope<'i> {
    let id = id.unwrap_or(NULL);
    if !scan.has(Member::Method) && (scan.has(Member::Result) || scan.has(Member::Error)) {
        let notes = Notes { escaped: false, error: Some(codes::INVALID_REQUEST) };
        return Envelope::Reply { sequence: sequence(id), code: TOO_LARGE, body: &[], notes };
    }
    Envelope::Invalid { id }
}

/// The same once it has been read to its end
pub(super) fn read_end<'i>(id: Option<&'i [u8]>, scan: &Scan) -> Envelope<'i> {
    if scan.has(Member::Method) && !scan.has(Member::Id) {
        return Envelope::InvalidNotification;
    }
    read_part(id, scan)
}

/// The id of a message as far as it has been read; `None` where none was, or one that is not legal
pub(super) fn id<'i>(text: &'i [u8], scan: &Scan) -> Option<&'i [u8]> {
    match scan.get(Member::Id, text)? {
        raw @ [b'"' | b'-' | b'0'..=b'9' | b'n', ..] if raw.len() <= MAX_ID => Some(raw),
        _ => None,
    }
}

/// What a reply that can't be delivered says in the place of its message
pub(super) const TOO_LARGE: &[u8] = b"Answer too large";
const INVALID: &[u8] = b"Invalid answer";
/// Stands for a message that is missing or empty, since an empty one means success
const NO_MESSAGE: &[u8] = b"error";

#[cold]
fn invalid(id: Id<'_>) -> Envelope<'_> {
    match id {
        Id::Legal(id) => Envelope::Invalid { id },
        Id::Absent | Id::Illegal => Envelope::Invalid { id: NULL },
    }
}

#[inline]
fn is_version_2(raw: &[u8]) -> bool {
    raw == b"\"2.0\"" || string(raw).is_some_and(|raw| text::is(raw, b"2.0"))
}

#[inline]
fn reply<'i>(id: Id<'i>, result: Option<&'i [u8]>, error: Option<&'i [u8]>, version: bool) -> Envelope<'i> {
    let sequence = match id {
        Id::Legal(id) => sequence(id),
        Id::Absent | Id::Illegal => 0,
    };
    let (code, body, notes) = match (result, error) {
        (Some(result), None | Some(NULL)) if version => (&[][..], result, Notes::default()),
        (_, Some(error)) if version && error != NULL => read_error(error),
        // It is over for its call, and for nobody else (P7).
        _ => (INVALID, &[][..], Notes { escaped: false, error: Some(codes::INVALID_REQUEST) }),
    };
    Envelope::Reply { sequence, code, body, notes }
}

/// An error object as far as it can be read
#[cold]
fn read_error(raw: &[u8]) -> (&[u8], &[u8], Notes) {
    let notes = |message: &[u8], error| Notes { escaped: message.contains(&b'\\'), error };
    let shown = |message: Option<&'_ [u8]>| message.is_some_and(|message| !message.is_empty());
    if let Some(text) = string(raw) {
        let message = if text.is_empty() { NO_MESSAGE } else { text };
        return (message, &[], notes(message, None));
    }
    if !raw.starts_with(b"{") {
        return (NO_MESSAGE, raw, Notes::default());
    }
    let code = member(raw, "code").and_then(integer);
    let message = member(raw, "message").and_then(string);
    if code.is_none() && message.is_none() {
        return (NO_MESSAGE, raw, Notes::default());
    }
    let message = if shown(message) { message.unwrap_or(NO_MESSAGE) } else { NO_MESSAGE };
    (message, member(raw, "data").unwrap_or_default(), notes(message, code))
}

/// The sequence of a call of ours that an id names; 0 for none
#[inline]
fn sequence(id: &[u8]) -> u32 {
    match id {
        [first @ b'1'..=b'9', rest @ ..] if rest.len() < 10 => {
            let mut sum = u64::from(first - b'0');
            for digit in rest {
                if !digit.is_ascii_digit() {
                    return odd_sequence(id);
                }
                sum = sum * 10 + u64::from(digit - b'0');
            }
            if sum <= u64::from(super::SEQUENCES) { sum as u32 } else { 0 }
        }
        _ => odd_sequence(id),
    }
}

/// A number that was written in another way than ours, such as `1.0`
#[cold]
fn odd_sequence(id: &[u8]) -> u32 {
    integer(id).and_then(|id| u32::try_from(id).ok()).filter(|id| *id <= super::SEQUENCES).unwrap_or(0)
}
