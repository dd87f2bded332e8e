//! What was recorded from the real Go and Node programs, played at sockets to every runtime's client and server
//!
//! `vectors/` replays the same cases on bare connections; here each goes through a runtime, its sockets and its router. In
//! every case flyrpc takes the place of each recorded program in turn, and a plain socket that of the other. Each file is
//! played twice: as it was written, and byte by byte (P18).
//!
//! Where our rules differ from a recorded program, the difference is named in [`DIFFERENCES`] with its reason. Each must
//! show up: a difference that does not is a failure too, and so is a case that can't be played.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod probe;
mod program;
mod raw;
mod seq;
mod stacks;
mod stage;

use std::collections::BTreeSet;

use flyrpc_tests::vectors::load;
use serde_json::Value;
use stacks::Stack;

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
///
/// A message of Go's asks for an answer that nobody reads: it is `send_acked` here, which writes the same.
const DIFFERENCES: [(&str, &str); 9] = [
    ("node-request-fail", NODE_EMPTY),
    ("node-request-len-0", NODE_EMPTY),
    ("nodecli-gosrv-error", NODE_EMPTY),
    ("raw-node-zero-length", NODE_EMPTY),
    ("raw-node-split-in-code", NODE_CODE),
    ("raw-go-noreply-unknown", GO_FLAG_0),
    ("raw-go-zip-payload-bit", ZIP),
    ("raw-node-reserved-bits", ZIP),
    ("raw-goclient-reply-with-code", DETAILS),
];

/// Differences that were met
type Met = BTreeSet<(String, &'static str)>;

fn name(case: &Value) -> &str {
    case["name"].as_str().expect("every case has a name")
}

fn list<'c>(case: &'c Value, field: &str) -> &'c [Value] {
    case[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Plays all cases of a file, whole and byte by byte, and checks the differences
///
/// `sides` of all of them together were real programs, which flyrpc takes the place of.
fn play_file<S: Stack>(file: &str, cases: usize, sides: usize) {
    let all = load(&format!("flyrpc/{file}.json"));
    assert!(all.len() >= cases, "{file}: {} cases", all.len());
    let listed: Met = DIFFERENCES
        .iter()
        .filter(|(listed, _)| all.iter().any(|case| name(case) == *listed))
        .map(|(case, why)| ((*case).to_owned(), *why))
        .collect();
    for bytewise in [false, true] {
        let mut met = Met::new();
        let mut played = 0;
        for case in &all {
            let before = played;
            for side in ["client", "server"] {
                if program::Program::of(case, side).is_none() {
                    continue;
                }
                if case.get("writes").is_some() {
                    probe::play::<S>(case, bytewise, &mut met);
                } else {
                    stage::play::<S>(case, side, bytewise, &mut met);
                }
                played += 1;
            }
            assert!(played > before, "{}: nobody's place to take", name(case));
        }
        assert!(played >= sides, "{file}: played {played} times");
        assert_eq!(met, listed, "{file}: differences met, and listed");
    }
}

/// The same tests on each stack
macro_rules! on {
    ($($stack:ident: $type:ty,)*) => {
        $(mod $stack {
            use super::{play_file, raw, seq};

            #[test]
            fn exchanges() {
                raw::bounded(|| play_file::<$type>("exchanges", 22, 44));
            }

            #[test]
            fn node_exchanges() {
                raw::bounded(|| play_file::<$type>("node_exchanges", 14, 28));
            }

            #[test]
            fn cross() {
                raw::bounded(|| play_file::<$type>("cross", 5, 10));
            }

            #[test]
            fn probes_server() {
                raw::bounded(|| play_file::<$type>("probes_server", 19, 19));
            }

            #[test]
            fn node_probes_server() {
                raw::bounded(|| play_file::<$type>("node_probes_server", 10, 10));
            }

            #[test]
            fn probes_client() {
                raw::bounded(|| play_file::<$type>("probes_client", 9, 9));
            }

            #[test]
            fn node_probes_client() {
                raw::bounded(|| play_file::<$type>("node_probes_client", 3, 3));
            }

            #[test]
            fn seq_of_a_client() {
                raw::bounded(seq::client::<$type>);
            }

            #[test]
            fn seq_of_a_server() {
                raw::bounded(seq::server::<$type>);
            }
        })*
    };
}

on! {
    on_tokio: crate::stacks::Async<crate::stacks::OnTokio>,
    on_smol: crate::stacks::Async<crate::stacks::OnSmol>,
    on_blocking: crate::stacks::Blocking,
}
