//! What the two ends tell each other in `$hello`

use core::fmt::{self, Write};

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
        let mut found = Self::default();
        for line in list.split(|byte| *byte == b'\n') {
            let Some((key, value)) =
                core::str::from_utf8(line).ok().and_then(|line| line.trim().split_once('='))
            else {
                continue;
            };
            match key {
                "version" => found.version = value.parse().unwrap_or(found.version),
                "zip" => found.zip = value == "1",
                "cancel" => found.cancel = value == "1",
                // What four bytes can't hold is as good as no limit.
                "max-payload" => found.max_payload = value.parse().ok(),
                _ => {}
            }
        }
        found
    }

    /// The list as text
    #[must_use]
    pub fn to_list(&self) -> heapless::String<64> {
        let mut list = heapless::String::new();
        // The longest list, with all numbers at their widest, has 50 bytes.
        let written = write!(list, "{self}");
        debug_assert!(written.is_ok(), "the list of capabilities is longer than its buffer");
        list
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "version={}\nzip={}\ncancel={}\n",
            self.version,
            u8::from(self.zip),
            u8::from(self.cancel)
        )?;
        self.max_payload.map_or(Ok(()), |max| writeln!(f, "max-payload={max}"))
    }
}
