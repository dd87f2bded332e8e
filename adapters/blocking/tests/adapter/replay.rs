//! What was recorded from the Go programs, played to ours over real sockets
//!
//! Where ours differs on purpose, [`expected_replies`] says so.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use flyrpc_blocking::{Client, Error, RemoteError, Request, Server, ServerHandle};
use flyrpc_tests::vectors::{Bytes, load_copy, unhex};
use serde_json::Value;

use crate::common::{RESPONSE, Raw, SOON, bounded, listen, packet, until};

/// Handler invocations: code and payload
type Events = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// The handlers of the recorded server that the probes use, and what they were run for
fn go_server() -> (ServerHandle, Events) {
    let events = Events::default();
    let (echoed, acked) = (Arc::clone(&events), Arc::clone(&events));
    let server = Server::new()
        .handle("echo", move |request: &Request| {
            echoed.lock().unwrap().push(("echo".to_owned(), request.payload().to_vec()));
            request.payload().to_vec()
        })
        .handle("ack", move |request: &Request| {
            acked.lock().unwrap().push(("ack".to_owned(), request.payload().to_vec()));
        });
    (listen(server), events)
}

/// What ours answers, and whether its handlers run as theirs did
fn expected_replies(name: &str, recorded: &[Vec<u8>]) -> (Vec<Vec<u8>>, bool) {
    match name {
        // Go carries the flag and passes the bytes through; ours inflates.
        "raw-go-zip-payload-bit" => (vec![packet(RESPONSE, 1, "BAD_ZIP", b"")], false),
        // Go answers a message with an error; ours never answers one.
        "raw-go-noreply-unknown" => (vec![], true),
        _ => (recorded.to_vec(), true),
    }
}

fn list<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    value[member].as_array().into_iter().flatten()
}

fn play_to_server(split: bool) {
    let probes = load_copy("flyrpc/probes_server.json");
    assert!(probes.len() >= 19);
    for probe in &probes {
        let name = probe["name"].as_str().unwrap();
        let (server, events) = go_server();
        let mut raw = Raw::connect(&server);
        for step in list(probe, "writes") {
            if step["event"] == "half-close" {
                raw.finish_writing();
            } else if step["pause_ms"].is_null() {
                let bytes = Bytes::of(step);
                if split && bytes.len() < 1000 {
                    bytes.iter().for_each(|byte| raw.write([*byte]));
                } else {
                    raw.write(bytes);
                }
            }
        }
        let recorded: Vec<_> = list(probe, "replies").map(Bytes::of).collect();
        let (mut expected, same_events) = expected_replies(name, &recorded);
        let mut replies: Vec<_> = expected.iter().map(|reply| raw.exactly(reply.len())).collect();
        if probe["replies_unordered"] == true || expected.len() > 1 {
            // Of different lengths, in any order: together they are the same bytes.
            let together = |packets: &mut Vec<Vec<u8>>| {
                let mut bytes = packets.concat();
                bytes.sort_unstable();
                *packets = vec![bytes];
            };
            together(&mut expected);
            together(&mut replies);
        }
        assert!(replies == expected, "{name}");
        if probe["connection_after"] == "open" {
            let followup = &probe["followup_echo_call"];
            raw.write(Bytes::of(&followup["sent"]));
            let reply = Bytes::of(&followup["reply"]);
            assert_eq!(raw.exactly(reply.len()), reply, "{name}: followup");
            raw.expect_alive();
        } else {
            raw.expect_end();
        }
        if same_events {
            let mut expected: Vec<_> = list(probe, "server_events")
                .filter(|event| event["event"] == "handler")
                .map(|event| (event["code"].as_str().unwrap().to_owned(), Bytes::of(&event["payload"])))
                .collect();
            until(name, || events.lock().unwrap().len() >= expected.len());
            let mut events = events.lock().unwrap().clone();
            expected.sort();
            events.sort();
            assert!(events == expected, "{name}: handlers");
        }
    }
}

#[test]
fn a_server_of_ours_answers_the_probes_of_the_go_server() {
    bounded(|| play_to_server(false));
}

#[test]
fn p18_it_answers_them_byte_by_byte_as_well() {
    bounded(|| play_to_server(true));
}

#[test]
fn a_client_of_ours_takes_what_the_go_client_was_sent() {
    bounded(|| {
        let probes = load_copy("flyrpc/probes_client.json");
        assert!(probes.len() >= 9);
        for probe in &probes {
            play_to_client(probe);
        }
    });
}

fn play_to_client(probe: &Value) {
    let name = probe["name"].as_str().unwrap();
    let steps: Vec<_> = list(probe, "steps").collect();
    let events = Events::default();
    let (echoed, noted) = (Arc::clone(&events), Arc::clone(&events));
    let client = Client::new()
        .handle("echo", move |request: &Request| {
            echoed.lock().unwrap().push(("echo".to_owned(), request.payload().to_vec()));
            request.payload().to_vec()
        })
        .handle("note", move |request: &Request| {
            noted.lock().unwrap().push(("note".to_owned(), request.payload().to_vec()));
        });
    let (mut raw, client) = Raw::with(client);
    let mut pending = None;
    for (at, step) in steps.iter().enumerate() {
        if let Some(action) = step.get("client_action") {
            assert_eq!(action["op"], "call", "{name}");
            let times_out = steps[at..]
                .iter()
                .find_map(|step| step.get("client_result"))
                .is_some_and(|result| result["err"] == "TIMEOUT");
            let timeout = if times_out { Duration::from_millis(50) } else { SOON };
            let (code, text) = (action["code"].as_str().unwrap(), action["text"].as_str().unwrap());
            pending = Some(client.start(code, text, timeout).unwrap());
        } else if let Some(result) = step.get("client_result") {
            let outcome = pending.take().unwrap().wait();
            match result["err"].as_str() {
                None => assert_eq!(outcome, Ok(Bytes::of(&result["reply"]).into()), "{name}"),
                Some("TIMEOUT") => assert_eq!(outcome, Err(Error::TimedOut), "{name}"),
                // The Go client does not show details.
                Some(code) => {
                    let Err(Error::Remote(RemoteError { code: ours, .. })) = outcome else {
                        panic!("{name}: {outcome:?}")
                    };
                    assert_eq!(ours, code, "{name}");
                }
            }
        } else if step["dir"] == "s2c" {
            raw.write(unhex(step["hex"].as_str().unwrap()));
        } else if let Some(hex) = step["hex"].as_str() {
            assert_eq!(raw.exactly(hex.len() / 2), unhex(hex), "{name}");
        } else {
            // A pause, or nothing that is sent: what came has been dealt with, and nothing was sent.
            raw.expect_alive();
        }
    }
    raw.expect_alive();
    let expected: Vec<_> = list(probe, "client_events")
        .map(|event| (event["code"].as_str().unwrap().to_owned(), Bytes::of(&event["payload"])))
        .collect();
    until(name, || events.lock().unwrap().len() >= expected.len());
    assert_eq!(*events.lock().unwrap(), expected, "{name}: handlers");
}
