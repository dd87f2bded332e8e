//! Slow readers, and limits: P16 and P17

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use flyrpc_core::BadReply;
use flyrpc_driver::{
    CloseReason, Error, Limits, Loss, Overload, ProtocolError, Refusal, RemoteError, UnreadableReply,
    ZipMode, codes,
};

use crate::raw::{MESSAGE, REQUEST, RESPONSE, Raw};
use crate::rig::{End, Gate, Rig, SOON, echo, noise, plain, until};
use crate::wire::unwrap;

/// More than all buffers of the system can hold between two sockets
const FLOOD: usize = 48 << 20;
/// What they may hold, with much to spare
const SYSTEM: usize = 24 << 20;
const PIECE: usize = 64 << 10;

/// Writes requests that nobody reads the answers of until no more are taken for a while, or all are; how many packets began
fn flood(raw: &mut Raw, request: &[u8], patience: Duration) -> (usize, bool) {
    raw.stream.set_write_timeout(Some(patience)).expect("an option");
    for n in 0..FLOOD / request.len() {
        if let Err(error) = raw.stream.write_all(request) {
            assert!([ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()), "{error}");
            return (n, true);
        }
    }
    (FLOOD / request.len(), false)
}

/// A client that reads nothing: the server stops reading too, holds a bounded amount, and serves the others
pub(crate) async fn p16_a_client_that_does_not_read_stalls_only_itself<P: End>(rig: Rig<P>) {
    let (server, other) = rig.pair(echo().owed_buffer(1 << 20, Overload::Wait), plain()).await;
    let mut raw = Raw::connect(&rig, &server);
    let payload = rig.wire().noise(PIECE);
    let request = rig.wire().packet(REQUEST, 3, "echo", &payload);
    let (whole, stalled) = flood(&mut raw, &request, Duration::from_millis(200));
    assert!(stalled && whole * PIECE < SYSTEM, "{whole} requests were taken");
    for _ in 0..20 {
        assert_eq!(other.call("echo", "hi").await, Ok(Bytes::from("hi")));
    }
    // As soon as it reads, it gets all that it asked for.
    for _ in 0..whole {
        raw.expect(RESPONSE, 3, "", &payload);
    }
}

/// The same, where refusing was chosen: requests beyond the buffer are answered `BUSY`
pub(crate) async fn p16_beyond_the_owed_buffer_requests_are_busy<P: End>(rig: Rig<P>) {
    let (server, other) = rig.pair(echo().owed_buffer(1 << 20, Overload::Refuse), plain()).await;
    let mut raw = Raw::connect(&rig, &server);
    let payload = rig.wire().noise(PIECE);
    let request = rig.wire().packet(REQUEST, 3, "echo", &payload);
    let (whole, stalled) = flood(&mut raw, &request, SOON);
    assert!(!stalled, "{whole} requests were taken");
    assert_eq!(other.call("echo", "hi").await, Ok(Bytes::from("hi")));
    let (mut answered, mut busy) = (0, 0);
    for _ in 0..whole {
        let answer = raw.read();
        if answer.code == codes::BUSY || answer.number == Some(-32000) {
            busy += 1;
        } else {
            assert_eq!(answer.payload, payload);
            answered += 1;
        }
    }
    assert!(answered > 0 && answered * PIECE < SYSTEM, "{answered} answered, {busy} busy");
}

/// A server that reads nothing: what its caller may queue is bounded, and then the caller waits
pub(crate) async fn p16_a_caller_waits_for_room<P: End>(rig: Rig<P>) {
    let (buffer, piece) = if rig.is_bytewise() { (2_000, 1_000) } else { (1 << 20, PIECE) };
    let (mut raw, client) = Raw::with(&rig, plain().send_buffer(buffer, Overload::Wait)).await;
    let noise = rig.wire().noise(piece);
    let payload = Bytes::from(noise.clone());
    let mut sent = 0;
    // A socket that drains slowly makes room again; what waits then is as good as any.
    while client.try_send("note", payload.clone()).is_ok() {
        sent += 1;
        assert!(sent * piece < SYSTEM + buffer, "{sent} messages were taken");
    }
    let full = client.try_send("note", payload.clone());
    assert!(matches!(full, Ok(()) | Err(Error::Refused(Refusal::NoRoom { .. }))), "{full:?}");
    sent += usize::from(full.is_ok());
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let (peer, payload) = (client.peer.clone(), payload.clone());
            rig.spawn(async move { peer.send("note", payload).await })
        })
        .collect();
    let reading = std::thread::spawn(move || {
        for _ in 0..sent + 10 {
            raw.expect(MESSAGE, 0, "note", &noise);
        }
        raw
    });
    for send in waiting {
        assert_eq!(send.await, Ok(()));
    }
    let mut raw = reading.join().expect("the raw server");
    raw.expect_alive();
}

/// The same: within its deadline, and no longer
pub(crate) async fn p16_a_caller_waits_for_room_until_its_deadline<P: End>(rig: Rig<P>) {
    let limits = Limits::new().call_timeout(Duration::from_millis(30));
    let (_raw, client) = Raw::with(&rig, plain().send_buffer(1 << 20, Overload::Wait).limits(limits)).await;
    // The last ones find no room, and nobody reads.
    let payload = Bytes::from(rig.wire().noise(PIECE));
    let mut refused = 0;
    for _ in 0..FLOOD / PIECE {
        match client.send("note", payload.clone()).await {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, Error::TimedOut);
                refused += 1;
                if refused == 2 {
                    break;
                }
            }
        }
    }
    assert_eq!(refused, 2);
    assert_eq!(client.call("echo", payload.clone()).await, Err(Error::TimedOut));
    assert_eq!(client.call_within("echo", payload, Duration::ZERO).await, Err(Error::TimedOut));
    // What found no room was not sent: nothing waits for an answer.
    assert_eq!(client.in_flight(), 0);
}

/// Or is refused at once, where that was chosen
pub(crate) async fn p16_a_caller_is_refused_where_that_was_chosen<P: End>(rig: Rig<P>) {
    let (buffer, piece) = if rig.is_bytewise() { (2_000, 1_000) } else { (1 << 20, PIECE) };
    let (mut raw, client) = Raw::with(&rig, plain().send_buffer(buffer, Overload::Refuse)).await;
    let noise = rig.wire().noise(piece);
    let payload = Bytes::from(noise.clone());
    let mut sent = 0;
    let refused = loop {
        match client.send("note", payload.clone()).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent * piece < SYSTEM + buffer, "{sent} messages were taken");
    };
    assert!(matches!(refused, Error::Refused(Refusal::NoRoom { .. })), "{refused:?}");
    for _ in 0..sent {
        raw.expect(MESSAGE, 0, "note", &payload);
    }
    raw.expect_alive();
    assert_eq!(client.send("note", "again").await, Ok(()));
    raw.expect(MESSAGE, 0, "note", b"again");
}

/// A peer that takes nothing for the write time-out is lost, and so are the calls
pub(crate) async fn p16_a_peer_that_takes_nothing_is_given_up<P: End>(rig: Rig<P>) {
    let setup = plain().write_timeout(Duration::from_millis(50)).send_buffer(FLOOD, Overload::Refuse);
    let (_raw, client) = Raw::with(&rig, setup).await;
    let peer = client.peer.clone();
    let call = rig.spawn(async move { peer.call_within("echo", "first", SOON * 6).await });
    until("the call has begun", || client.in_flight() == 1);
    let payload = Bytes::from(rig.wire().noise(PIECE));
    while client.try_send("note", payload.clone()).is_ok() {}
    assert_eq!(client.closed().await, CloseReason::Transport(Loss::WriteTimeout));
    assert_eq!(call.await, Err(Error::Lost(CloseReason::Transport(Loss::WriteTimeout))));
}

/// A broadcast passes over who does not read, and reaches all others
pub(crate) async fn p16_a_broadcast_waits_for_nobody<P: End>(rig: Rig<P>) {
    let server = rig.serve(plain().send_buffer(4 * PIECE, Overload::Wait)).await;
    let slow = Raw::connect(&rig, &server);
    until("it is there", || server.connections() == 1);
    let (told, tells) = channel();
    let reader = plain().handle("news", move |payload: Bytes| {
        let _ = told.send(unwrap(payload).len());
    });
    let _reader = rig.client(reader, &server).await;
    until("both are there", || server.connections() == 2);
    let news = Bytes::from(rig.wire().noise(PIECE));
    let mut sent = 0;
    while server.broadcast("news", news.clone()) == 2 {
        sent += 1;
        assert_eq!(tells.recv_timeout(SOON), Ok(PIECE));
        assert!(sent * PIECE < SYSTEM, "{sent} messages were taken");
    }
    assert_eq!(tells.recv_timeout(SOON), Ok(PIECE));
    drop(slow);
}

/// Handlers that run at a time are bounded: more requests are answered `BUSY` at once
pub(crate) async fn p16_requests_beyond_the_limit_are_busy<P: End>(rig: Rig<P>) {
    let gate = Gate::shut();
    let inner = gate.clone();
    let setup = plain().limits(Limits::new().max_unanswered(2)).handle("gated", move |payload: Bytes| {
        let gate = inner.clone();
        async move {
            gate.pass().await;
            payload
        }
    });
    let server = rig.serve(setup).await;
    let mut raw = Raw::connect(&rig, &server);
    for i in 1..=5 {
        raw.send(REQUEST, i, "gated", b"");
    }
    for i in 3..=5 {
        raw.expect(RESPONSE, i, codes::BUSY, b"");
    }
    raw.expect_alive();
    gate.open();
    let mut answered = [raw.read().seq, raw.read().seq];
    answered.sort_unstable();
    assert_eq!(answered, [1, 2]);
    raw.send(REQUEST, 6, "gated", b"now");
    raw.expect(RESPONSE, 6, "", b"now");
}

/// Or they wait in the stream until there is a place
pub(crate) async fn p16_requests_beyond_the_limit_wait_where_that_was_chosen<P: End>(rig: Rig<P>) {
    let gate = Gate::shut();
    let running = Arc::new(AtomicUsize::new(0));
    let (began, begins) = channel();
    let inner = gate.clone();
    let limits = Limits::new().max_unanswered(2).overload(Overload::Wait);
    let setup = plain().limits(limits).handle("gated", move |payload: Bytes| {
        let (gate, running, began) = (inner.clone(), Arc::clone(&running), began.clone());
        async move {
            assert!(running.fetch_add(1, Ordering::SeqCst) < 2, "more than two at a time");
            let _ = began.send(());
            gate.pass().await;
            running.fetch_sub(1, Ordering::SeqCst);
            payload
        }
    });
    let (_server, client) = rig.pair(setup, plain()).await;
    let calls: Vec<_> = (0..50)
        .map(|i| {
            let peer = client.peer.clone();
            rig.spawn(async move { peer.call("gated", i.to_string()).await })
        })
        .collect();
    for _ in 0..2 {
        begins.recv_timeout(SOON).expect("a handler runs");
    }
    for _ in 2..50 {
        gate.admit(1);
        begins.recv_timeout(SOON).expect("the next handler runs");
    }
    gate.open();
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await, Ok(Bytes::from(i.to_string())));
    }
}

pub(crate) async fn p17_calls_in_flight_are_bounded<P: End>(rig: Rig<P>) {
    let (mut raw, client) = Raw::with(&rig, plain().limits(Limits::new().max_in_flight(3))).await;
    let calls: Vec<_> = (0..3)
        .map(|i| {
            let peer = client.peer.clone();
            rig.spawn(async move { peer.call("echo", i.to_string()).await })
        })
        .collect();
    until("three are in flight", || client.in_flight() == 3);
    let refused = Err(Error::Refused(Refusal::TooManyInFlight { in_flight: 3 }));
    assert_eq!(client.call("echo", "").await, refused);
    for _ in 0..3 {
        let request = raw.read();
        raw.send(RESPONSE, request.seq, "", &request.payload);
    }
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await, Ok(Bytes::from(i.to_string())));
    }
}

/// A length is believed only as far as the limits go
pub(crate) async fn p17_a_length_is_checked_before_anything_is_kept<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let limits = Limits::new().max_payload(1_000).max_body(3_000);
    let setup = echo().limits(limits).on_close(move |_, why| {
        let _ = told.send(why);
    });
    let server = rig.serve(setup).await;
    let mut raw = Raw::connect(&rig, &server);
    raw.send(REQUEST, 1, "echo", noise(1_000));
    raw.expect(RESPONSE, 1, "", noise(1_000));
    raw.send(REQUEST, 2, "echo", noise(1_001));
    raw.expect(RESPONSE, 2, codes::TOO_LARGE, b"");
    raw.send(MESSAGE, 0, "echo", noise(3_000));
    raw.expect_alive();
    for length in [&[0, 0, 0x0b, 0xb9][..], &[0xff; 4], &[0xff; 8], &[0, 0, 0, 1, 0, 0, 0, 0]] {
        let mut raw = Raw::connect(&rig, &server);
        let flag = REQUEST | if length.len() == 8 { 3 } else { 2 };
        raw.write([&[flag, 0, 1][..], b"echo\0", length].concat());
        raw.expect_gone();
        let why = tells.recv_timeout(SOON).expect("the server notices");
        assert!(
            matches!(why, CloseReason::Protocol(ProtocolError { offset: 8, limit: 3_000, .. })),
            "{length:?}: {why:?}"
        );
    }
    // 4 GiB are announced, two bytes come, and then nothing.
    let server = rig.serve(echo()).await;
    let mut raw = Raw::connect(&rig, &server);
    raw.write([&[REQUEST | 2, 0, 1][..], b"echo\0", &[0xff, 0xff, 0xff, 0xff], b"hi"].concat());
    raw.expect(RESPONSE, 1, codes::TOO_LARGE, b"");
}

pub(crate) async fn p17_a_code_without_an_end_is_given_up<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let setup = echo().limits(Limits::new().max_method(100)).on_close(move |_, why| {
        let _ = told.send(why);
    });
    let server = rig.serve(setup).await;
    let mut raw = Raw::connect(&rig, &server);
    raw.send(REQUEST, 1, &"c".repeat(100), b"");
    raw.expect(RESPONSE, 1, codes::NOT_FOUND, b"");
    raw.write([&[REQUEST, 0, 2][..], &[b'c'; 101]].concat());
    raw.expect_gone();
    let why = tells.recv_timeout(SOON).expect("the server notices");
    assert!(matches!(why, CloseReason::Protocol(ProtocolError { limit: 100, .. })), "{why:?}");
}

/// Whatever comes, the server goes on with the others
pub(crate) async fn p17_noise_harms_nobody<P: End>(rig: Rig<P>) {
    let (server, other) = rig.pair(echo(), plain()).await;
    for len in 0..rig.many(300, 100) {
        let mut raw = Raw::connect(&rig, &server);
        // It may be gone before it has taken everything.
        let _ = raw.stream.write_all(&noise(len * 3));
        if len % 50 == 0 {
            assert_eq!(other.call("echo", "hi").await, Ok(Bytes::from("hi")));
        }
    }
    assert_eq!(other.call("echo", "hi").await, Ok(Bytes::from("hi")));
    until("they are gone", || server.connections() == 1);
}

/// What a payload inflates to counts
pub(crate) async fn p17_a_payload_that_inflates_past_the_limit_is_told<P: End>(rig: Rig<P>) {
    let limits = Limits::new().max_payload(10_000);
    let server = echo().limits(limits);
    let (_server, client) = rig.pair(server, plain().zip(ZipMode::On)).await;
    assert_eq!(client.call("echo", vec![7; 10_000]).await, Ok(Bytes::from(vec![7; 10_000])));
    let bomb = client.call("echo", vec![7; 10_001]).await;
    assert!(
        matches!(&bomb, Err(Error::Remote(RemoteError { code, .. })) if code == codes::TOO_LARGE),
        "{bomb:?}"
    );
    assert_eq!(client.call("echo", vec![7; 10_000]).await, Ok(Bytes::from(vec![7; 10_000])));
}

/// Either end may be the one whose payload is too long, and may know or not know it before
pub(crate) async fn p17_one_byte_more_than_the_limit_is_told_to_who_sent_it<P: End>(rig: Rig<P>) {
    let max = if rig.is_bytewise() { 1_000 } else { 16 << 20 };
    let limits = Limits::new().max_payload(max);
    let server = echo()
        .limits(limits.clone())
        .handle("answer", |len: String| Bytes::from(noise(len.parse().expect("a number"))));
    let (_server, client) = rig.pair(server, plain().limits(limits)).await;
    let (max, more) = (max as usize, max as usize + 1);
    assert_eq!(client.call("echo", noise(max)).await.map(|answer| answer == noise(max)), Ok(true));
    let refused = client.call("echo", noise(more)).await;
    assert_eq!(refused, Err(Error::Remote(RemoteError::new(codes::TOO_LARGE))));
    let unreadable = client.call("answer", more.to_string()).await;
    let (len, limit) = (more as u64, max as u64);
    let bad = UnreadableReply::Bad(BadReply::TooLarge { len, limit });
    assert_eq!(unreadable, Err(Error::UnreadableReply(bad)));
    // Now both know.
    assert_eq!(client.hello().await.map(|they| they.max_payload), Ok(Some(max as u32)));
    assert_eq!(client.call("echo", noise(more)).await, Err(Error::Refused(Refusal::TooLarge { len, limit })));
    let told = client.call("answer", more.to_string()).await;
    assert_eq!(told, Err(Error::Remote(RemoteError::new(codes::TOO_LARGE))));
    assert_eq!(client.call("answer", max.to_string()).await.map(|answer| answer == noise(max)), Ok(true));
}

on_all_stacks! {
    both_ways:
    p16_requests_beyond_the_limit_wait_where_that_was_chosen;
    raw:
    p16_requests_beyond_the_limit_are_busy
    p17_calls_in_flight_are_bounded
    p17_noise_harms_nobody;
    raw_at_speed:
    p16_a_client_that_does_not_read_stalls_only_itself
    p16_beyond_the_owed_buffer_requests_are_busy
    p16_a_caller_waits_for_room_until_its_deadline
    p16_a_peer_that_takes_nothing_is_given_up
    p16_a_broadcast_waits_for_nobody;
    raw_unproxied:
    p16_a_caller_waits_for_room
    p16_a_caller_is_refused_where_that_was_chosen;
    fly:
    p17_a_length_is_checked_before_anything_is_kept
    p17_a_code_without_an_end_is_given_up
    p17_a_payload_that_inflates_past_the_limit_is_told
    p17_one_byte_more_than_the_limit_is_told_to_who_sent_it;
}
