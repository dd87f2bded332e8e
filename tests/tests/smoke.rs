//! The harness itself
use flyrpc_core::Reply;
use flyrpc_tests::{Pair, Side};

#[test]
fn a_call_runs_end_to_end() {
    let mut pair: Pair = Pair::default();
    pair.call(Side::A, "echo", b"hello", 1).unwrap();
    pair.drive(100);
    pair.reply(Side::B, 0, Reply::ok(b"hello")).unwrap();
    pair.drive(100);
    assert_eq!(pair.a.outcome(1), "ok \"hello\"", "{}", pair.transcript());
}
