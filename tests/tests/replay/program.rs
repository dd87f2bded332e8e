//! The recorded programs' handlers, which the vectors' README lists

use core::task::{Context as Poller, Poll, Waker};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use flyrpc_driver::{Context, Packet, RemoteError, Request, Router};
use serde_json::Value;

use crate::raw::SOON;
use crate::stacks::Stack;

/// What the recorded program was
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Go,
    Node,
}

impl Program {
    /// `None` where that side was a plain socket
    pub(crate) fn of(case: &Value, side: &str) -> Option<Self> {
        match case[side].as_str() {
            Some("go") => Some(Self::Go),
            Some("node20" | "node6") => Some(Self::Node),
            Some("raw") => None,
            other => panic!("{}: a {side} that nobody knows: {other:?}", case["name"]),
        }
    }

    /// Codes of handlers that answer at once
    const fn codes(self) -> &'static [&'static str] {
        match self {
            Self::Go => {
                &["echo", "你好/é", "ack", "note", "okerr", "nilout", "str", "json", "fill", "fail", ""]
            }
            Self::Node => &["echo", "你好/é", "note", "fail", "failbody", "free"],
        }
    }
}

/// Which handlers ran, with what
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: Mutex<Vec<(String, Vec<u8>)>>,
    more: Condvar,
}

impl Log {
    fn add(&self, code: &str, payload: &[u8]) {
        self.entries.lock().unwrap().push((code.to_owned(), payload.to_vec()));
        self.more.notify_all();
    }

    /// Exactly these handlers ran, in whatever order
    #[track_caller]
    pub(crate) fn expect(&self, case: &str, events: &[Value]) {
        let mut expected = Vec::new();
        for event in events {
            // Typed handlers tell their argument in another form; their code is enough.
            match (event["event"].as_str(), event["code"].as_str().or_else(|| event["handler"].as_str())) {
                (Some("server-call" | "server-send"), _) => {}
                (_, Some(code)) => {
                    let payload = event.get("payload").map(flyrpc_tests::vectors::Bytes::of);
                    expected.push((code.to_owned(), payload.unwrap_or_default()));
                }
                other => panic!("{case}: an event that nobody knows: {other:?}"),
            }
        }
        let fewer = |entries: &mut Vec<_>| entries.len() < expected.len();
        let entries = self.entries.lock().unwrap();
        let (entries, _) = self.more.wait_timeout_while(entries, SOON, fewer).unwrap();
        let mut entries = entries.clone();
        let typed = |code: &str| matches!(code, "str" | "json");
        entries.iter_mut().filter(|(code, _)| typed(code)).for_each(|(_, payload)| payload.clear());
        entries.sort();
        expected.sort();
        assert!(entries == expected, "{case}: handlers that ran: {entries:x?}, recorded {expected:x?}");
    }
}

/// Holds the slow handler
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<(bool, Vec<Waker>)>);

impl Gate {
    pub(crate) fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        state.1.drain(..).for_each(Waker::wake);
    }

    fn poll(&self, cx: &Poller<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1.push(cx.waker().clone());
        Poll::Pending
    }
}

/// All handlers of a recorded program
pub(crate) fn router<S: Stack>(program: Program, log: &Arc<Log>, gate: &Arc<Gate>) -> Router<S::Peer> {
    let mut router = Router::<S::Peer>::new();
    for code in program.codes() {
        let log = Arc::clone(log);
        router = router.handle(code, move |request: &Request<S::Peer>| {
            log.add(code, request.payload());
            answer(program, code, request.payload())
        });
    }
    let called = Arc::clone(log);
    router = router.handle("callback", move |context: Context<S::Peer>, payload: Bytes| {
        called.add("callback", &payload);
        async move {
            let (code, payload) = match program {
                Program::Go => {
                    let asked: Value = serde_json::from_slice(&payload).expect("JSON");
                    let field = |name: &str| asked[name].as_str().expect("text").to_owned();
                    (field("Code"), field("Payload").into())
                }
                Program::Node => ("echo".to_owned(), payload),
            };
            S::ask(context.peer().clone(), code, payload).await
        }
    });
    let pushed = Arc::clone(log);
    router = router.handle("push", move |context: Context<S::Peer>, payload: Bytes| {
        pushed.add("push", &payload);
        async move { S::note(context.peer().clone(), payload, program == Program::Go).await }
    });
    match program {
        Program::Go => {
            let (log, gate) = (Arc::clone(log), Arc::clone(gate));
            router.handle("slow", move |payload: Bytes| {
                log.add("slow", &payload);
                let gate = Arc::clone(&gate);
                async move {
                    core::future::poll_fn(|cx| gate.poll(cx)).await;
                    "slow-done"
                }
            })
        }
        Program::Node => {
            let log = Arc::clone(log);
            router.fallback(move |context: Context<S::Peer>, packet: Packet| {
                log.add(packet.code(), &packet.payload);
                async move {
                    // Never answered while the connection lasts.
                    context.cancelled().await;
                }
            })
        }
    }
}

/// What a handler that answers at once gives
fn answer(program: Program, code: &str, payload: &[u8]) -> Result<Bytes, RemoteError> {
    let error = |code: &str, details: &[u8]| {
        let mut error = RemoteError::new(code);
        error.details = details.to_vec();
        Err(error)
    };
    match (program, code) {
        (_, "echo" | "你好/é") => Ok(Bytes::copy_from_slice(payload)),
        (_, "fail") => error("FOO", b""),
        (Program::Node, "free") => error("what are", b"you talking about"),
        (Program::Node, "failbody") => error("FOO", b"details here"),
        (Program::Go, "str") => Ok([b"got:", payload].concat().into()),
        (Program::Go, "") => Ok("empty-code-ok".into()),
        (Program::Go, "fill") => {
            let asked = str::from_utf8(payload).expect("text");
            let (byte, count) = asked.split_once(' ').expect("two numbers");
            Ok(vec![byte.parse().expect("a byte"); count.parse().expect("a count")].into())
        }
        (Program::Go, "json") => {
            let user: Value = serde_json::from_slice(payload).expect("JSON");
            let (name, age) = (user["name"].as_str().expect("a name"), user["age"].as_u64().expect("an age"));
            Ok(format!("{{\"name\":\"{name}!\",\"age\":{}}}", age + 1).into())
        }
        // `ack`, `note`, `okerr`, `nilout`
        (Program::Go | Program::Node, _) => Ok(Bytes::new()),
    }
}
