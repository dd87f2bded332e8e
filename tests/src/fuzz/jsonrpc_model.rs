//! A JSON-RPC connection under arbitrary commands, beside a book of what is owed

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Arbitrary, Unstructured};
use flyrpc_core::jsonrpc::{Framing, JsonRpc, Notes, codes};
use flyrpc_core::{
    Call, Dialect as _, Incoming, Instant, Limits, Refusal, Reply, ReplyToken, SliceSink, What,
};
use serde_json::Value;

use crate::jsonrpc::{Conn, framed, unframed};

/// What the peer sends, what the application does, and what the transport takes
#[derive(Arbitrary, Clone, Debug)]
enum Op {
    /// The peer sends one message
    Send(Element),
    /// The peer sends a batch
    Batch(Vec<Element>),
    /// The peer sends a line that is not JSON, or a frame of it
    Garbage,
    /// The peer answers a call of ours, or one that there never was
    Answer { call: u8, error: bool },
    /// So many bytes of what was sent arrive
    Deliver(u8),
    /// The application answers a request, with so much room in the sink at first
    Reply { which: u8, error: bool, room: u8 },
    /// The application gives a request up
    Abandon { which: u8 },
    /// The transport takes what the connection sends of itself, with so much room
    Transmit { room: u8 },
    /// The application calls
    Call,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Element {
    Request { text_id: bool },
    Notification,
    Ping,
    Invalid,
    InvalidNotification,
}

/// What the peer waits for
#[derive(Debug, Default)]
struct Book {
    /// Requests that stand alone, by id, and whether they were given up
    single: BTreeMap<String, bool>,
    /// The ids of each batch, in the same way
    batches: Vec<BTreeMap<String, bool>>,
    /// Invalid elements of each batch: answers with id null
    invalid: Vec<usize>,
    /// Single answers with id null, by code
    nulls: BTreeMap<i64, usize>,
}

struct World {
    conn: Conn,
    framing: Framing,
    book: Book,
    /// Sent by the peer and not delivered yet
    wire: Vec<u8>,
    /// Sent by the connection
    sent: Vec<u8>,
    tokens: Vec<(ReplyToken<JsonRpc>, String)>,
    /// Calls of ours in flight
    calls: BTreeSet<u32>,
    next_id: u32,
    next_tag: u32,
}

/// Commands in any order: every request is answered exactly once, or given up; each batch in one array, when all of it is there,
/// with the answers that it is owed and no others; every call gives its tag back once; a sink without room changes nothing
pub fn jsonrpc_model(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(choice) = u8::arbitrary(&mut input) else { return };
    let framing = [Framing::Lines, Framing::ContentLength, Framing::Units][usize::from(choice % 3)];
    let mut world = World {
        conn: Conn::new(
            JsonRpc::new().framing(framing).max_batch(8),
            Limits::new().max_unanswered([3, 100][usize::from(choice >> 7)]),
        ),
        framing,
        book: Book::default(),
        wire: Vec::new(),
        sent: Vec::new(),
        tokens: Vec::new(),
        calls: BTreeSet::new(),
        next_id: 0,
        next_tag: 1,
    };
    for _ in 0..400 {
        let Ok(op) = Op::arbitrary(&mut input) else { break };
        world.apply(&op);
        if input.is_empty() {
            break;
        }
    }
    world.finish();
}

impl World {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Send(element) => {
                let (text, id) = self.element(*element);
                match (element, id) {
                    (_, Some(id)) => drop(self.book.single.insert(id, false)),
                    (Element::Invalid, None) => {
                        *self.book.nulls.entry(codes::INVALID_REQUEST).or_default() += 1
                    }
                    _ => {}
                }
                self.wire.extend(framed(self.framing, text.as_bytes()));
            }
            Op::Batch(elements) => self.send_batch(&elements[..elements.len().min(9)]),
            Op::Garbage => {
                *self.book.nulls.entry(codes::PARSE_ERROR).or_default() += 1;
                self.wire.extend(framed(self.framing, b"{\"id\":1,]}"));
            }
            Op::Answer { call, error } => {
                let outcome =
                    if *error { "\"error\":{\"code\":7,\"message\":\"no\"}" } else { "\"result\":[7]" };
                let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{call},{outcome}}}");
                self.wire.extend(framed(self.framing, text.as_bytes()));
            }
            Op::Deliver(bytes) => self.deliver(usize::from(*bytes)),
            Op::Reply { which, error, room } => self.reply(usize::from(*which), *error, usize::from(*room)),
            Op::Abandon { which } => {
                if !self.tokens.is_empty() {
                    let (token, id) = self.tokens.remove(usize::from(*which) % self.tokens.len());
                    self.conn.abandon(token);
                    let all = core::iter::once(&mut self.book.single).chain(&mut self.book.batches);
                    let given_up = all.filter_map(|ids| ids.get_mut(&id)).map(|it| *it = true).count();
                    assert_eq!(given_up, 1);
                }
            }
            Op::Transmit { room } => self.transmit(usize::from(*room) * 4),
            Op::Call => {
                let called =
                    self.conn.call(Instant::ZERO, Call::new("call", b"[]"), self.next_tag, &mut Vec::new());
                assert!(called.is_ok(), "{called:?}");
                self.calls.insert(self.next_tag);
                self.next_tag += 1;
            }
        }
        let unanswered = self.tokens.len();
        assert_eq!(self.conn.unanswered() as usize, unanswered);
        assert!(self.conn.dialect().held() == 0 || !self.book.batches.is_empty());
    }

    fn element(&mut self, element: Element) -> (String, Option<String>) {
        self.next_id += 1;
        let id = if matches!(element, Element::Request { text_id: true }) {
            format!("\"{} a longer id than most\"", self.next_id)
        } else {
            format!("{}", 1000 + self.next_id)
        };
        match element {
            Element::Request { .. } => {
                (format!("{{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":[{id}],\"id\":{id}}}"), Some(id))
            }
            Element::Ping => {
                (format!("{{\"id\":{id},\"method\":\"rpc.ping\",\"jsonrpc\":\"2.0\"}}"), Some(id))
            }
            Element::Notification => ("{\"jsonrpc\":\"2.0\",\"method\":\"n\"}".to_owned(), None),
            Element::Invalid => ("{}".to_owned(), None),
            Element::InvalidNotification => ("{\"method\":\"n\"}".to_owned(), None),
        }
    }

    fn send_batch(&mut self, elements: &[Element]) {
        let made: Vec<_> = elements.iter().map(|element| self.element(*element)).collect();
        let texts: Vec<&str> = made.iter().map(|(text, _)| text.as_str()).collect();
        self.wire.extend(framed(self.framing, format!("[{}]", texts.join(" , ")).as_bytes()));
        if texts.is_empty() || texts.len() > 8 {
            *self.book.nulls.entry(codes::INVALID_REQUEST).or_default() += 1;
            return;
        }
        self.book.batches.push(made.iter().filter_map(|(_, id)| id.clone()).map(|id| (id, false)).collect());
        let invalid = elements.iter().filter(|element| matches!(element, Element::Invalid)).count();
        self.book.invalid.push(invalid);
    }

    fn deliver(&mut self, bytes: usize) {
        let end = bytes.min(self.wire.len());
        let mut at = 0;
        loop {
            let step = self
                .conn
                .handle_input(Instant::ZERO, &self.wire[at..end])
                .expect("the peer errs within bounds");
            at += step.consumed;
            match step.what {
                What::NeedMore { .. } | What::Blocked => break,
                What::Handled => {}
                What::Incoming(Incoming::Request { method, body, token, .. }) => {
                    let id = self.conn.dialect().id(token.key()).expect("it is owed").to_vec();
                    assert_eq!((method, body.bytes()), (&b"m"[..], &*[b"[", &id[..], b"]"].concat()));
                    self.tokens.push((token, String::from_utf8(id).expect("an id of ours")));
                }
                What::Incoming(Incoming::Notification { method, .. }) => assert_eq!(method, b"n"),
                What::Incoming(Incoming::Reply { tag, code, body, .. }) => {
                    assert!(self.calls.remove(&tag), "its tag came back before");
                    assert_eq!(code.is_empty(), body.bytes() == b"[7]");
                }
                What::Incoming(other) => panic!("{other:?}"),
            }
        }
        self.wire.drain(..at);
    }

    fn reply(&mut self, which: usize, error: bool, room: usize) {
        if self.tokens.is_empty() {
            return;
        }
        let (token, id) = self.tokens.remove(which % self.tokens.len());
        let reply = if error {
            Reply::error("no\n", "{\"why\":\n1}").meta(Notes { error: Some(7), ..Notes::default() })
        } else {
            Reply::ok(&id)
        };
        let held = self.conn.dialect().held();
        let mut memory = vec![0; room];
        let mut narrow = SliceSink::new(&mut memory);
        let token = match self.conn.reply(token, reply, &mut narrow) {
            Ok(()) => return self.sent.extend(narrow.written()),
            Err(refused) => {
                assert!(matches!(refused.why, Refusal::NoRoom { need } if need > room), "{refused:?}");
                assert!(narrow.written().is_empty() && self.conn.dialect().held() == held);
                refused.back
            }
        };
        assert!(self.conn.reply(token, reply, &mut self.sent).is_ok());
    }

    fn transmit(&mut self, room: usize) {
        let mut memory = vec![0; room];
        let mut narrow = SliceSink::new(&mut memory);
        while let Ok(Some(sent)) = self.conn.poll_transmit(&mut narrow) {
            assert!(sent.len > 0);
        }
        self.sent.extend(narrow.written());
    }

    /// Everything is delivered, answered and sent; then the books must agree
    fn finish(mut self) {
        while !self.wire.is_empty() || !self.tokens.is_empty() {
            let before = (self.wire.len(), self.tokens.len());
            while !self.tokens.is_empty() {
                self.reply(0, false, 10_000);
            }
            while let Ok(Some(_)) = self.conn.poll_transmit(&mut self.sent) {}
            self.deliver(usize::MAX);
            assert_ne!((self.wire.len(), self.tokens.len()), before, "goes round without taking anything");
        }
        while let Ok(Some(_)) = self.conn.poll_transmit(&mut self.sent) {}
        assert_eq!((self.conn.unanswered(), self.conn.dialect().held()), (0, 0));
        let mut batches: Vec<_> = self.book.batches.into_iter().zip(self.book.invalid).collect();
        let mut single = self.book.single;
        let mut nulls = self.book.nulls;
        for text in unframed(self.framing, &self.sent) {
            let message: Value = serde_json::from_str(&text).expect("what is sent is JSON");
            if let Value::Array(answers) = &message {
                let ids: Vec<String> = answers.iter().map(id_of).collect();
                let at = batches
                    .iter()
                    .position(|(owed, invalid)| is_answered(owed, *invalid, &ids))
                    .unwrap_or_else(|| panic!("{text} answers none of {batches:?}"));
                batches.remove(at);
            } else if message["id"].is_null() {
                let code = message["error"]["code"].as_i64().expect("a code");
                let left = nulls.get_mut(&code).unwrap_or_else(|| panic!("{text} was not asked for"));
                *left = left.checked_sub(1).expect("once too often");
            } else {
                let given_up = single.remove(&id_of(&message));
                assert_eq!(given_up, Some(false), "{text} was answered, given up, or never asked");
            }
        }
        assert!(single.values().all(|given_up| *given_up), "not answered: {single:?}");
        assert!(nulls.values().all(|left| *left == 0), "not answered: {nulls:?}");
        for (owed, invalid) in &batches {
            assert!(*invalid == 0 && owed.values().all(|given_up| *given_up), "not answered: {owed:?}");
        }
        self.conn.close();
        while let Some(event) = self.conn.poll_event() {
            if let flyrpc_core::Event::Lost { tag, .. } = event {
                assert!(self.calls.remove(&tag), "its tag came back before");
            }
        }
        assert!(self.calls.is_empty(), "calls that hang: {:?}", self.calls);
    }
}

fn id_of(answer: &Value) -> String {
    assert_eq!(answer["jsonrpc"], "2.0");
    assert!(answer.get("result").is_some() != answer.get("error").is_some());
    answer["id"].to_string()
}

/// Are these the answers that the batch is owed?
fn is_answered(owed: &BTreeMap<String, bool>, invalid: usize, ids: &[String]) -> bool {
    let (nulls, named): (Vec<_>, Vec<_>) = ids.iter().partition(|id| *id == "null");
    let owed: BTreeSet<&String> = owed.iter().filter(|(_, given_up)| !**given_up).map(|(id, _)| id).collect();
    let distinct: BTreeSet<&String> = named.iter().copied().collect();
    nulls.len() == invalid && distinct.len() == named.len() && distinct == owed
}
