//! JSON-RPC: what a client makes of replies, and ends of connections: P3, P4, P12, P16, P20

use core::time::Duration;
use std::io::{ErrorKind, Write};
use std::sync::mpsc::channel;

use bytes::Bytes;
use flyrpc_driver::{CloseReason, Error, Overload};

use crate::raw::{REQUEST, RESPONSE, Raw};
use crate::rig::{End, Rig, SOON, echo, plain};
use crate::wire::Wire;

/// A call that is given up is told to the peer where that is switched on, behind its request, and else not
pub(crate) async fn p03_a_time_out_is_told_where_that_is_on<P: End>(rig: Rig<P>) {
    let within = Duration::from_millis(5);
    for on in [false, true] {
        let setup = plain().json(if on {
            |settings| settings.cancel_method(Some("$/cancelRequest"))
        } else {
            |settings| settings
        });
        let (mut raw, client) = Raw::with(&rig, setup).await;
        assert_eq!(client.call_within("slow", "1", within).await, Err(Error::TimedOut));
        raw.expect(REQUEST, 1, "slow", b"1");
        if on {
            raw.expect_json(r#"{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":1}}"#);
        }
        // The answer comes in spite of it.
        raw.send_json(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32800,"message":"Request cancelled"}}"#);
        let peer = client.peer.clone();
        let call = rig.spawn(async move { peer.call("echo", "2").await });
        raw.expect(REQUEST, 2, "echo", b"2");
        raw.send(RESPONSE, 2, "", b"2");
        assert_eq!(call.await, Ok(Bytes::from("2")));
        assert_eq!(client.stats().late_replies, 1);
    }
}

/// So is a call that is dropped
pub(crate) async fn p03_a_dropped_call_is_told_where_that_is_on<P: End>(rig: Rig<P>) {
    let setup = plain().json(|settings| settings.cancel_method(Some("$/cancelRequest")));
    let (mut raw, client) = Raw::with(&rig, setup).await;
    for i in 1..=5 {
        {
            let mut call = client.call("slow", "");
            core::future::poll_fn(|cx| {
                assert!(call.as_mut().poll(cx).is_pending());
                core::task::Poll::Ready(())
            })
            .await;
        }
        raw.expect(REQUEST, i, "slow", b"");
        raw.expect_json(format!(r#"{{"jsonrpc":"2.0","method":"$/cancelRequest","params":{{"id":{i}}}}}"#));
    }
    assert_eq!((client.stats().cancelled, client.in_flight()), (5, 0));
    raw.expect_alive();
}

/// Replies whose ids are not exactly those of calls answer nothing, whatever they look like
pub(crate) async fn p04_a_reply_to_nobody_answers_nothing<P: End>(rig: Rig<P>) {
    let (mut raw, client) = Raw::with(&rig, plain()).await;
    let peer = client.peer.clone();
    let call = rig.spawn(async move { peer.call("echo", "mine").await });
    raw.expect(REQUEST, 1, "echo", b"mine");
    for id in ["2", "\"1\"", "null", "-1", "1.5", "4294967297", "true", "[1]", "99999999999999999999"] {
        raw.send_json(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":["theirs"]}}"#));
        raw.send_json(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":1,"message":"theirs"}}}}"#));
    }
    raw.send_json(r#"{"jsonrpc":"2.0","result":["theirs"]}"#);
    raw.expect_alive();
    assert_eq!((client.in_flight(), client.stats().answered), (1, 0));
    raw.send(RESPONSE, 1, "", b"mine");
    assert_eq!(call.await, Ok(Bytes::from("mine")));
    raw.expect_alive();
}

/// Several replies may come as a batch, and requests among them
pub(crate) async fn p12_a_batch_of_replies_answers_each_call<P: End>(rig: Rig<P>) {
    let (mut raw, client) = Raw::with(&rig, echo()).await;
    let calls: Vec<_> = (0..3)
        .map(|i: u16| {
            let peer = client.peer.clone();
            let call = rig.spawn(async move { peer.call("echo", i.to_string()).await });
            raw.expect(REQUEST, i + 1, "echo", i.to_string());
            call
        })
        .collect();
    raw.send_json(
        r#"[{"jsonrpc":"2.0","id":2,"result":["1"]},{"jsonrpc":"2.0","method":"echo","params":[7],"id":1},
        {"jsonrpc":"2.0","id":9,"result":["9"]},{"jsonrpc":"2.0","id":1,"result":["0"]},
        {"jsonrpc":"2.0","id":3,"result":["2"]}]"#
            .replace('\n', " "),
    );
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await, Ok(Bytes::from(i.to_string())));
    }
    raw.expect_json(r#"[{"jsonrpc":"2.0","id":1,"result":[7]}]"#);
    raw.expect_alive();
}

/// Batches whose answers nobody reads: they are bounded like single requests, and stall nobody else
pub(crate) async fn p16_batches_that_nobody_reads_the_answers_of_are_bounded<P: End>(rig: Rig<P>) {
    let (server, other) = rig.pair(echo().owed_buffer(1 << 20, Overload::Wait), plain()).await;
    let mut raw = Raw::connect(&rig, &server);
    let text = "x".repeat(16 << 10);
    let element = |i: usize| format!(r#"{{"jsonrpc":"2.0","method":"echo","params":["{text}"],"id":{i}}}"#);
    let batch = rig.wire().frame(format!("[{},{},{},{}]", element(1), element(2), element(3), element(4)));
    raw.stream.set_write_timeout(Some(Duration::from_millis(200))).expect("an option");
    let mut whole = 0;
    let refused = loop {
        match raw.stream.write_all(&batch) {
            Ok(()) => whole += 1,
            Err(error) => break error,
        }
        assert!(whole * batch.len() < 24 << 20, "{whole} batches were taken");
    };
    assert!([ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&refused.kind()), "{refused}");
    for _ in 0..20 {
        assert_eq!(other.call("echo", "hi").await, Ok(Bytes::from("hi")));
    }
    for _ in 0..whole {
        let answers: Vec<serde_json::Value> = serde_json::from_str(&raw.json()).expect("an array");
        assert_eq!(answers.len(), 4);
        assert!(answers.iter().all(|answer| answer["result"][0] == *text));
    }
}

/// What is not JSON is answered, and the connection goes on; a header that is none is the end of it, told once
pub(crate) async fn p20_only_what_hides_the_next_message_ends_a_connection<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let setup = echo().on_close(move |_, why| {
        let _ = told.send(why);
    });
    let (server, other) = rig.pair(setup, plain()).await;
    let mut raw = Raw::connect(&rig, &server);
    for _ in 0..5 {
        raw.send_json("nonsense");
        raw.expect_json(crate::texts::failure("null", -32700, "Parse error"));
        raw.expect_alive();
    }
    if rig.wire() == Wire::Headers {
        for bad in ["nonsense\r\n\r\n", "Content-Length: 7x\r\n\r\n", "\r\n\r\n"] {
            let mut raw = Raw::connect(&rig, &server);
            raw.expect_alive();
            raw.write(bad);
            raw.expect_gone();
            let why = tells.recv_timeout(SOON).expect("the server notices");
            assert!(matches!(why, CloseReason::Protocol(_)), "{why:?}");
        }
    }
    raw.expect_alive();
    assert_eq!(other.call("echo", "hi").await, Ok(Bytes::from("hi")));
    assert!(tells.try_recv().is_err(), "nothing else has ended");
}

on_all_stacks! {
    json:
    p03_a_time_out_is_told_where_that_is_on
    p04_a_reply_to_nobody_answers_nothing
    p12_a_batch_of_replies_answers_each_call
    p20_only_what_hides_the_next_message_ends_a_connection;
    json_at_speed:
    p16_batches_that_nobody_reads_the_answers_of_are_bounded;
    json_futures:
    p03_a_dropped_call_is_told_where_that_is_on;
}
