//! `flyrpc decode`

mod frames;
mod json;

use std::fs::File;
use std::io::{BufWriter, Cursor, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use flyrpc_core::fly::zip::{Opened, Unzip};
use flyrpc_core::fly::{Flag, Head, decode_head};
use flyrpc_core::{Limits, RecvBuf};
use indicatif::ProgressBar;

use crate::input::{progress, unhex};
use crate::report::{BAD, Failure, bytes, count, grouped, hex, preview, written};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// A file with captured bytes, hex digits, - for standard input, or a JSON-RPC message
    #[arg(value_name = "FILE|HEX|JSON|-", default_value = "-")]
    source: String,
    /// What was captured
    #[arg(long, value_enum, default_value_t = DialectOption::Fly)]
    dialect: DialectOption,
    /// How packets or messages follow each other: plain or cobs, or for JSON-RPC lines or content-length; the first of
    /// them by default
    #[arg(long, value_enum)]
    framing: Option<Framing>,
    /// JSON-RPC: show parameters, results and errors' data
    #[arg(long)]
    payload: bool,
    /// What a file or standard input holds
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// Longest payload to look into, in bytes; longer ones are listed and passed over
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    max_payload: u32,
    /// Longest code, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    max_code: u16,
    /// A JSON object for each packet instead of a table; FlyRPC's payloads whole and in hex
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Hex if there is nothing but hex digits and white space, else binary
    Auto,
    /// The bytes as they are
    Binary,
    /// Hex digits
    Hex,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DialectOption {
    /// FlyRPC packets
    Fly,
    /// JSON-RPC messages
    Jsonrpc,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Framing {
    /// FlyRPC: packets one behind the other
    Plain,
    /// FlyRPC: the frames of serial lines
    Cobs,
    /// JSON-RPC: one behind the other, or each on a line
    Lines,
    /// JSON-RPC: each behind a header with its length
    ContentLength,
}

/// For `--help`
const EXAMPLES: &str = "\
Examples:
  flyrpc decode captured.bin
  flyrpc decode 4000016563686f000568656c6c6f
  flyrpc decode --framing cobs serial-line.bin
  flyrpc decode --dialect jsonrpc --payload '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[7]}'
  flyrpc decode --dialect jsonrpc --framing content-length language-server.log";

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let is_json = options.dialect == DialectOption::Jsonrpc;
    if options.payload && !is_json {
        return Err(Failure::usage("--payload is for JSON-RPC: it goes with --dialect jsonrpc"));
    }
    let framing = options.framing.unwrap_or(if is_json { Framing::Lines } else { Framing::Plain });
    let json_framing = match (framing, is_json) {
        (Framing::Lines, true) => Some(flyrpc_core::jsonrpc::Framing::Lines),
        (Framing::ContentLength, true) => Some(flyrpc_core::jsonrpc::Framing::ContentLength),
        (Framing::Plain | Framing::Cobs, false) => None,
        (Framing::Lines | Framing::ContentLength, false) => {
            return Err(Failure::usage("this --framing is for JSON-RPC: it goes with --dialect jsonrpc"));
        }
        (Framing::Plain | Framing::Cobs, true) => {
            return Err(Failure::usage(
                "this --framing is for FlyRPC: JSON-RPC has lines and content-length",
            ));
        }
    };
    let (source, bar) = open(options)?;
    let limits = Limits::new().max_payload(options.max_payload).max_method(options.max_code);
    let stdout = std::io::stdout();
    let out: Box<dyn Write> = if stdout.is_terminal() {
        Box::new(stdout)
    } else {
        Box::new(BufWriter::with_capacity(CHUNK, stdout))
    };
    if let Some(framing) = json_framing {
        let mut decoder = json::Decoder::new(source, out, &bar);
        (decoder.json, decoder.with_payload) = (options.json, options.payload);
        let bad = decoder.run(framing, &limits);
        bar.finish_and_clear();
        return Ok(if bad? > 0 { ExitCode::from(BAD) } else { ExitCode::SUCCESS });
    }
    let mut decoder = Decoder {
        source,
        out,
        bar,
        buf: RecvBuf::new(vec![0; CHUNK]),
        offset: 0,
        unzip: Unzip::new(),
        limits,
        json: options.json,
        seen: Seen::default(),
    };
    if !options.json {
        let [offset, kind, seq, code, len] = ["offset", "kind", "seq", "code", "bytes"];
        written(writeln!(decoder.out, "{offset:>10}  {kind:<8} {seq:>5}  {code:<24} {len:>10}  payload"));
    }
    let result = if framing == Framing::Cobs { decoder.run_frames() } else { decoder.run() };
    written(decoder.out.flush());
    decoder.bar.finish_and_clear();
    if !options.json {
        eprintln!("{}", decoder.seen.summary(decoder.offset));
    }
    result?;
    Ok(if decoder.seen.bad + decoder.seen.damaged > 0 { ExitCode::from(BAD) } else { ExitCode::SUCCESS })
}

/// How much is read at a time, in bytes
const CHUNK: usize = 64 << 10;

type Source = Box<dyn Read>;

fn open(options: &Options) -> Result<(Source, ProgressBar), Failure> {
    let name = options.source.as_str();
    let (mut source, len): (Source, u64) = if name == "-" {
        (Box::new(std::io::stdin()), 0)
    } else if Path::new(name).exists() {
        let named = |error| Failure::new(format!("{name}: {error}"));
        let file = File::open(name).map_err(named)?;
        let len = file.metadata().map_err(named)?.len();
        (Box::new(file), len)
    } else if options.dialect == DialectOption::Jsonrpc && name.trim_start().starts_with(['{', '[']) {
        return Ok((Box::new(Cursor::new(name.to_owned())), ProgressBar::hidden()));
    } else if name.trim_start().starts_with(['{', '[']) {
        return Err(Failure::usage("that looks like JSON-RPC: add --dialect jsonrpc"));
    } else {
        let digits =
            unhex(name).map_err(|error| Failure::new(format!("'{name}' is no file, and as hex: {error}")))?;
        return Ok((Box::new(Cursor::new(digits)), ProgressBar::hidden()));
    };
    let mut start = vec![0; CHUNK];
    let mut filled = 0;
    while filled < start.len() {
        match source.read(&mut start[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    start.truncate(filled);
    let all_hex =
        !start.is_empty() && start.iter().all(|byte| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace());
    if options.format == Format::Hex || (options.format == Format::Auto && all_hex) {
        source.read_to_end(&mut start)?;
        let digits = unhex(&String::from_utf8_lossy(&start))
            .map_err(|error| Failure::new(format!("{name}: {error}")))?;
        return Ok((Box::new(Cursor::new(digits)), ProgressBar::hidden()));
    }
    Ok((Box::new(Cursor::new(start).chain(source)), progress(len, "decoding")))
}

struct Decoder {
    source: Source,
    /// Line by line on a terminal, else in larger pieces
    out: Box<dyn Write>,
    bar: ProgressBar,
    buf: RecvBuf<Vec<u8>>,
    /// Where the next packet begins
    offset: u64,
    unzip: Unzip,
    limits: Limits,
    json: bool,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    requests: u64,
    responses: u64,
    errors: u64,
    messages: u64,
    bad: u64,
    /// Of serial lines: frames without a packet, and what was no frame
    announcements: u64,
    damaged: u64,
}

impl Seen {
    fn summary(&self, offset: u64) -> String {
        let Self { requests, responses, errors, messages, bad, announcements, damaged } = self;
        let all = requests + responses + errors + messages;
        let mut text = format!(
            "{} in {}: {}, {}, {}, {}",
            count(all, "packet"),
            bytes(offset),
            count(*requests, "request"),
            count(*responses, "response"),
            count(*errors, "error"),
            count(*messages, "message")
        );
        if *bad > 0 {
            text += &format!("; {bad} do not inflate");
        }
        if announcements + damaged > 0 {
            text += &format!("; {}, {damaged} damaged", count(*announcements, "announcement"));
        }
        text
    }
}

impl Decoder {
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            let max_code = self.limits.get_max_method() as usize;
            let need = match decode_head(self.buf.data(), max_code) {
                Err(fault) => {
                    let at = self.offset + u64::from(fault.at);
                    return Err(Failure::new(format!("offset {at}: {}, {max_code} bytes", fault.what)));
                }
                Ok(Err(need)) => need,
                Ok(Ok(head)) if head.payload_len > u64::from(self.limits.get_max_payload()) => {
                    let (len, payload_len) = (head.len, head.payload_len);
                    let row = row(&mut self.seen, self.offset, &head, None);
                    self.show(&row);
                    self.skip(len, payload_len)?;
                    continue;
                }
                Ok(Ok(head)) => {
                    let end = head.len + head.payload_len as usize;
                    if let Some(payload) = self.buf.data().get(head.len..end) {
                        let opened = self.unzip.open(head.code, payload, head.flag.zip(), &self.limits);
                        let opened = opened.map_err(|error| error.to_string());
                        let row = row(&mut self.seen, self.offset, &head, Some((payload, opened)));
                        self.show(&row);
                        self.offset += end as u64;
                        self.buf.consume(end);
                        continue;
                    }
                    end
                }
            };
            if !self.fill(need)? {
                let there = self.buf.data().len();
                return if there == 0 { Ok(()) } else { Err(self.cut_short(there as u64, need as u64)) };
            }
        }
    }

    /// Reads more; false at the end
    fn fill(&mut self, need: usize) -> Result<bool, Failure> {
        self.buf.grow(need, CHUNK);
        let read = self.source.read(self.buf.space())?;
        self.buf.filled(read);
        self.bar.inc(read as u64);
        Ok(read > 0)
    }

    /// Passes over a payload that is too long to be looked into
    fn skip(&mut self, head: usize, payload_len: u64) -> Result<(), Failure> {
        self.buf.consume(head);
        let mut left = payload_len;
        while left > 0 {
            let there = self.buf.data().len() as u64;
            if there == 0 && !self.fill(1)? {
                let came = payload_len - left + head as u64;
                return Err(self.cut_short(came, payload_len.saturating_add(head as u64)));
            }
            let len = left.min(self.buf.data().len() as u64);
            self.buf.consume(len as usize);
            left -= len;
        }
        self.offset = self.offset.saturating_add(head as u64).saturating_add(payload_len);
        Ok(())
    }

    fn cut_short(&self, there: u64, need: u64) -> Failure {
        let (offset, there, need) = (self.offset, grouped(there), grouped(need));
        Failure::new(format!(
            "offset {offset}: the packet is cut short: it takes at least {need} bytes, {there} are there"
        ))
    }

    fn show(&mut self, row: &Row) {
        let Self { out, bar, json, .. } = self;
        bar.suspend(|| written(if *json { writeln!(out, "{}", row.json()) } else { writeln!(out, "{row}") }));
    }
}

/// What a packet is for
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Request,
    Response,
    Error,
    Message,
}

impl Kind {
    pub(crate) const fn of(flag: Flag, code: &[u8]) -> Self {
        match (flag.is_response(), flag.is_request()) {
            (true, _) if code.is_empty() => Self::Response,
            (true, _) => Self::Error,
            (false, true) => Self::Request,
            (false, false) => Self::Message,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::Error => "error",
            Self::Message => "message",
        }
    }
}

struct Row {
    offset: u64,
    flag: u8,
    kind: Kind,
    sequence: u16,
    code: String,
    len: u64,
    payload: Option<Vec<u8>>,
    note: String,
}

type Payload<'a> = Option<(&'a [u8], Result<Opened<'a>, String>)>;

fn row(seen: &mut Seen, offset: u64, head: &Head<'_>, payload: Payload<'_>) -> Row {
    let kind = Kind::of(head.flag, head.code);
    *match kind {
        Kind::Request => &mut seen.requests,
        Kind::Response => &mut seen.responses,
        Kind::Error => &mut seen.errors,
        Kind::Message => &mut seen.messages,
    } += 1;
    let mut notes = Vec::new();
    let zip = head.flag.zip();
    let (mut code, mut shown) = (preview_code(head.code), None);
    match payload {
        None => notes.push("too long to be shown".to_owned()),
        Some((_, Ok(Opened { code: opened, payload }))) => {
            code = opened.to_owned();
            if zip.code {
                notes.push(format!("code inflated from {}", bytes(head.code.len() as u64)));
            }
            if zip.payload {
                notes.push(format!("inflated to {}", bytes(payload.len() as u64)));
            }
            shown = Some(payload.to_vec());
        }
        Some((raw, Err(error))) => {
            if zip.any() {
                seen.bad += 1;
            }
            notes.push(error);
            shown = Some(raw.to_vec());
        }
    }
    let shortest = head.flag.with(zip, head.payload_len);
    if shortest.length_width() < head.flag.length_width() {
        notes.push(format!("length in {} bytes", head.flag.length_width()));
    }
    if head.flag.has(Flag::RESERVED) {
        notes.push(format!("reserved bits {:#04x}", head.flag.0 & Flag::RESERVED.0));
    }
    let note = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
    let (flag, sequence, len) = (head.flag.0, head.sequence, head.payload_len);
    Row { offset, flag, kind, sequence, code, len, payload: shown, note }
}

fn preview_code(code: &[u8]) -> String {
    core::str::from_utf8(code).map_or_else(|_| preview(code, 24), str::to_owned)
}

impl Row {
    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "offset": self.offset,
            "flag": self.flag,
            "kind": self.kind.name(),
            "seq": self.sequence,
            "code": self.code,
            "length": self.len,
            "payload_hex": self.payload.as_deref().map(hex),
            "note": self.note.trim().trim_matches(['(', ')']),
        })
    }
}

/// A line of the table
impl core::fmt::Display for Row {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { offset, sequence, code, len, note, .. } = self;
        let kind = self.kind.name();
        // Control characters would reach the terminal.
        let code = if code.chars().any(char::is_control) { format!("{code:?}") } else { code.clone() };
        let code = match code.chars().count() {
            0 => "-".to_owned(),
            1..=24 => code,
            _ => code.chars().take(23).chain(['…']).collect(),
        };
        let payload = self.payload.as_ref().map_or_else(String::new, |payload| preview(payload, 48));
        write!(f, "{offset:>10}  {kind:<8} {sequence:>5}  {code:<24} {:>10}  {payload}{note}", grouped(*len))
    }
}
