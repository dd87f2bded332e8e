//! Our connection in the place of one recorded side: its application, its handlers, and what it writes

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flyrpc_core::fly::decode_head;
use flyrpc_core::fly::zip::Unzip;
use flyrpc_core::{Call, Instant, Limits, Reply, Table};
use flyrpc_tests::Peer;
use flyrpc_tests::vectors::Bytes;
use serde_json::Value;

use crate::{DETAILS, MESSAGE_FLAG, Met, NODE_EMPTY, NOW, ZIP, list, name};

/// What the recorded program was
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Go,
    Node,
}

impl Program {
    pub(crate) fn of(case: &Value, side: &str) -> Option<Self> {
        match case[side].as_str() {
            Some("go") => Some(Self::Go),
            Some("node20" | "node6") => Some(Self::Node),
            _ => None,
        }
    }
}

/// What a handler of the vectors' test server does with a request
pub(crate) enum Answer {
    Ok(Vec<u8>),
    Error(&'static str, Vec<u8>),
    /// Calls the other side with this first, and answers with its result
    Callback(String, Vec<u8>),
    /// Sends `note` to the other side with this, and acks
    Push(Vec<u8>),
    Never,
}

/// The handlers of the vectors' README
pub(crate) fn handler(program: Program, code: &str, payload: &[u8]) -> Answer {
    let text = || String::from_utf8_lossy(payload).into_owned();
    match (program, code) {
        (_, "echo" | "你好/é") => Answer::Ok(payload.to_vec()),
        (_, "callback") if program == Program::Node => Answer::Callback("echo".to_owned(), payload.to_vec()),
        (_, "callback") => {
            let asked: Value = serde_json::from_slice(payload).expect("JSON");
            let field = |name: &str| asked[name].as_str().expect("text").to_owned();
            Answer::Callback(field("Code"), field("Payload").into_bytes())
        }
        (_, "push") => Answer::Push(payload.to_vec()),
        (_, "fail") => Answer::Error("FOO", Vec::new()),
        (Program::Node, "free") => Answer::Error("what are", b"you talking about".to_vec()),
        (Program::Node, "failbody") => Answer::Error("FOO", b"details here".to_vec()),
        (Program::Node, _) => Answer::Never,
        (Program::Go, "ack" | "note" | "okerr" | "nilout") => Answer::Ok(Vec::new()),
        (Program::Go, "str") => Answer::Ok([b"got:", payload].concat()),
        (Program::Go, "slow") => Answer::Ok(b"slow-done".to_vec()),
        (Program::Go, "") => Answer::Ok(b"empty-code-ok".to_vec()),
        (Program::Go, "fill") => {
            let asked = text();
            let (byte, count) = asked.split_once(' ').expect("two numbers");
            Answer::Ok(vec![byte.parse().expect("a byte"); count.parse().expect("a count")])
        }
        (Program::Go, "json") => {
            let user: Value = serde_json::from_slice(payload).expect("JSON");
            let (name, age) = (user["name"].as_str().expect("a name"), user["age"].as_u64().expect("an age"));
            Answer::Ok(format!("{{\"name\":\"{name}!\",\"age\":{}}}", age + 1).into_bytes())
        }
        (Program::Go, _) => Answer::Error("NOT_FOUND", Vec::new()),
    }
}

/// Our connection in the place of one recorded side
pub(crate) struct Stage<'m> {
    pub(crate) case: String,
    pub(crate) program: Program,
    pub(crate) peer: Peer<Table<u32>>,
    /// What its application is still to do
    actions: VecDeque<Value>,
    /// Calls made, with tag = index: for which code, and whether anybody wants the answer
    calls: Vec<(String, bool)>,
    /// Requests whose handler has called back: sequence of the request, tag of the call
    callbacks: BTreeMap<u16, u32>,
    pushed: BTreeSet<u16>,
    /// Codes of requests and messages, as they came
    handled: Vec<(String, Vec<u8>)>,
    met: &'m Met,
}

impl<'m> Stage<'m> {
    pub(crate) fn new(case: &Value, side: &str, met: &'m Met) -> Option<Self> {
        let program = Program::of(case, side)?;
        let actions = if side == "client" { list(case, "actions") } else { Vec::new() };
        Some(Self {
            case: name(case),
            program,
            peer: Peer::new(Limits::new()),
            actions: actions.into(),
            calls: Vec::new(),
            callbacks: BTreeMap::new(),
            pushed: BTreeSet::new(),
            handled: Vec::new(),
            met,
        })
    }

    /// The other side has written this
    pub(crate) fn reads(&mut self, bytes: &[u8]) {
        let before = self.peer.owed.len();
        for line in self.peer.feed(NOW, bytes) {
            assert!(!line.starts_with("error") && line != "blocked", "{}: {line}", self.case);
            if let Some(rest) = line.strip_prefix("notification ") {
                let (code, payload) = rest.split_once(' ').expect("code and payload");
                let payload = payload.trim_matches('"');
                self.handled.push((code.to_owned(), payload.as_bytes().to_vec()));
                if (self.program, code) == (Program::Node, "push") {
                    self.actions
                        .push_back(serde_json::json!({"op": "send", "code": "note", "text": payload}));
                }
            }
        }
        for owed in &self.peer.owed[before..] {
            self.handled.push((owed.method.clone(), owed.payload.clone()));
        }
        self.peer.poll(NOW);
    }

    fn call(&mut self, code: &str, payload: &[u8], wanted: bool) -> u32 {
        let tag = self.calls.len() as u32;
        assert!(self.peer.call(NOW, code, payload, tag).is_ok(), "{}: the connection is open", self.case);
        self.calls.push((code.to_owned(), wanted));
        tag
    }

    /// What the recorded side's application did next
    fn acts(&mut self, action: &Value) {
        let code = action["code"].as_str().unwrap_or_default();
        let payload = match (&action["text"], &action["user"]) {
            (Value::String(text), _) => text.clone().into_bytes(),
            // Member order as the real program wrote it, which is that of the recorded action.
            (_, user @ Value::Object(_)) => {
                format!("{{\"name\":{},\"age\":{}}}", user["name"], user["age"]).into_bytes()
            }
            _ => Bytes::of(action).get(..).map(<[u8]>::to_vec).unwrap_or_default(),
        };
        match action["op"].as_str() {
            Some("call" | "callasync" | "calljson") => drop(self.call(code, &payload, true)),
            Some("send") => self.sends(code, &payload),
            Some("close") => {}
            other => panic!("{}: an action that nobody knows: {other:?}", self.case),
        }
    }

    /// A message: as Node's, or (with an ack that nobody waits for) as Go's
    fn sends(&mut self, code: &str, payload: &[u8]) {
        let mut message = Vec::new();
        let sent = self.peer.conn.notify(NOW, Call::new(code, payload), &mut message);
        assert!(sent.is_ok());
        if self.program == Program::Node {
            self.peer.outbox.extend(message);
            return;
        }
        // The difference is the flag and the sequence and nothing else.
        self.met.met(&self.case, MESSAGE_FLAG);
        let start = self.peer.outbox.len();
        self.call(code, payload, false);
        assert_eq!((message[..3].to_vec(), &message[3..]), (vec![0; 3], &self.peer.outbox[start + 3..]));
    }

    /// Writes what this side's application and handlers would, as far as `expected` shows what was written next
    fn writes(&mut self, expected: &[u8]) {
        let head =
            decode_head(expected, 1024).ok().and_then(Result::ok).expect("a recorded packet has a head");
        let nested = (0..self.peer.owed.len()).find_map(|index| self.begins(index));
        if head.flag.is_response() {
            self.answers(head.sequence);
        } else if !nested.unwrap_or(false) {
            let action = self.actions.pop_front();
            let action = action.unwrap_or_else(|| panic!("{}: nothing is left to do", self.case));
            self.acts(&action);
        }
        let written = self.peer.sent();
        assert!(written == expected, "{}: wrote {written:x?}, recorded {expected:x?}", self.case);
    }

    /// A handler that calls or sends before it answers; true when it has now begun to
    fn begins(&mut self, index: usize) -> Option<bool> {
        let owed = &self.peer.owed[index];
        let key = owed.token.key();
        match handler(self.program, &owed.method, &owed.payload) {
            Answer::Callback(code, payload) if !self.callbacks.contains_key(&key) => {
                let tag = self.call(&code, &payload, false);
                self.callbacks.insert(key, tag);
                Some(true)
            }
            Answer::Push(payload) if self.pushed.insert(key) => {
                self.sends("note", &payload);
                Some(true)
            }
            Answer::Ok(_) | Answer::Error(..) | Answer::Callback(..) | Answer::Push(_) | Answer::Never => {
                None
            }
        }
    }

    /// Answers the request of this sequence as its handler does
    pub(crate) fn answers(&mut self, sequence: u16) {
        let index = self.peer.owed.iter().position(|owed| owed.token.key() == sequence);
        let index = index.unwrap_or_else(|| panic!("{}: no request {sequence}", self.case));
        let owed = &self.peer.owed[index];
        let opened =
            Unzip::new().open(owed.method.as_bytes(), &owed.payload, owed.zip, &Limits::new()).is_ok();
        let answered = if !opened {
            self.met.met(&self.case, ZIP);
            self.peer.reply(index, Reply::error("BAD_ZIP", ""))
        } else {
            match handler(self.program, &owed.method, &owed.payload) {
                Answer::Ok(payload) => self.peer.reply(index, Reply::ok(&payload)),
                Answer::Error(code, details) => {
                    self.peer.reply(index, Reply::error(code, details.as_slice()))
                }
                Answer::Push(_) => self.peer.reply(index, Reply::ack()),
                Answer::Callback(..) => {
                    let outcome = self.peer.outcome(self.callbacks[&sequence]);
                    let payload = outcome.strip_prefix("ok \"").and_then(|rest| rest.strip_suffix('"'));
                    let payload = payload.expect("the nested call went well").to_owned();
                    self.peer.reply(index, Reply::ok(&payload))
                }
                Answer::Never => panic!("{}: {} is never answered", self.case, owed.method),
            }
        };
        assert_eq!(answered, Ok(()), "{}", self.case);
    }

    /// The results are those that the recorded client's application got
    fn results(&mut self, expected: &[Value]) {
        // Those who are still waiting run into their time-out.
        self.peer.poll(Instant::from_micros(10_000_000));
        let wanted = |tag: &u32| self.calls.get(*tag as usize).is_some_and(|(_, wanted)| *wanted);
        let mut got: Vec<(String, String)> = Vec::new();
        for (tag, outcome) in self.peer.over.iter().filter(|(tag, _)| wanted(tag)) {
            got.push((self.calls[*tag as usize].0.clone(), outcome.clone()));
        }
        assert_eq!(got.len(), expected.len(), "{}: {got:?}", self.case);
        let mut got = got.into_iter();
        for want in expected {
            let (code, outcome) = got.next().expect("counted");
            let of = if want.get("for").is_some() { "for" } else { "code" };
            assert_eq!(want[of].as_str(), Some(code.as_str()), "{}: order of results", self.case);
            self.result(want, &outcome);
        }
    }

    fn result(&self, want: &Value, outcome: &str) {
        let shown = |bytes: &[u8]| match bytes.len() {
            0..=32 => format!("{:?}", String::from_utf8_lossy(bytes)),
            len => format!("({len} bytes)"),
        };
        let node = want.get("for").is_some();
        match want["err"].as_str() {
            Some("TIME_OUT" | "TIMEOUT") if outcome == "timed out" => {}
            Some("TIME_OUT") => {
                self.met.met(&self.case, NODE_EMPTY);
                assert!(outcome.ends_with("\"\""), "{}: {outcome}", self.case);
            }
            Some(code) if outcome == format!("error {code} \"\"") => {}
            Some(code) => {
                self.met.met(&self.case, DETAILS);
                assert!(outcome.starts_with(&format!("error {code} ")), "{}: {outcome}", self.case);
            }
            None if node && want["code"] != "" => {
                let (code, payload) = (want["code"].as_str().expect("text"), Bytes::of(&want["payload"]));
                assert_eq!(outcome, format!("error {code} {}", shown(&payload)), "{}", self.case);
            }
            None => {
                let reply = &want[if node { "payload" } else { "reply" }];
                let payload = match (&reply["name"], &reply["age"]) {
                    (Value::Null, _) => Bytes::of(reply),
                    (name, age) => format!("{{\"name\":{name},\"age\":{age}}}").into_bytes(),
                };
                assert_eq!(outcome, format!("ok {}", shown(&payload)), "{}", self.case);
            }
        }
    }

    /// The handlers ran that ran in the recorded program, in whatever order
    pub(crate) fn handlers(&self, events: &[Value]) {
        let mut expected: Vec<(String, Vec<u8>)> = Vec::new();
        for event in events {
            // Typed handlers tell their argument in another form; their code is enough.
            let code = event["code"].as_str().or_else(|| event["handler"].as_str());
            let payload = event.get("payload").map(Bytes::of);
            match (event["event"].as_str(), code) {
                (Some("server-call" | "server-send"), _) => {}
                (_, Some(code)) => expected.push((code.to_owned(), payload.unwrap_or_default())),
                other => panic!("{}: {other:?}", self.case),
            }
        }
        let typed = |code: &str| matches!(code, "str" | "json");
        // Go has handlers for these; what it has none for is not in its events. Node tells every packet.
        let known = |code: &str| {
            let of_go = [
                "echo",
                "ack",
                "note",
                "okerr",
                "fail",
                "str",
                "json",
                "nilout",
                "fill",
                "slow",
                "",
                "你好/é",
            ];
            self.program == Program::Node || of_go.contains(&code) || ["callback", "push"].contains(&code)
        };
        let mut got = self.handled.clone();
        got.retain(|(code, _)| known(code));
        got.iter_mut().filter(|(code, _)| typed(code)).for_each(|(_, payload)| payload.clear());
        got.sort();
        expected.sort();
        assert_eq!(got, expected, "{}: handlers", self.case);
    }
}

/// Replays a case with our connection in the place of `side`; false where that side was a raw one
pub(crate) fn replay(case: &Value, side: &str, met: &Met) -> bool {
    let Some(mut stage) = Stage::new(case, side, met) else { return false };
    let own = if side == "client" { "c2s" } else { "s2c" };
    let mut results = Vec::new();
    for step in list(case, "steps") {
        if let Some(action) = step.get("client_action") {
            stage.actions.push_back(action.clone());
        } else if let Some(result) = step.get("client_result") {
            if step.get("waited_s").is_some() {
                stage.peer.poll(Instant::from_micros(10_000_000));
            }
            results.push(result.clone());
        } else if step.get("pause_ms").is_some() {
            // Time means nothing here.
        } else if let Some(event) = step["event"].as_str() {
            match (event, step["dir"] == own) {
                ("eof", true) => stage.peer.conn.close(),
                ("eof", false) => stage.peer.conn.handle_eof(NOW),
                ("nothing within 0.5 s", true) => assert!(stage.peer.sent().is_empty(), "{}", stage.case),
                other => panic!("{}: {other:?}", stage.case),
            }
        } else if step["dir"] == own {
            stage.writes(&Bytes::of(&step));
        } else {
            stage.reads(&Bytes::of(&step));
        }
    }
    assert!(stage.actions.iter().all(|action| action["op"] == "close"), "{}: not all was done", stage.case);
    assert!(stage.peer.sent().is_empty(), "{}: more was written than recorded", stage.case);
    if side == "client" {
        results.extend(list(case, "client_results"));
        stage.results(&results);
    }
    stage.handlers(&list(case, if side == "client" { "client_events" } else { "server_events" }));
    true
}
