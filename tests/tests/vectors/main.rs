//! The bytes and exchanges recorded from the real Go and Node programs
//!
//! | test | proves |
//! |---|---|
//! | `packets` | every recorded packet decodes to its fields, and encodes to its bytes where they are the shortest form |
//! | `exchanges`, `node_exchanges`, `cross` | our connection in the place of either side writes what that side wrote |
//! | `probes_server`, `node_probes_server` | it answers a raw client as the real server did, and is as open or closed after |
//! | `probes_client`, `node_probes_client` | it calls a raw server as the real client did, and gets the same results |
//! | `seq` | 65,540 calls one after the other, over the wrap |
//! | `the_copy_is_the_original` | every case of the copy here is in the shared one, where that is at hand |
//!
//! Where our rules differ from a recorded program, the difference is named in [`DIFFERENCES`] with its reason. Each must
//! show up: a difference that does not is a failure too. Cases that the shared vectors have beyond the copy may differ for
//! the same reasons, which is printed.

mod stage;

use core::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use flyrpc_core::fly::zip::Unzip;
use flyrpc_core::fly::{Flag, RawPacket};
use flyrpc_core::{CloseReason, Instant, Limits, Reply, State, Table};
use flyrpc_tests::Peer;
use flyrpc_tests::vectors::{Bytes, load, load_copy, original, packet, unhex};
use serde_json::Value;
use stage::{Answer, Program, Stage, handler, replay};

const NOW: Instant = Instant::ZERO;
const MESSAGE_FLAG: &str =
    "a message of ours has flag 0 and sequence 0; Go's SendMessage writes 0x40 and is acked";
const NODE_EMPTY: &str =
    "Node completes a packet with an empty payload only when a later byte comes; ours at once";
const NODE_CODE: &str = "Node loses the code when a segment ends inside it; ours reads it";
const GO_FLAG_0: &str =
    "Go answers a message of an unknown code with NOT_FOUND; ours never answers a message";
const ZIP: &str =
    "Go and Node pass compressed packets through unopened; ours opens them, and these do not inflate";
const SEQ_0: &str = "Go wraps 65535 to 0; ours to 1";
const DETAILS: &str = "Go's caller sees only the code of an error; ours gives its payload too";

/// Case and difference, with its reason: all that there are
const DIFFERENCES: [(&str, &str); 19] = [
    ("go-send-ack-handler", MESSAGE_FLAG),
    ("go-send-unknown-code", MESSAGE_FLAG),
    ("go-server-sends-to-client", MESSAGE_FLAG),
    ("gocli-nodesrv-send", MESSAGE_FLAG),
    ("node-request-fail", NODE_EMPTY),
    ("node-request-len-0", NODE_EMPTY),
    ("nodecli-gosrv-error", NODE_EMPTY),
    ("raw-node-zero-length", NODE_EMPTY),
    ("raw-node-split-in-code", NODE_CODE),
    ("raw-go-noreply-unknown", GO_FLAG_0),
    ("raw-go-zip-payload-bit", ZIP),
    ("raw-node-reserved-bits", ZIP),
    ("raw-goclient-reply-with-code", DETAILS),
    ("go-seq-wrap", SEQ_0),
    ("go-seq-wrap 65535", SEQ_0),
    ("go-seq-wrap 65536", SEQ_0),
    ("go-seq-wrap 65537", SEQ_0),
    ("go-seq-wrap 65538", SEQ_0),
    ("go-seq-wrap 65539", SEQ_0),
];

/// Differences that were met, for the check at the end of each test
#[derive(Default)]
struct Met(RefCell<BTreeSet<(String, &'static str)>>);

impl Met {
    fn met(&self, case: &str, why: &'static str) {
        self.0.borrow_mut().insert((case.to_owned(), why));
    }

    /// Every difference that is listed for these cases has shown itself
    fn all_of<'c>(&self, cases: impl IntoIterator<Item = &'c Value>) {
        let copied = copied();
        let names: Vec<String> = cases.into_iter().map(name).filter(|name| copied.contains(name)).collect();
        let listed = DIFFERENCES
            .iter()
            .filter(|(case, _)| names.iter().any(|name| name == case))
            .map(|(case, why)| ((*case).to_owned(), *why))
            .collect();
        let met = self.0.borrow();
        let of_cases: BTreeSet<_> = met.iter().filter(|(case, _)| names.contains(case)).cloned().collect();
        assert_eq!(of_cases, listed, "differences met, and listed");
        for (case, why) in met.iter() {
            println!("  differs: {case}: {why}");
        }
    }
}

/// Names of the cases that the copy has
fn copied() -> BTreeSet<String> {
    FILES.iter().flat_map(|file| load_copy(&format!("flyrpc/{file}.json"))).map(|case| name(&case)).collect()
}

const FILES: [&str; 9] = [
    "packets",
    "exchanges",
    "node_exchanges",
    "cross",
    "probes_server",
    "node_probes_server",
    "probes_client",
    "node_probes_client",
    "seq",
];

fn name(case: &Value) -> String {
    case["name"].as_str().expect("every case has a name").to_owned()
}

fn list(case: &Value, field: &str) -> Vec<Value> {
    case[field].as_array().cloned().unwrap_or_default()
}

fn replay_file(file: &str, cases: usize, replays: usize) {
    let all = load(&format!("flyrpc/{file}.json"));
    let met = Met::default();
    let done = all
        .iter()
        .flat_map(|case| ["client", "server"].map(|side| replay(case, side, &met)))
        .filter(|done| *done);
    let done = done.count();
    println!("{file}: {} cases, {done} replays", all.len());
    assert!(all.len() >= cases && done >= replays, "{file}: {} cases, {done} replays", all.len());
    met.all_of(&all);
}

#[test]
fn exchanges() {
    replay_file("exchanges", 22, 44);
}

#[test]
fn node_exchanges() {
    replay_file("node_exchanges", 14, 28);
}

#[test]
fn cross() {
    replay_file("cross", 5, 10);
}

#[test]
fn probes_client() {
    replay_file("probes_client", 9, 9);
}

#[test]
fn node_probes_client() {
    replay_file("node_probes_client", 3, 3);
}

#[test]
fn packets() {
    let cases = load("flyrpc/packets.json");
    let (mut encoded, mut decode_only) = (0, 0);
    for case in &cases {
        let (name, wire, fields) = (name(case), Bytes::of(case), &case["packet"]);
        let (found, len) = RawPacket::decode(&wire, 4096, 1 << 30).expect("well formed").expect("whole");
        assert_eq!(len, wire.len(), "{name}");
        assert_eq!(Some(u64::from(found.flag.0)), fields["flag"].as_u64(), "{name}: flag");
        assert_eq!(Some(u64::from(found.sequence)), fields["seq"].as_u64(), "{name}: sequence");
        assert_eq!(Some(found.flag.length_width() as u64), fields["length_bytes"].as_u64(), "{name}: width");
        assert_eq!(Some(found.payload.len() as u64), fields["length"].as_u64(), "{name}: length");
        assert!(found.payload == Bytes::of(&fields["payload"]), "{name}: payload");
        if let Some(hex) = fields["code_hex"].as_str() {
            assert_eq!(found.code, unhex(hex), "{name}: code");
        }
        match &fields["code"] {
            Value::String(code) => assert_eq!(found.code, code.as_bytes(), "{name}: code"),
            Value::Null => assert!(core::str::from_utf8(found.code).is_err(), "{name}: code"),
            repeat @ (Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_)) => {
                let one = repeat["repeat_char"].as_str().expect("a character").as_bytes();
                let count = repeat["count"].as_u64().expect("a count") as usize;
                assert_eq!(found.code, one.repeat(count), "{name}: code");
            }
        }
        let bits: Vec<&str> = [
            (0x80, "response"),
            (0x40, "wait_response"),
            (0x20, "reserved3"),
            (0x10, "reserved4"),
            (0x08, "zip_code"),
            (0x04, "zip_payload"),
        ]
        .iter()
        .filter(|(bit, _)| found.flag.0 & bit != 0)
        .map(|(_, name)| *name)
        .collect();
        assert_eq!(list(fields, "flag_bits"), bits, "{name}: names of the flag's bits");
        let mut back = Vec::new();
        found.encode(&mut back).expect("a vector has room");
        assert_eq!(back.len(), found.encoded_len(), "{name}");
        if case["shortest_length_form"] == true {
            assert!(back == wire, "{name}: encodes to its bytes");
            encoded += 1;
        } else {
            assert!(back.len() < wire.len(), "{name}: we write a shorter form");
            let (again, _) = RawPacket::decode(&back, 4096, 1 << 30).expect("well formed").expect("whole");
            assert_eq!((again.sequence, again.code), (found.sequence, found.code), "{name}");
            assert!(again.payload == found.payload, "{name}");
            decode_only += 1;
        }
    }
    println!(
        "packets: {} decoded, {encoded} encoded byte for byte, {decode_only} in a longer form",
        cases.len()
    );
    assert!(cases.len() >= 108 && encoded + decode_only == cases.len());
    assert!(decode_only > 0);
}

/// Splits bytes into packets
fn split_packets(mut wire: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Ok(Some((_, len))) = RawPacket::decode(wire, 4096, 1 << 30) {
        packets.push(wire[..len].to_vec());
        wire = &wire[len..];
    }
    assert!(wire.is_empty(), "whole packets only");
    packets
}

/// A raw client's writes, and what our server answers
fn probe(case: &Value, met: &Met) {
    let mut stage = Stage::new(case, "server", met).expect("the server is a real one");
    let answer_all = |stage: &mut Stage<'_>| {
        let mut index = 0;
        while let Some(owed) = stage.peer.owed.get(index) {
            if matches!(handler(stage.program, &owed.method, &owed.payload), Answer::Never) {
                index += 1;
            } else {
                let key = owed.token.key();
                stage.answers(key);
            }
        }
    };
    for write in list(case, "writes") {
        if write.get("pause_ms").is_some() {
        } else if write["event"] == "half-close" {
            stage.peer.conn.handle_eof(NOW);
            stage.peer.poll(NOW);
        } else {
            stage.reads(&Bytes::of(&write));
            answer_all(&mut stage);
        }
    }
    let mut replies = split_packets(&stage.peer.sent());
    let mut expected: Vec<Vec<u8>> = list(case, "replies").iter().map(Bytes::of).collect();
    if case["replies_unordered"] == true {
        replies.sort();
        expected.sort();
    }
    let mut events = list(case, "server_events");
    for sent in list(case, "sent_packets") {
        let number = |field: &str| sent[field].as_u64().expect("a number");
        let (flag, sequence) = (Flag(number("flag") as u8), number("seq") as u16);
        let is_answer = |reply: &Vec<u8>| reply[1..3] == sequence.to_be_bytes();
        if stage.program == Program::Go && !flag.is_request() && !flag.is_response() {
            // What Go answers to a message: an error, since what a handler gives back it does not send.
            let answers = expected.len();
            expected.retain(|reply| !is_answer(reply));
            if expected.len() < answers {
                met.met(&stage.case, GO_FLAG_0);
            }
        }
        let (code, payload) = (unhex(sent["code_hex"].as_str().expect("hex")), Bytes::of(&sent["payload"]));
        if flag.is_request() && Unzip::new().open(&code, &payload, flag.zip(), &Limits::new()).is_err() {
            // Passed through by both; `met` where the request is answered.
            expected.iter_mut().filter(|reply| is_answer(reply)).for_each(|reply| {
                *reply = packet(0x80, sequence, "BAD_ZIP", "");
            });
        }
    }
    match stage.case.as_str() {
        "raw-node-split-in-code" => {
            met.met(&stage.case, NODE_CODE);
            assert!(expected.is_empty(), "Node finds no such code");
            expected.push(packet(0x80, 1, "", "hello"));
            let mangled = events[0]["code"].take();
            assert_eq!(mangled, "@\u{0}\u{1}echo");
            events[0]["code"] = "echo".into();
        }
        "raw-node-zero-length" => {
            met.met(&stage.case, NODE_EMPTY);
            assert!(expected.is_empty(), "Node is still waiting");
            expected.push(packet(0x80, 1, "what are", "you talking about"));
        }
        _ => {}
    }
    assert!(replies == expected, "{}: {replies:x?}, recorded {expected:x?}", stage.case);

    let open = case["connection_after"] == "open";
    assert_eq!(open, stage.peer.conn.state() == State::Open, "{}: {}", stage.case, case["connection_after"]);
    if let Some(followup) = case.get("followup_echo_call") {
        stage.reads(&Bytes::of(&followup["sent"]));
        answer_all(&mut stage);
        let good = packet(0x80, 0x7777, "", "still-here");
        assert_eq!(stage.peer.sent(), good, "{}: a normal call afterwards", stage.case);
        if stage.case != "raw-node-zero-length" {
            assert_eq!(Bytes::of(&followup["reply"]), good);
        }
    } else {
        let incomplete = case.get("sent_incomplete").is_some();
        let why = if incomplete { CloseReason::CutShort } else { CloseReason::PeerClosed };
        assert_eq!(stage.peer.conn.close_reason(), Some(why), "{}", stage.case);
    }
    stage.handlers(&events);
}

fn probe_file(file: &str, cases: usize) {
    let all = load(&format!("flyrpc/{file}.json"));
    let met = Met::default();
    all.iter().for_each(|case| probe(case, &met));
    println!("{file}: {} cases", all.len());
    assert!(all.len() >= cases);
    met.all_of(&all);
}

#[test]
fn probes_server() {
    probe_file("probes_server", 19);
}

#[test]
fn node_probes_server() {
    probe_file("node_probes_server", 10);
}

#[test]
fn seq() {
    let cases = load("flyrpc/seq.json");
    assert_eq!(cases.len(), 1);
    let met = Met::default();
    let case = &cases[0];
    let mut samples: BTreeMap<u64, &Value> = BTreeMap::new();
    for sample in case["samples"].as_array().expect("samples") {
        samples.insert(sample["call_index"].as_u64().expect("an index"), sample);
    }
    let (mut client, mut server): (Peer<Table<u32>>, Peer<Table<u32>>) =
        (Peer::new(Limits::new()), Peer::new(Limits::new()));
    let calls = case["calls"].as_u64().expect("a number");
    let (mut same, total) = (0, samples.len());
    for index in 0..calls {
        client.call(NOW, "ack", b"", 1).unwrap();
        let request = client.sent();
        server.feed(NOW, &request);
        server.reply(0, Reply::ack()).unwrap();
        let reply = server.sent();
        assert_eq!(client.feed(NOW, &reply), ["#1 ok \"\""]);
        client.over.clear();
        let Some(sample) = samples.get(&index) else { continue };
        let (theirs, answer) = (Bytes::of(&sample["request"]), Bytes::of(&sample["reply"]));
        if index < 65_535 {
            assert_eq!((&request, &reply), (&theirs, &answer), "call {index}");
            same += 1;
        } else {
            // From the wrap on ours is one ahead, having left 0 out.
            met.met(&format!("go-seq-wrap {index}"), SEQ_0);
            met.met("go-seq-wrap", SEQ_0);
            let [_, high, low, ..] = theirs[..] else { panic!("no packet") };
            let sequence = u16::from_be_bytes([high, low]) + 1;
            assert_eq!(u64::from(sequence), index - 65_534);
            assert_eq!(request, packet(0x40, sequence, "ack", ""), "call {index}");
            assert_eq!(reply, packet(0x80, sequence, "", ""), "call {index}");
        }
    }
    println!("seq: {calls} calls, {same} of {total} samples the same, the others one ahead");
    assert_eq!((calls, same, total), (65_540, 8, 13));
    met.all_of(&cases);
    assert_eq!(met.0.borrow().len(), 6);
}

#[test]
fn the_copy_is_the_original() {
    if !original().is_dir() {
        println!(
            "NOT CHECKED: the original vectors are not beside this repository; the copy stands for itself"
        );
        return;
    }
    let (mut same, mut more) = (0, 0);
    for file in FILES {
        let (copy, original) =
            (load_copy(&format!("flyrpc/{file}.json")), load(&format!("flyrpc/{file}.json")));
        for case in &copy {
            assert!(original.contains(case), "{file}: {} differs from the original", name(case));
        }
        same += copy.len();
        more += original.len() - copy.len();
    }
    println!("{same} cases are the same as the original's, which has {more} more");
}
