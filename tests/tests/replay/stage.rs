//! A recorded exchange: flyrpc in the place of one side, a plain socket in that of the other

use core::time::Duration;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use flyrpc_driver::Error;
use flyrpc_tests::vectors::Bytes;
use serde_json::Value;

use crate::program::{Gate, Log, Program, router};
use crate::raw::{Raw, SOON};
use crate::stacks::{Outcome, Stack};
use crate::{DETAILS, Met, NODE_EMPTY, list, name};

/// How long a call waits that was not answered in the recording
const IN_VAIN: Duration = Duration::from_millis(50);

/// Our end of it
enum End<S: Stack> {
    Client(S::Client),
    /// Serves until it is dropped
    Server(S::Server),
}

/// The recorded application: what it did, and what came of it
struct Application<'c> {
    case: &'c str,
    program: Program,
    steps: &'c [Value],
    /// What is still to be done
    actions: Vec<&'c Value>,
    /// Requests made
    sequence: u16,
    /// Calls made: their code, and what came of them
    calls: Vec<(String, Outcome)>,
}

pub(crate) fn play<S: Stack>(case: &Value, side: &str, bytewise: bool, met: &mut Met) {
    let (of, program) = (name(case), Program::of(case, side).expect("a real program's place"));
    let (log, gate) = (Arc::<Log>::default(), Arc::<Gate>::default());
    let router = router::<S>(program, &log, &gate);
    let (end, mut raw) = if side == "client" {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = S::connect(router, &listener.local_addr().unwrap().to_string());
        (End::<S>::Client(client), Raw::over(listener.accept().unwrap().0, bytewise))
    } else {
        let (server, address) = S::serve(router);
        (End::Server(server), Raw::over(TcpStream::connect(address).unwrap(), bytewise))
    };
    let own = if side == "client" { "c2s" } else { "s2c" };
    let steps = list(case, "steps");
    let mut application = Application::of(case, program, steps);
    let mut results = list(case, "client_results");
    let mut ended = false;
    for (at, step) in steps.iter().enumerate() {
        if let Some(action) = step.get("client_action") {
            application.actions.push(action);
        } else if let Some(result) = step.get("client_result") {
            application.result(result, met);
        } else if step.get("pause_ms").is_some() {
            // What came before it has been dealt with.
            raw.expect_alive(of);
        } else if let Some(event) = step["event"].as_str() {
            match (event, step["dir"] == own, &end) {
                ("eof", true, End::Client(client)) => {
                    // Its application has what it waited for.
                    results.iter().for_each(|result| application.result(result, met));
                    results = &[];
                    S::close(client);
                    raw.expect_end(of);
                    ended = true;
                }
                ("eof", true, End::Server(_)) => {
                    raw.expect_end(of);
                    ended = true;
                }
                ("eof", false, _) => raw.finish_writing(),
                ("nothing within 0.5 s", true, _) => raw.expect_alive(of),
                other => panic!("{of}: a step that nobody knows: {:?}", other.0),
            }
        } else if step["dir"] == own {
            let recorded = Bytes::of(step);
            if let End::Client(client) = &end
                && recorded[0] & 0x80 == 0
            {
                application.acts::<S>(client, at);
            }
            let written = raw.packet(of);
            assert!(written == recorded, "{of}: wrote {written:x?}, recorded {recorded:x?}");
            gate.open();
        } else {
            raw.write(&Bytes::of(step));
        }
    }
    if !ended {
        raw.expect_alive(of);
    }
    if let End::Client(_) = end {
        results.iter().for_each(|result| application.result(result, met));
        application.expect_done();
    }
    log.expect(of, list(case, if side == "client" { "client_events" } else { "server_events" }));
    if !ended {
        // Nothing more either once all handlers have run.
        raw.expect_alive(of);
        // Not by the other side's end of stream: ours would wait for what it owes, and some of it never comes.
        drop(end);
        raw.expect_end(of);
    }
}

impl<'c> Application<'c> {
    fn of(case: &'c Value, program: Program, steps: &'c [Value]) -> Self {
        let actions = list(case, "actions").iter().collect();
        Self { case: name(case), program, steps, actions, sequence: 0, calls: Vec::new() }
    }

    /// Does what the recorded program did before it wrote the packet at this step
    fn acts<S: Stack>(&mut self, client: &S::Client, at: usize) {
        assert!(!self.actions.is_empty(), "{}: nothing is left to do", self.case);
        let action = self.actions.remove(0);
        let code = action["code"].as_str().expect("a code");
        let payload = match (&action["text"], &action["user"]) {
            (Value::String(text), _) => text.clone().into_bytes(),
            // Member order as the real program wrote it, which is that of the recorded action.
            (_, user @ Value::Object(_)) => {
                format!("{{\"name\":{},\"age\":{}}}", user["name"], user["age"]).into_bytes()
            }
            _ => Bytes::of(action),
        };
        match action["op"].as_str() {
            Some("call" | "callasync" | "calljson") => {
                self.sequence += 1;
                let timeout = if self.is_answered(at) { SOON } else { IN_VAIN };
                self.calls.push((code.to_owned(), S::start(client, code, payload, timeout)));
            }
            Some("send") => {
                let acked = self.program == Program::Go;
                self.sequence += u16::from(acked);
                S::send(client, code, payload, acked);
            }
            other => panic!("{}: an action that nobody knows: {other:?}", self.case),
        }
    }

    /// Is the request at this step, the newest, answered before its result is told?
    fn is_answered(&self, at: usize) -> bool {
        self.steps[at + 1..].iter().take_while(|step| step.get("client_result").is_none()).any(|step| {
            step["dir"] == "s2c" && {
                let bytes = Bytes::of(step);
                bytes[0] & 0x80 != 0 && bytes[1..3] == self.sequence.to_be_bytes()
            }
        })
    }

    /// The result is the one that the recorded application got
    fn result(&mut self, want: &Value, met: &mut Met) {
        let of_node = want.get("for").is_some();
        let code = want[if of_node { "for" } else { "code" }].as_str().expect("a code");
        let at = self.calls.iter().position(|(called, _)| called == code);
        let (_, outcome) =
            self.calls.remove(at.unwrap_or_else(|| panic!("{}: no call of {code}", self.case)));
        let outcome = outcome.recv_timeout(SOON).unwrap_or_else(|error| panic!("{}: {error}", self.case));
        let mut differs = |why| met.insert((self.case.to_owned(), why));
        match (want["err"].as_str(), outcome) {
            (Some("TIME_OUT" | "TIMEOUT"), Err(Error::TimedOut)) => {}
            (Some("TIME_OUT"), Ok(payload)) if payload.is_empty() => drop(differs(NODE_EMPTY)),
            (Some("TIME_OUT"), Err(Error::Remote(error))) if error.details.is_empty() => {
                differs(NODE_EMPTY);
            }
            (Some(code), Err(Error::Remote(error))) if error.code == code => {
                if !error.details.is_empty() {
                    differs(DETAILS);
                }
            }
            // Node's application gets any code as data.
            (None, Err(Error::Remote(error))) if of_node && want["code"] == error.code => {
                assert_eq!(error.details, Bytes::of(&want["payload"]), "{}: {code}", self.case);
            }
            (None, Ok(payload)) => {
                let reply = &want[if of_node { "payload" } else { "reply" }];
                if reply.get("name").is_some() {
                    assert_eq!(
                        serde_json::from_slice::<Value>(&payload).expect("JSON"),
                        *reply,
                        "{}",
                        self.case
                    );
                } else {
                    assert!(payload == Bytes::of(reply), "{}: {code}: another answer", self.case);
                }
            }
            (err, outcome) => panic!("{}: {code}: {outcome:?}, recorded {err:?}", self.case),
        }
    }

    /// All was done, and all calls are over
    fn expect_done(&self) {
        assert!(self.actions.iter().all(|action| action["op"] == "close"), "{}: not all was done", self.case);
        assert!(self.calls.is_empty(), "{}: calls without a recorded result", self.case);
    }
}
