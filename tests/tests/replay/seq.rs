//! 65,540 calls, over the wrap of the sequence

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};

use flyrpc_driver::Router;
use flyrpc_tests::vectors::{Bytes, load, packet};
use serde_json::Value;

use crate::raw::{Raw, SOON};
use crate::stacks::Stack;
use crate::{SEQ_0, name};

/// Calls at a time
const BURST: u64 = 32;

const CASE: &str = "go-seq-wrap";

/// What some of the calls looked like, by their number: request and reply
type Samples = BTreeMap<u64, (Vec<u8>, Vec<u8>)>;

/// How many calls there were, and the samples
fn recorded() -> (u64, Samples) {
    let cases = load("flyrpc/seq.json");
    let [case] = &cases[..] else { panic!("seq: {} cases", cases.len()) };
    assert_eq!((name(case), case["failed_calls"].as_u64()), (CASE, Some(0)));
    let sample = |sample: &Value| {
        let packets = (Bytes::of(&sample["request"]), Bytes::of(&sample["reply"]));
        (sample["call_index"].as_u64().expect("an index"), packets)
    };
    (case["calls"].as_u64().expect("a number"), crate::list(case, "samples").iter().map(sample).collect())
}

/// Ours calls; from the wrap on it is one ahead, having left 0 out
pub(crate) fn client<S: Stack>() {
    let (calls, samples) = recorded();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = S::connect(Router::new(), &listener.local_addr().unwrap().to_string());
    let mut raw = Raw::over(listener.accept().unwrap().0, false);
    let (mut same, mut ahead) = (0, 0);
    for first in (0..calls).step_by(BURST as usize) {
        let burst = first..(first + BURST).min(calls);
        let count = (burst.end - burst.start) as usize;
        let answered = S::burst(&client, "ack", count);
        let mut replies = Vec::new();
        for index in burst {
            let sequence = if index < 65_535 { index + 1 } else { index - 65_534 } as u16;
            let request = raw.packet(CASE);
            assert_eq!(request, packet(0x40, sequence, "ack", ""), "call {index}");
            match samples.get(&index) {
                Some((recorded, _)) if *recorded == request => same += 1,
                Some((recorded, _)) => {
                    assert_eq!(*recorded, packet(0x40, sequence - 1, "ack", ""), "{SEQ_0}: call {index}");
                    ahead += 1;
                }
                None => {}
            }
            replies.extend(packet(0x80, sequence, "", ""));
        }
        raw.write(&replies);
        assert_eq!(answered.recv_timeout(SOON), Ok(count), "calls from {first} on");
    }
    assert_eq!((calls, same, ahead), (65_540, 8, 5));
    raw.expect_alive(CASE);
}

/// Ours is called, with the recorded sequences: 0 is one of them
pub(crate) fn server<S: Stack>() {
    let (calls, mut samples) = recorded();
    let (_server, address) = S::serve(Router::new().handle("ack", || ()));
    let mut raw = Raw::over(TcpStream::connect(address).unwrap(), false);
    for first in (0..calls).step_by(BURST as usize) {
        let burst = first..(first + BURST).min(calls);
        let sequence = |index: u64| (index + 1) as u16;
        let requests: Vec<u8> =
            burst.clone().flat_map(|index| packet(0x40, sequence(index), "ack", "")).collect();
        raw.write(&requests);
        let mut replies: Vec<_> = burst.clone().map(|_| raw.packet(CASE)).collect();
        let mut expected: Vec<_> = burst.clone().map(|index| packet(0x80, sequence(index), "", "")).collect();
        replies.sort();
        expected.sort();
        assert_eq!(replies, expected, "calls from {first} on");
        for index in burst {
            if let Some((request, reply)) = samples.remove(&index) {
                assert_eq!(request, packet(0x40, sequence(index), "ack", ""), "call {index}");
                assert!(replies.contains(&reply), "call {index}");
            }
        }
    }
    assert!(calls == 65_540 && samples.is_empty());
    raw.expect_alive(CASE);
}
