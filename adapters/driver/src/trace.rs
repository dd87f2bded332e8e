//! Messages as they are on the wire, for the hooks that see all

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use flyrpc_core::fly::RawPacket;
use flyrpc_core::jsonrpc::Framing;

use crate::dialect::AnyDialect;
use crate::link::Link;
use crate::out::Out;
use crate::{Direction, Protocol};

/// What separates the messages of a connection
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire {
    Packets,
    Json(Framing),
}

impl Wire {
    pub(crate) const fn of(dialect: &AnyDialect) -> Self {
        match dialect {
            AnyDialect::Fly(_) => Self::Packets,
            AnyDialect::Json(json) => Self::Json(json.get_framing()),
        }
    }
}

impl Link {
    /// Is there a hook that sees all?
    pub(crate) fn is_observed(&self) -> bool {
        let options = &self.options;
        options.on_message.is_some()
            || (options.on_packet.is_some() && self.info.protocol == Protocol::FlyRpc)
    }

    /// Shows messages on their way out to the hooks, if there are any
    pub(crate) fn observe_out(&self, out: &Out) {
        if self.is_observed() {
            let mut rest = out.small();
            while let Some(len) = message_len(self.wire, rest) {
                let (message, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                self.observe(Direction::Out, message);
                rest = behind;
            }
        }
    }

    /// Shows a message to the hooks, if there are any
    pub(crate) fn observe(&self, direction: Direction, message: &[u8]) {
        let options = &self.options;
        // A panic would leave what is being written half done.
        if let (Some(hook), Wire::Packets) = (&options.on_packet, self.wire)
            && let Ok(Some((packet, _))) = RawPacket::decode(message, usize::MAX, u64::MAX)
        {
            let _ = catch_unwind(AssertUnwindSafe(|| hook(&self.info, direction, &packet)));
        }
        let message = contents(self.wire, message);
        if let Some(hook) = &options.on_message
            && !message.is_empty()
        {
            let _ = catch_unwind(AssertUnwindSafe(|| hook(&self.info, direction, message)));
        }
    }
}

/// Bytes of the message that `bytes` starts with, the frame around it included; `None` for no message
fn message_len(wire: Wire, bytes: &[u8]) -> Option<usize> {
    match wire {
        Wire::Packets => RawPacket::decode(bytes, usize::MAX, u64::MAX).ok()?.map(|(_, len)| len),
        Wire::Json(Framing::Units) => {
            let (head, _) = bytes.split_first_chunk::<4>()?;
            Some(4 + u32::from_be_bytes(*head) as usize)
        }
        Wire::Json(Framing::ContentLength) => {
            let head = header_len(bytes)?;
            let header = core::str::from_utf8(bytes.get(..head)?).ok()?;
            let len = header.split_once(':')?.1.trim().parse::<usize>().ok()?;
            Some(head + len)
        }
        // What is sent has no line feed within.
        Wire::Json(_) => bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1),
    }
}

/// A message without its frame
///
/// What came in a batch comes as its elements, the first with the frame's head.
fn contents(wire: Wire, message: &[u8]) -> &[u8] {
    let inner = match wire {
        Wire::Packets => return message,
        // No text begins with a byte that the length of a unit of less than 150 MB begins with.
        Wire::Json(Framing::Units) if message.first().is_some_and(|byte| *byte < b'\t') => message.get(4..),
        Wire::Json(Framing::ContentLength) if message.first().is_some_and(u8::is_ascii_alphabetic) => {
            header_len(message).and_then(|head| message.get(head..))
        }
        Wire::Json(_) => Some(message),
    };
    inner.unwrap_or_default().trim_ascii()
}

fn header_len(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_told_apart() {
        let texts = ["{\"a\":1}", "[2]"];
        let units: Vec<u8> = texts
            .iter()
            .flat_map(|text| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat())
            .collect();
        let headed: String =
            texts.iter().map(|text| format!("Content-Length: {}\r\n\r\n{text}", text.len())).collect();
        for (framing, bytes) in [
            (Framing::Lines, b"{\"a\":1}\n[2]\n".to_vec()),
            (Framing::Units, units),
            (Framing::ContentLength, headed.into_bytes()),
        ] {
            let (wire, mut rest, mut seen) = (Wire::Json(framing), &bytes[..], Vec::new());
            while let Some(len) = message_len(wire, rest) {
                seen.push(String::from_utf8_lossy(contents(wire, &rest[..len])).into_owned());
                rest = &rest[len..];
            }
            assert_eq!(seen, texts, "{framing:?}");
            assert!(rest.is_empty());
        }
    }
}
