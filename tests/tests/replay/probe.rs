//! What a raw client wrote to a recorded server, written to ours

use std::net::TcpStream;
use std::sync::Arc;

use flyrpc_tests::vectors::{Bytes, packet, unhex};
use serde_json::Value;

use crate::program::{Gate, Log, Program, router};
use crate::raw::Raw;
use crate::stacks::Stack;
use crate::{GO_FLAG_0, Met, NODE_CODE, NODE_EMPTY, ZIP, list, name};

/// What our server does, by the recording and our rules
struct Expected {
    replies: Vec<Vec<u8>>,
    events: Vec<Value>,
}

impl Expected {
    fn of(case: &Value, met: &mut Met) -> Self {
        let replies = list(case, "replies").iter().map(Bytes::of).collect();
        let mut expected = Self { replies, events: list(case, "server_events").to_vec() };
        let mut differs = |why| met.insert((name(case).to_owned(), why));
        for sent in list(case, "sent_packets") {
            let number = |field: &str| sent[field].as_u64().expect("a number");
            let (flag, sequence) = (number("flag") as u8, number("seq") as u16);
            let answers = |reply: &Vec<u8>| reply[1..3] == sequence.to_be_bytes();
            if flag & 0xc0 == 0 && expected.replies.iter().any(answers) {
                differs(GO_FLAG_0);
                expected.replies.retain(|reply| !answers(reply));
            }
            if flag & 0x0c != 0 {
                differs(ZIP);
                let refused = packet(0x80, sequence, "BAD_ZIP", "");
                expected.replies.iter_mut().filter(|reply| answers(reply)).for_each(|reply| {
                    reply.clone_from(&refused);
                });
                let payload = Bytes::of(&sent["payload"]);
                let code = unhex(sent["code_hex"].as_str().expect("hex"));
                let of_it = |event: &Value| {
                    event["code"].as_str().map(str::as_bytes) == Some(&code[..])
                        && Bytes::of(&event["payload"]) == payload
                };
                let at = expected.events.iter().position(of_it).expect("its handler ran");
                expected.events.remove(at);
            }
        }
        match name(case) {
            "raw-node-split-in-code" => {
                differs(NODE_CODE);
                assert!(expected.replies.is_empty(), "Node finds no such code");
                expected.replies.push(packet(0x80, 1, "", "hello"));
                assert_eq!(expected.events[0]["code"], "@\u{0}\u{1}echo");
                expected.events[0]["code"] = "echo".into();
            }
            "raw-node-zero-length" => {
                differs(NODE_EMPTY);
                assert!(expected.replies.is_empty(), "Node is still waiting");
                expected.replies.push(packet(0x80, 1, "what are", "you talking about"));
            }
            _ => {}
        }
        expected
    }
}

pub(crate) fn play<S: Stack>(case: &Value, bytewise: bool, met: &mut Met) {
    let (of, program) = (name(case), Program::of(case, "server").expect("a real server"));
    let mut expected = Expected::of(case, met);
    let (log, gate) = (Arc::<Log>::default(), Arc::<Gate>::default());
    let (_server, address) = S::serve(router::<S>(program, &log, &gate));
    let mut raw = Raw::over(TcpStream::connect(address).unwrap(), bytewise);
    for write in list(case, "writes") {
        if write["event"] == "half-close" {
            raw.finish_writing();
        } else if write.get("pause_ms").is_none() {
            raw.write(&Bytes::of(write));
        }
    }
    let mut replies: Vec<_> = expected.replies.iter().map(|_| raw.packet(of)).collect();
    if case["replies_unordered"] == true || expected.replies.len() > 1 {
        replies.sort();
        expected.replies.sort();
    }
    assert!(replies == expected.replies, "{of}: {replies:x?}, recorded {:x?}", expected.replies);
    if case["connection_after"] == "open" {
        let followup = &case["followup_echo_call"];
        raw.write(&Bytes::of(&followup["sent"]));
        let reply = packet(0x80, 0x7777, "", "still-here");
        assert_eq!(raw.packet(of), reply, "{of}: a normal call afterwards");
        assert!(of == "raw-node-zero-length" || Bytes::of(&followup["reply"]) == reply, "{of}: recorded");
        log.expect(of, &expected.events);
        raw.expect_alive(of);
        raw.finish_writing();
        raw.expect_end(of);
    } else {
        assert_eq!(case["connection_after"], "closed by server (FIN)", "{of}");
        raw.expect_end(of);
        log.expect(of, &expected.events);
    }
}
