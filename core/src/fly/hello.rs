//! What the two ends tell each other in `$hello`

use core::fmt;

use crate::{Limits, Oversize};

/// What a peer can do beyond the base protocol
///
/// A `$hello` request carries the caller's list and is answered with the receiver's; a peer that answers `NOT_FOUND` speaks
/// the base protocol. The list is text: lines of `key=value`, unknown keys ignored, a line that does not parse ignored.
///
/// ```
/// use flyrpc_core::fly::Capabilities;
///
/// let peer = Capabilities::parse(b"version=1\nzip=1\ncancel=1\nmax-payload=65536\ncolour=blue\n");
/// assert!(peer.zip && peer.cancel);
/// assert_eq!(peer.max_payload, Some(65_536));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Capabilities {
    /// `version`: of these extensions; 1, or 0 where nothing was said
    pub version: u8,
    /// `zip`: understands compressed codes and payloads
    pub zip: bool,
    /// `cancel`: understands `$cancel`
    pub cancel: bool,
    /// `max-payload`: longest payload it takes, as sent or inflated, in bytes; `None` for no limit, or one of 4 GiB and more
    pub max_payload: Option<u32>,
}

impl Capabilities {
    /// Nothing was said
    pub const NONE: Self = Self { version: 0, zip: false, cancel: false, max_payload: None };

    /// Our own
    #[must_use]
    pub const fn ours(limits: &Limits) -> Self {
        let max_payload = match limits.get_oversize() {
            Oversize::Refuse => Some(limits.get_max_payload()),
            Oversize::Stream if limits.get_max_body() > u32::MAX as u64 => None,
            Oversize::Stream => Some(limits.get_max_body() as u32),
        };
        Self { version: 1, zip: true, cancel: true, max_payload }
    }

    /// Reads a list; what is not there is not claimed
    #[must_use]
    pub fn parse(list: &[u8]) -> Self {
        let mut found = Self::NONE;
        for line in list.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            // One search for all keys, since each comparison by itself takes flash.
            let known = |key: &&[u8]| line.starts_with(key);
            let Some(key) = KEYS.iter().position(known) else { continue };
            let value = number(line.get(KEYS.get(key).map_or(0, |key| key.len())..).unwrap_or_default());
            match (key, value) {
                (0, Some(version)) => found.version = u8::try_from(version).unwrap_or(found.version),
                (1, _) => found.zip = value == Some(1),
                (2, _) => found.cancel = value == Some(1),
                // What four bytes can't hold is as good as no limit.
                (3, _) => found.max_payload = value,
                _ => {}
            }
        }
        found
    }

    /// The list as text
    #[must_use]
    pub fn to_list(&self) -> heapless::String<LIST> {
        let bytes = self.list();
        // All of it is ASCII.
        heapless::String::from_utf8(bytes).unwrap_or_default()
    }

    /// The list as bytes: written without `core::fmt`, which would take more flash than the rest of a small server
    pub(super) fn list(&self) -> heapless::Vec<u8, LIST> {
        let mut list = heapless::Vec::new();
        let [version, zip, cancel] = [u32::from(self.version), u32::from(self.zip), u32::from(self.cancel)];
        let values = [Some(version), Some(zip), Some(cancel), self.max_payload];
        for (key, value) in KEYS.iter().zip(values) {
            let Some(value) = value else { continue };
            let written = list.extend_from_slice(key).is_ok()
                && push_number(&mut list, value).is_some()
                && list.push(b'\n').is_ok();
            debug_assert!(written, "the list of capabilities is longer than its buffer");
        }
        list
    }
}

/// What a list says something about, in the order of the fields
const KEYS: [&[u8]; 4] = [b"version=", b"zip=", b"cancel=", b"max-payload="];

/// Room for a list; the longest, with all numbers at their widest, has 50 bytes
const LIST: usize = 64;

/// A decimal number; `None` for anything else, and for what four bytes can't hold
fn number(digits: &[u8]) -> Option<u32> {
    // As `str::parse` has it.
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u32::from(digit)) }
    })
}

fn push_number(list: &mut heapless::Vec<u8, LIST>, value: u32) -> Option<()> {
    let mut unit = 1_u32;
    while value / unit > 9 {
        unit *= 10;
    }
    let mut left = value;
    while unit > 0 {
        list.push(b'0' + (left / unit) as u8).ok()?;
        left %= unit;
        unit /= 10;
    }
    Some(())
}

/// As [`to_list`](Self::to_list)
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_list())
    }
}
