//! Packets and messages as lines, while they pass

use flyrpc_core::jsonrpc::Framing;
use flyrpc_tokio::{Direction, Info, Limits, Protocol, RawPacket};

use crate::decode::Kind;
use crate::json::{Reader, Step};
use crate::report::{bytes, preview};

/// A packet on its way, without its payload: `-> request 1 "echo", 5 bytes`
pub(crate) fn line(direction: Direction, packet: &RawPacket<'_>) -> String {
    let arrow = arrow(direction);
    let (kind, zip) = (Kind::of(packet.flag, packet.code), packet.flag.zip());
    let mut line = format!("{arrow} {} {}", kind.name(), packet.sequence);
    if !packet.code.is_empty() {
        line += &format!(" {}", preview(packet.code, 40));
    }
    line += &format!(", {}", bytes(packet.payload.len() as u64));
    match (zip.code, zip.payload) {
        (false, false) => {}
        (true, false) => line += " (code compressed)",
        (false, true) => line += " (payload compressed)",
        (true, true) => line += " (code and payload compressed)",
    }
    line
}

/// JSON-RPC messages on their way, without their payloads; FlyRPC has `line`
pub(crate) fn lines(info: &Info, direction: Direction, message: &[u8]) -> Vec<String> {
    let (mut rest, mut lines) = (message, Vec::new());
    if info.protocol != Protocol::JsonRpc {
        return lines;
    }
    let mut reader = Reader::new(Framing::Lines, &Limits::new().max_payload(u32::MAX));
    loop {
        let consumed = match reader.read(rest) {
            Step::More(_) | Step::Fault { .. } => return lines,
            Step::Skip { consumed, .. } => consumed,
            Step::Read { consumed, seen } => {
                lines.push(format!("{} {seen}", arrow(direction)));
                consumed
            }
        };
        rest = rest.get(consumed..).unwrap_or_default();
    }
}

const fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "<-",
        Direction::Out => "->",
    }
}

#[cfg(test)]
mod tests {
    use flyrpc_core::fly::Flag;

    use super::*;

    #[test]
    fn a_line_tells_everything_but_the_payload() {
        let packet = RawPacket { flag: Flag::REQUEST, sequence: 7, code: b"echo", payload: b"secret" };
        assert_eq!(line(Direction::Out, &packet), "-> request 7 \"echo\", 6 bytes");
        let packet = RawPacket { flag: Flag::RESPONSE, sequence: 7, code: b"", payload: b"s" };
        assert_eq!(line(Direction::In, &packet), "<- response 7, 1 byte");
    }
}
