//! `docs/protocol.md` says what is true: its examples run, its tables hold the code's values, its rules can be cited

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic as the test may")]

use std::collections::BTreeMap;

use flyrpc_core::fly::zip::{Unzip, ZipError};
use flyrpc_core::fly::{Flag, Fly, RawPacket, Zip, codes};
use flyrpc_core::{
    Body, Call, CallId, CloseReason, Connection, Incoming, Instant, Limits, Reply, ReplyToken, Table, What,
    WireError,
};

const DOCUMENT: &str = include_str!("../../docs/protocol.md");
const NOW: Instant = Instant::ZERO;

// What the document's examples look like

/// One fenced block of examples: packets of one conversation, in the order in which they are written
type Block = Vec<Example>;

/// `-> bytes  # kind key=value … mark … ; remark`, where the bytes may begin on the lines before
#[derive(Debug)]
struct Example {
    line: usize,
    from: usize,
    wire: Vec<u8>,
    kind: String,
    said: BTreeMap<String, Vec<u8>>,
    marks: Vec<String>,
}

const KINDS: [&str; 5] = ["request", "message", "response", "incomplete", "fatal"];
const KEYS: [&str; 7] = ["seq", "code", "payload", "zip", "flag", "at-least", "offset"];
const MARKS: [&str; 2] = ["foreign", "dropped"];

/// All blocks of a document; panics where it has none, or an example without its description
fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = document.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((start, line)) = lines.next() {
        if line.trim_end() != "```hex" {
            continue;
        }
        let mut block = Block::new();
        let mut pending: Option<(usize, Vec<u8>)> = None;
        loop {
            let (number, line) = lines.next().unwrap_or_else(|| panic!("line {start}: the block has no end"));
            if line == "```" {
                break;
            }
            let (bytes, description) = match line.split_once('#') {
                Some((bytes, description)) => (bytes, Some(description)),
                None => (line, None),
            };
            let bytes = match bytes.get(..2) {
                Some(arrow @ ("->" | "<-")) => {
                    assert!(pending.is_none(), "line {number}: the example before has no description");
                    pending = Some((usize::from(arrow == "<-"), Vec::new()));
                    &bytes[2..]
                }
                _ => bytes,
            };
            let (_, wire) = pending.as_mut().unwrap_or_else(|| panic!("line {number}: neither -> nor <-"));
            wire.extend(bytes.split_whitespace().flat_map(|word| byte(word, number)));
            if let Some(description) = description
                && let Some((from, wire)) = pending.take()
            {
                block.push(Example::new(number, from, wire, description));
            }
        }
        assert!(pending.is_none(), "line {start}: the block's last example has no description");
        assert!(!block.is_empty(), "line {start}: the block has no example");
        blocks.push(block);
    }
    assert!(!blocks.is_empty(), "the document has no examples");
    blocks
}

/// `61`, or `61*256`
fn byte(word: &str, line: usize) -> Vec<u8> {
    let (digits, count) = word.split_once('*').unwrap_or((word, "1"));
    match (digits.len(), u8::from_str_radix(digits, 16), count.parse()) {
        (2, Ok(byte), Ok(count)) => vec![byte; count],
        _ => panic!("line {line}: {word:?} is not a byte"),
    }
}

impl Example {
    fn new(line: usize, from: usize, wire: Vec<u8>, description: &str) -> Self {
        let mut example =
            Self { line, from, wire, kind: String::new(), said: BTreeMap::new(), marks: Vec::new() };
        let mut rest = description.trim();
        while !rest.is_empty() && !rest.starts_with(';') {
            let end = rest.find([' ', '=']).unwrap_or(rest.len());
            let word = rest[..end].to_owned();
            if let Some(value) = rest[end..].strip_prefix('=') {
                let (value, behind) = value_of(value, line);
                assert!(KEYS.contains(&&*word), "line {line}: unknown key {word:?}");
                assert!(example.said.insert(word, value).is_none(), "line {line}: a key is said twice");
                rest = behind.trim_start();
                continue;
            }
            if example.kind.is_empty() {
                assert!(KINDS.contains(&&*word), "line {line}: unknown kind {word:?}");
                example.kind = word;
            } else {
                assert!(MARKS.contains(&&*word), "line {line}: unknown mark {word:?}");
                example.marks.push(word);
            }
            rest = rest[end..].trim_start();
        }
        let needs: &[&str] = match &*example.kind {
            "" => panic!("line {line}: the example has no description"),
            "incomplete" => &["at-least"],
            "fatal" => &["offset"],
            _ => &["seq", "code", "payload"],
        };
        for key in needs {
            assert!(example.said.contains_key(*key), "line {line}: {key} is not said");
        }
        example
    }

    fn number(&self, key: &str) -> u64 {
        let text = String::from_utf8_lossy(&self.said[key]).into_owned();
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        number.unwrap_or_else(|_| panic!("line {}: {key}={text} is not a number", self.line))
    }

    fn sequence(&self) -> u16 {
        u16::try_from(self.number("seq")).unwrap()
    }

    fn is(&self, mark: &str) -> bool {
        self.marks.iter().any(|own| own == mark)
    }

    fn is_packet(&self) -> bool {
        matches!(&*self.kind, "request" | "message" | "response")
    }

    /// What the description says is compressed
    fn zip(&self) -> Zip {
        let parts = self.said.get("zip").map_or(&b""[..], |parts| parts);
        let mut zip = Zip::NONE;
        for part in parts.split(|byte| *byte == b',').filter(|part| !part.is_empty()) {
            match part {
                b"code" => zip.code = true,
                b"payload" => zip.payload = true,
                _ => panic!("line {}: zip is code, payload or both", self.line),
            }
        }
        zip
    }

    /// The packet as it is on the wire
    fn packet(&self) -> RawPacket<'_> {
        let (packet, len) = RawPacket::decode(&self.wire, 1024, 1 << 20)
            .unwrap_or_else(|fault| panic!("line {}: {fault:?}", self.line))
            .unwrap_or_else(|| panic!("line {}: the packet is not complete", self.line));
        assert_eq!(len, self.wire.len(), "line {}: bytes behind the packet", self.line);
        packet
    }

    /// Are these the code and the payload that the description says, once they are inflated?
    fn assert_content(&self, code: &[u8], payload: &[u8], zip: Zip) {
        let mut unzip = Unzip::new();
        let (code, payload) = if zip.any() {
            let opened = unzip.open(code, payload, zip, &Limits::new());
            let opened = opened.unwrap_or_else(|error| panic!("line {}: {error}", self.line));
            (opened.code.as_bytes(), opened.payload)
        } else {
            (code, payload)
        };
        assert_eq!(code.escape_ascii().to_string(), self.text("code"), "line {}: code", self.line);
        assert_eq!(payload.escape_ascii().to_string(), self.text("payload"), "line {}: payload", self.line);
    }

    fn text(&self, key: &str) -> String {
        self.said[key].escape_ascii().to_string()
    }

    /// Decodes to what is said, at no earlier byte than the last, and is what we would write
    fn check(&self) {
        let line = self.line;
        if !self.is_packet() {
            return;
        }
        let packet = self.packet();
        let kind = match packet.flag {
            flag if flag.is_response() => "response",
            flag if flag.is_request() => "request",
            _ => "message",
        };
        assert_eq!(kind, self.kind, "line {line}: kind");
        assert_eq!(packet.sequence, self.sequence(), "line {line}: sequence");
        assert_eq!(packet.flag.zip(), self.zip(), "line {line}: zip");
        self.assert_content(packet.code, packet.payload, packet.flag.zip());
        for cut in 0..self.wire.len() {
            let early = RawPacket::decode(&self.wire[..cut], 1024, 1 << 20);
            assert_eq!(early, Ok(None), "line {line}: complete after {cut} bytes");
        }
        if self.is("foreign") {
            assert_eq!(u64::from(packet.flag.0), self.number("flag"), "line {line}: flag");
            return;
        }
        let bits = match &*self.kind {
            "request" => Flag::REQUEST,
            "response" => Flag::RESPONSE,
            _ => Flag::MESSAGE,
        };
        let ours = RawPacket { flag: bits.with(self.zip(), 0), ..packet };
        let mut wire = Vec::new();
        ours.encode(&mut wire).unwrap();
        assert!(wire == self.wire, "line {line}: we would write {:02x?}…", &wire[..wire.len().min(32)]);
    }
}

/// The value that `text` starts with, and what is behind it: a word, or `"quoted"` with escapes and a count
fn value_of(text: &str, line: usize) -> (Vec<u8>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
        return (word.as_bytes().to_vec(), rest);
    };
    let mut value = Vec::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => {
                let rest = &quoted[at + 1..];
                let Some(rest) = rest.strip_prefix('*') else { return (value, rest) };
                let (count, rest) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
                let count = count.parse().unwrap_or_else(|_| panic!("line {line}: {count:?} is no count"));
                return (value.repeat(count), rest);
            }
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push(b'\n'),
                Some((at, 'x')) => {
                    let digits = quoted.get(at + 1..at + 3).unwrap_or_default();
                    value.push(u8::from_str_radix(digits, 16).unwrap());
                    chars.nth(1);
                }
                other => panic!("line {line}: unknown escape {other:?}"),
            },
            _ => value.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    panic!("line {line}: a quoted value has no end")
}

// Replaying a block

/// One end of the conversation that a block shows
struct End {
    conn: Connection<Fly, Table<u16>>,
    calls: Vec<(u16, CallId)>,
    owed: Vec<ReplyToken<Fly>>,
    /// Sequences of requests that this end would not write, so that their answers find nobody
    foreign: Vec<u16>,
}

impl End {
    fn new(side: usize, block: &Block) -> Self {
        let first = block
            .iter()
            .find(|example| example.from == side && example.kind == "request" && !example.is("foreign"))
            .map_or(1, Example::sequence);
        Self {
            conn: Connection::new(Fly::default(), Limits::new()).first_sequence(u32::from(first)),
            calls: Vec::new(),
            owed: Vec::new(),
            foreign: Vec::new(),
        }
    }

    /// Does what leads to the example's packet, and gives the bytes that came of it
    fn write(&mut self, example: &Example) -> Vec<u8> {
        let packet = example.packet();
        let (code, payload, meta) = (packet.code, packet.payload, packet.flag.zip());
        let mut out = Vec::new();
        match &*example.kind {
            "request" if code == codes::PING.as_bytes() => {
                let call =
                    self.conn.ping(NOW, payload.len(), Instant::FAR, packet.sequence, &mut out).unwrap();
                self.calls.push((packet.sequence, call));
            }
            "request" => {
                let call = Call::new(code, payload).meta(meta);
                let call = self.conn.call(NOW, call, packet.sequence, &mut out).unwrap();
                self.calls.push((packet.sequence, call));
            }
            "message" if code == codes::CANCEL.as_bytes() => {
                let sequence = u16::from_be_bytes(payload.try_into().unwrap());
                let (_, call) = *self.calls.iter().find(|(own, _)| *own == sequence).unwrap();
                assert_eq!(self.conn.cancel(call), Some(sequence), "line {}: no such call", example.line);
                let _ = self.conn.poll_transmit(&mut out).unwrap();
            }
            "message" => self.conn.notify(NOW, Call::new(code, payload).meta(meta), &mut out).unwrap(),
            _ => match self.owed.iter().position(|token| token.key() == packet.sequence) {
                Some(index) => {
                    let reply =
                        if code.is_empty() { Reply::ok(payload) } else { Reply::error(code, payload) };
                    self.conn.reply(self.owed.remove(index), reply.meta(meta), &mut out).unwrap();
                }
                None => {
                    let _ = self.conn.poll_transmit(&mut out).unwrap();
                }
            },
        }
        out
    }

    /// What another program at this end would have written: nothing of it is known here
    fn write_foreign(&mut self, example: &Example) {
        let sequence = example.sequence();
        match &*example.kind {
            "request" => self.foreign.push(sequence),
            "response" => self.owed.retain(|token| token.key() != sequence),
            _ => {}
        }
    }

    /// Takes the example's packet; is what came out what the description says?
    fn read(&mut self, example: &Example) {
        let line = example.line;
        let before = self.settled();
        let step = match self.conn.handle_input(NOW, &example.wire) {
            Ok(step) => step,
            Err(error) => panic!("line {line}: {error}"),
        };
        assert_eq!(step.consumed, example.wire.len(), "line {line}: bytes consumed");
        let whole = |body: Body<'_>| assert!(matches!(body, Body::Whole(_)), "line {line}: streamed");
        match (&*example.kind, step.what) {
            (_, What::Handled) if example.is("dropped") => {
                assert_eq!(self.settled().dropped, before.dropped + 1, "line {line}: it was not dropped");
            }
            (_, what) if example.is("dropped") => panic!("line {line}: not dropped but {what:?}"),
            ("request", What::Incoming(Incoming::Request { method, body, meta, token })) => {
                whole(body);
                example.assert_content(method, body.bytes(), meta);
                assert_eq!(token.key(), example.sequence(), "line {line}: sequence");
                self.owed.push(token);
            }
            // Answered without asking the application; the answer is the next thing that this end has to write.
            ("request", What::Handled) => {
                assert_eq!(self.settled().answered_itself, before.answered_itself + 1, "line {line}");
            }
            ("message", What::Incoming(Incoming::Notification { method, body, meta })) => {
                whole(body);
                example.assert_content(method, body.bytes(), meta);
            }
            ("message", What::Incoming(Incoming::Cancel { request })) => {
                assert_eq!(
                    request.to_be_bytes(),
                    *example.said["payload"],
                    "line {line}: cancelled sequence"
                );
                assert!(
                    self.owed.iter().any(|token| token.key() == request),
                    "line {line}: nothing to cancel"
                );
            }
            ("response", What::Incoming(Incoming::Reply { tag, code, body, meta, .. })) => {
                whole(body);
                assert_eq!(tag, example.sequence(), "line {line}: whose answer");
                example.assert_content(code, body.bytes(), meta);
            }
            ("response", What::Incoming(Incoming::Pong { tag, len, .. })) => {
                assert_eq!(tag, example.sequence(), "line {line}: whose answer");
                assert_eq!(len, example.said["payload"].len() as u64, "line {line}: length of the ping");
            }
            (_, what) => panic!("line {line}: {what:?}"),
        }
    }

    fn settled(&self) -> Settled {
        let stats = self.conn.stats();
        Settled {
            dropped: stats.late_replies + stats.unknown_replies + stats.invalid,
            answered_itself: stats.own + stats.rejected + stats.invalid,
        }
    }
}

/// Packets that did not reach the application
struct Settled {
    dropped: u32,
    answered_itself: u32,
}

/// Replays a block between two connections
fn replay(block: &Block) {
    let mut ends = [End::new(0, block), End::new(1, block)];
    for example in block {
        let line = example.line;
        let (sender, receiver) = (example.from, 1 - example.from);
        if !example.is_packet() {
            assert_end(example, &mut ends[receiver].conn);
            return;
        }
        if example.is("foreign") {
            ends[sender].write_foreign(example);
        } else {
            let written = ends[sender].write(example);
            assert!(written == example.wire, "line {line}: {}", written.escape_ascii());
        }
        if example.kind == "response" && ends[receiver].foreign.contains(&example.sequence()) {
            continue;
        }
        ends[receiver].read(example);
        if example.kind == "response" && is_hello(block, example) {
            ends[receiver].conn.dialect_mut().learn(&example.said["payload"]);
        }
    }
    let line = block[0].line;
    for end in &mut ends {
        assert_eq!(end.owed.len(), 0, "block at line {line}: a request is not answered");
        let mut rest = Vec::new();
        assert_eq!(end.conn.poll_transmit(&mut rest), Ok(None), "block at line {line}: a packet is missing");
        assert_eq!(end.conn.in_flight(), 0, "block at line {line}: a call is not answered");
    }
}

fn is_hello(block: &Block, answer: &Example) -> bool {
    block.iter().any(|example| {
        example.from != answer.from
            && example.kind == "request"
            && example.sequence() == answer.sequence()
            && *example.said["code"] == *codes::HELLO.as_bytes()
    })
}

/// What ends a connection: a stream that is cut short, or a fatal packet
fn assert_end(example: &Example, conn: &mut Connection<Fly, Table<u16>>) {
    let line = example.line;
    match (&*example.kind, conn.handle_input(NOW, &example.wire)) {
        ("incomplete", Ok(step)) => {
            let What::NeedMore { at_least } = step.what else { panic!("line {line}: {:?}", step.what) };
            assert_eq!(at_least as u64, example.number("at-least"), "line {line}");
            conn.handle_eof(NOW);
            assert_eq!(conn.close_reason(), Some(CloseReason::CutShort), "line {line}");
        }
        ("fatal", Err(error)) => {
            assert_eq!(error.what, WireError::BodyTooLong, "line {line}");
            assert_eq!(error.offset, example.number("offset"), "line {line}");
        }
        (kind, result) => panic!("line {line}: {kind}, but {result:?}"),
    }
}

// The document

#[test]
fn every_example_is_the_packet_that_its_description_says() {
    blocks(DOCUMENT).iter().flatten().for_each(Example::check);
}

#[test]
fn every_conversation_runs_between_two_connections() {
    blocks(DOCUMENT).iter().for_each(replay);
}

#[test]
fn the_examples_show_every_kind_of_packet() {
    let examples: Vec<_> = blocks(DOCUMENT).into_iter().flatten().collect();
    let shown = |what: &str, found: &dyn Fn(&Example) -> bool| {
        assert!(examples.iter().any(|example| example.is_packet() && found(example)), "no example of {what}");
    };
    for kind in ["request", "message", "response"] {
        shown(kind, &|example| example.kind == kind);
    }
    for width in [1, 2, 4, 8] {
        shown("a width of the length", &|example| example.packet().flag.length_width() == width);
    }
    for code in [codes::PING, codes::HELLO, codes::CANCEL] {
        shown(code, &|example| *example.said["code"] == *code.as_bytes());
    }
    let response = |example: &Example| example.kind == "response";
    let empty = |example: &Example, key: &str| example.said[key].is_empty();
    shown("an ack", &|example| response(example) && empty(example, "code") && empty(example, "payload"));
    shown("an error", &|example| response(example) && !empty(example, "code") && empty(example, "payload"));
    shown("details", &|example| response(example) && !empty(example, "code") && !empty(example, "payload"));
    shown("a compressed code", &|example| example.zip().code);
    shown("a compressed payload", &|example| example.zip().payload);
    for kind in ["incomplete", "fatal"] {
        assert!(examples.iter().any(|example| example.kind == kind), "no example of {kind}");
    }
}

#[test]
fn the_defaults_in_the_table_of_limits_are_the_codes() {
    let limits = Limits::new();
    let millis = |time: core::time::Duration| u64::try_from(time.as_millis()).unwrap();
    for (name, default) in [
        ("max_method", u64::from(limits.get_max_method())),
        ("max_payload", u64::from(limits.get_max_payload())),
        ("max_body", limits.get_max_body()),
        ("max_unanswered", u64::from(limits.get_max_unanswered())),
        ("max_in_flight", u64::from(limits.get_max_in_flight())),
        ("call_timeout", millis(limits.get_call_timeout())),
        ("quarantine", millis(limits.get_quarantine())),
    ] {
        let row = row_of(name);
        let said = row[2].replace(',', "");
        assert_eq!(said, default.to_string(), "{name}");
    }
    assert!(DOCUMENT.contains(&format!("at least {} bytes", flyrpc_core::fly::zip::Zipper::THRESHOLD)));
}

#[test]
fn every_code_with_a_meaning_has_its_row() {
    for code in [
        codes::TIMEOUT,
        codes::NOT_FOUND,
        codes::HANDLER_PANIC,
        codes::BAD_CODE,
        codes::BAD_PAYLOAD,
        codes::BAD_ZIP,
        codes::TOO_LARGE,
        codes::BUSY,
        codes::CANCELLED,
        codes::DRAINING,
        codes::ERROR,
        codes::PING,
        codes::CANCEL,
        codes::HELLO,
    ] {
        let row = row_of(code);
        assert!(row.len() >= 3 && row.iter().all(|cell| !cell.is_empty()), "{code}: {row:?}");
    }
}

#[test]
fn the_flag_bits_in_the_table_are_the_codes() {
    for (bits, name) in [
        (Flag::RESPONSE, "response"),
        (Flag::REQUEST, "wait response"),
        (Flag::ZIP_CODE, "zip code"),
        (Flag::ZIP_PAYLOAD, "zip payload"),
        (Flag::WIDTH, "width"),
    ] {
        assert_eq!(row_of(&format!("{:02x}", bits.0))[1], name);
    }
}

#[test]
fn rules_are_numbered_without_gaps_and_every_cited_rule_exists() {
    let defined: Vec<u32> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("* **F")?.split_once("**")?.0.parse().ok())
        .collect();
    let last = u32::try_from(defined.len()).unwrap();
    assert_eq!(defined, (1..=last).collect::<Vec<_>>());
    assert!(DOCUMENT.contains(&format!("numbered **F1** to **F{last}**")), "the introduction names the last");
    let words = DOCUMENT.split(|char: char| !char.is_ascii_alphanumeric());
    for cited in words.filter_map(|word| word.strip_prefix('F')?.parse::<u32>().ok()) {
        assert!((1..=last).contains(&cited), "F{cited} is cited and does not exist");
    }
}

#[test]
fn no_line_is_longer_than_120_characters() {
    for (index, line) in DOCUMENT.lines().enumerate() {
        assert!(line.chars().count() <= 120, "line {} is longer", index + 1);
    }
}

/// The cells of the table row that begins with `name`
fn row_of(name: &str) -> Vec<&'static str> {
    let start = format!("| `{name}` |");
    let mut rows = DOCUMENT.lines().filter(|line| line.starts_with(&start));
    let row = rows.next().unwrap_or_else(|| panic!("no row for {name}"));
    assert_eq!(rows.next(), None, "two rows for {name}");
    row.trim_matches('|').split('|').map(str::trim).collect()
}

// The test itself

#[test]
#[should_panic(expected = "the document has no examples")]
fn a_document_without_examples_is_refused() {
    blocks("# Nothing\n\n```text\n00\n```\n");
}

#[test]
#[should_panic(expected = "has no description")]
fn an_example_without_a_description_is_refused() {
    blocks("```hex\n-> 00 00 00 00 00\n```\n");
}

#[test]
#[should_panic(expected = "has no description")]
fn an_example_with_an_empty_description_is_refused() {
    blocks("```hex\n-> 00 00 00 00 00  #\n```\n");
}

#[test]
#[should_panic(expected = "payload")]
fn a_wrong_description_is_refused() {
    blocks("```hex\n-> 00 00 00 00 01 61  # message seq=0 code=\"\" payload=\"b\"\n```\n")[0][0].check();
}

#[test]
#[should_panic(expected = "we would write")]
fn bytes_that_we_would_not_write_are_refused_unless_foreign() {
    blocks("```hex\n-> 01 00 00 00 00 00  # message seq=0 code=\"\" payload=\"\"\n```\n")[0][0].check();
}

#[test]
#[should_panic(expected = "a packet is missing")]
fn a_conversation_that_leaves_an_answer_out_is_refused() {
    let text =
        "```hex\n-> 40 00 01 ff 00 00  # request flag=0x40 seq=1 code=\"\\xff\" payload=\"\" foreign\n```\n";
    replay(&blocks(text)[0]);
}

// A rule of the document that the code does not keep yet

/// F5 and F37: `a`, 0x00, `b` as a stored DEFLATE block, stuffed
#[test]
fn f37_an_inflated_code_with_a_nul_is_refused() {
    let deflated = [0x01, 3, 0, 0xfc, 0xff, b'a', 0, b'b'];
    let mut code = [0; 16];
    let len = flyrpc_core::fly::zip::encode_cobs(&deflated, &mut code).unwrap();
    let mut unzip = Unzip::new();
    let opened = unzip.open(&code[..len], b"", Zip { code: true, payload: false }, &Limits::new());
    assert_eq!(opened.unwrap_err(), ZipError::BadCode);
}
