//! `flyrpc decode --dialect jsonrpc`

use std::io::{Read, Write};

use flyrpc_core::jsonrpc::Framing;
use flyrpc_core::{Limits, RecvBuf};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::value::RawValue;

use super::CHUNK;
use crate::input::reformat;
use crate::json::{Kind, Reader, Seen, Step, short};
use crate::report::{Failure, bytes, count, grouped, harmless, written};

pub(super) struct Decoder<'a> {
    pub(super) source: Box<dyn Read>,
    /// Line by line on a terminal, else in larger pieces
    pub(super) out: Box<dyn Write>,
    pub(super) bar: &'a ProgressBar,
    /// A JSON object for each message
    pub(super) json: bool,
    pub(super) with_payload: bool,
    offset: u64,
    /// Bytes that came from the source
    len: u64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    requests: u64,
    notifications: u64,
    responses: u64,
    errors: u64,
    batches: u64,
    invalid: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    offset: u64,
    kind: &'static str,
    id: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(source: Box<dyn Read>, out: Box<dyn Write>, bar: &'a ProgressBar) -> Self {
        let counts = Counts::default();
        Self { source, out, bar, json: false, with_payload: false, offset: 0, len: 0, counts }
    }

    /// Shows all that there is; gives how many messages were of no use
    pub(super) fn run(&mut self, framing: Framing, limits: &Limits) -> Result<u64, Failure> {
        if !self.json {
            let [offset, kind, id, method, len] = ["offset", "kind", "id", "method", "bytes"];
            written(writeln!(self.out, "{offset:>10}  {kind:<12} {id:>8}  {method:<28} {len:>10}"));
        }
        let result = self.read(&mut Reader::new(framing, limits));
        written(self.out.flush());
        if !self.json {
            eprintln!("{}", self.summary());
        }
        result.map(|()| self.counts.invalid)
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), Failure> {
        let mut buf = RecvBuf::new(vec![0; CHUNK]);
        let mut at_end = false;
        loop {
            let consumed = match reader.read(buf.data()) {
                Step::Fault { what, at } => {
                    let at = self.offset + u64::from(at);
                    return Err(Failure::new(format!("offset {at}: {what}")));
                }
                Step::Skip { consumed, is_batch } => {
                    self.counts.batches += u64::from(is_batch);
                    if is_batch && !self.json {
                        written(writeln!(self.out, "{:>10}  batch", self.offset));
                    }
                    consumed
                }
                Step::Read { consumed, seen } => {
                    self.show(&seen);
                    consumed
                }
                Step::More(need) => {
                    buf.grow(need, CHUNK);
                    let read = self.source.read(buf.space())?;
                    buf.filled(read);
                    if !at_end {
                        self.bar.inc(read as u64);
                        self.len += read as u64;
                    }
                    match (read, buf.data().len() as u64) {
                        (0, 0) => return Ok(()),
                        // The end is the end of the last line.
                        (0, 1..) if !at_end => {
                            at_end = true;
                            self.source = Box::new(&b"\n"[..]);
                        }
                        (0, there) => return self.ended(there),
                        _ => {}
                    }
                    continue;
                }
            };
            self.offset += consumed as u64;
            buf.consume(consumed);
        }
    }

    fn ended(&self, there: u64) -> Result<(), Failure> {
        let (offset, there) = (self.offset, bytes(there.saturating_sub(1)));
        Err(Failure::new(format!("offset {offset}: the message is cut short: {there} of it are there")))
    }

    fn show(&mut self, seen: &Seen) {
        let Counts { requests, notifications, responses, errors, invalid, .. } = &mut self.counts;
        *match seen.kind {
            Kind::Request => requests,
            Kind::Notification => notifications,
            Kind::Response => responses,
            Kind::Error => errors,
            Kind::Invalid => invalid,
        } += 1;
        let line = if self.json { self.object(seen) } else { self.row(seen) };
        let out = &mut self.out;
        self.bar.suspend(|| written(writeln!(out, "{line}")));
    }

    fn row(&self, seen: &Seen) -> String {
        let name = match seen.code {
            Some(code) => format!("{code} {}", harmless(&seen.name)),
            None => harmless(&seen.name),
        };
        let name = match name.chars().count() {
            0 => "-".to_owned(),
            1..=28 => name,
            _ => name.chars().take(27).chain(['…']).collect(),
        };
        let id = if seen.id.is_empty() { "-".to_owned() } else { short(&seen.id) };
        let (kind, len) = (seen.kind.name(), grouped(seen.payload.len() as u64));
        let row = format!("{:>10}  {kind:<12} {id:>8}  {name:<28} {len:>10}", self.offset);
        let payload = if self.with_payload { one_line(&seen.payload) } else { String::new() };
        format!("{row}  {payload}{}", seen.note).trim_end().to_owned()
    }

    fn object(&self, seen: &Seen) -> String {
        let raw = |json: &str| serde_json::from_str::<Box<RawValue>>(json).ok();
        let is_error = seen.kind == Kind::Error;
        let name = Some(seen.name.as_str()).filter(|name| !name.is_empty());
        let row = Row {
            offset: self.offset,
            kind: seen.kind.name(),
            id: raw(&seen.id),
            method: name.filter(|_| !is_error),
            code: seen.code,
            message: name.filter(|_| is_error),
            length: seen.payload.len(),
            payload: raw(&one_line(&seen.payload)).filter(|_| self.with_payload),
            note: &seen.note,
        };
        serde_json::to_string(&row).unwrap_or_default()
    }

    fn summary(&self) -> String {
        let Counts { requests, notifications, responses, errors, batches, invalid } = &self.counts;
        let all = requests + notifications + responses + errors + invalid;
        let mut text = format!(
            "{} in {}: {}, {}, {}, {}",
            count(all, "message"),
            // The line end that was put behind it is not counted.
            bytes(self.offset.min(self.len)),
            count(*requests, "request"),
            count(*notifications, "notification"),
            count(*responses, "response"),
            count(*errors, "error")
        );
        if *batches > 0 {
            text += &format!(
                "; {}",
                if *batches == 1 { "1 batch".to_owned() } else { format!("{batches} batches") }
            );
        }
        if *invalid > 0 {
            text += &format!("; {} of no use", grouped(*invalid));
        }
        text
    }
}

/// JSON without the white space that it does not need
fn one_line(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    reformat(&text, false).unwrap_or_else(|_| harmless(&text))
}
