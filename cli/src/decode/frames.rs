//! `flyrpc decode --framing cobs`: what went over a serial line

use flyrpc_core::fly::decode_head;
use flyrpc_core::serial::{Frame, Line, open};

use super::{Decoder, row};
use crate::report::{Failure, bytes, grouped, preview, written};

/// What separates frames
const DELIMITER: u8 = 0;

impl Decoder {
    /// Shows each frame, and of noise how much there is
    pub(super) fn run_frames(&mut self) -> Result<(), Failure> {
        let most = self.limits.get_max_payload() as usize + usize::from(self.limits.get_max_method()) + 16;
        let most = Line::frame_max(most);
        let mut scanned = 0;
        loop {
            let data = self.buf.data();
            let fresh = data.get(scanned..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|byte| *byte == DELIMITER) {
                let code = data.get(..scanned + at).unwrap_or_default().to_vec();
                self.buf.consume(code.len() + 1);
                scanned = 0;
                if !code.is_empty() {
                    self.frame(&code);
                }
                self.offset += code.len() as u64 + 1;
                continue;
            }
            scanned = data.len();
            let len = scanned as u64;
            if scanned > most {
                return Err(Failure::new(format!(
                    "offset {}: {} without a delimiter, more than a frame has: is this a serial line?",
                    self.offset,
                    bytes(len)
                )));
            }
            if !self.fill(scanned + 1)? {
                if scanned > 0 {
                    self.nothing(len, "the last frame has no end");
                    self.offset += len;
                }
                return Ok(());
            }
        }
    }

    /// What stood between two delimiters
    fn frame(&mut self, code: &[u8]) {
        let len = code.len() as u64;
        let mut plain = code.to_vec();
        let Some(Frame { from, to, start, end, .. }) = open(&mut plain) else {
            let shown = preview(code, 16);
            return self.nothing(len, &format!("no frame, or a damaged one: {shown}"));
        };
        let sessions = format!("from {from:04x} to {to:04x}");
        let packet = plain.get(start..end).unwrap_or_default();
        if packet.is_empty() {
            self.seen.announcements += 1;
            return self.line("announce", 0, &sessions);
        }
        let max_code = usize::from(self.limits.get_max_method());
        let head = match decode_head(packet, max_code) {
            Ok(Ok(head)) if (head.len as u64).checked_add(head.payload_len) == Some(packet.len() as u64) => {
                head
            }
            Ok(_) | Err(_) => {
                return self.nothing(len, &format!("{sessions}: what it holds is not one packet"));
            }
        };
        let payload = packet.get(head.len..).unwrap_or_default();
        let opened = self.unzip.open(head.code, payload, head.flag.zip(), &self.limits);
        let opened = opened.map_err(|error| error.to_string());
        let mut row = row(&mut self.seen, self.offset, &head, Some((payload, opened)));
        row.note += &format!(" ({sessions})");
        self.show(&row);
    }

    /// Bytes that are no frame
    fn nothing(&mut self, len: u64, why: &str) {
        self.seen.damaged += 1;
        self.line("damaged", len, why);
    }

    /// A row without a packet
    fn line(&mut self, kind: &str, len: u64, note: &str) {
        let Self { out, bar, json, offset, .. } = self;
        bar.suspend(|| {
            written(if *json {
                let row = serde_json::json!({ "offset": offset, "kind": kind, "length": len, "note": note });
                writeln!(out, "{row}")
            } else {
                let (seq, code, len) = ("-", "-", grouped(len));
                writeln!(out, "{offset:>10}  {kind:<8} {seq:>5}  {code:<24} {len:>10}  ({note})")
            });
        });
    }
}
