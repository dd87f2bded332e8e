//! The life of a call: P1 to P8

use core::time::Duration;
use std::sync::mpsc::{Sender, channel};

use bytes::Bytes;
use flyrpc_driver::{
    CloseReason, Context, Error, Json, Limits, Loss, Packet, Refusal, RemoteError, Stage, UnreadableReply,
    codes,
};
use flyrpc_tests::vectors::packet;

use crate::raw::{MESSAGE, REQUEST, RESPONSE, Raw};
use crate::rig::{End, Gate, Rig, SOON, echo, plain, until};
use crate::wire::assert_failed;

/// Answers once the gate lets it
fn gated<P: End>(setup: crate::rig::Setup<P>, gate: &Gate) -> crate::rig::Setup<P> {
    let gate = gate.clone();
    setup.handle("gated", move |payload: Bytes| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            payload
        }
    })
}

pub(crate) async fn p01_every_call_has_one_end<P: End>(rig: Rig<P>) {
    let gate = Gate::shut();
    let server = gated(echo(), &gate).handle("fail", || RemoteError::new("NO_SUCH_LAMP").details("lamp 7"));
    let (_server, client) = rig.pair(server, plain()).await;
    assert_eq!(client.call("echo", "hi").await, Ok(Bytes::from("hi")));
    assert_eq!(client.call("echo", "").await, Ok(Bytes::new()));
    let Err(Error::Remote(failed)) = client.call("fail", "").await else { panic!("it fails") };
    let expected = ("NO_SUCH_LAMP", rig.wire().details("lamp 7"));
    assert_eq!((failed.code.as_str(), failed.details.clone()), expected);
    assert_failed(client.call("nothing", "").await, codes::NOT_FOUND);
    assert_eq!(client.call_within("gated", "", Duration::from_millis(5)).await, Err(Error::TimedOut));
    if rig.wire().is_fly() {
        assert_eq!(client.call("nul\0", "").await, Err(Error::Refused(Refusal::BadMethod)));
    }
    let pong = client.ping(64, SOON).await.expect("a pong");
    assert_eq!(pong.len, rig.wire().pong(64));
    gate.open();
    assert_eq!(client.call("gated", "late").await, Ok(Bytes::from("late")));
    let peer = client.peer.clone();
    let closed = client.closed();
    drop(client);
    assert_eq!(closed.await, CloseReason::Local);
    let stats = peer.stats();
    assert_eq!((stats.calls, stats.answered, stats.timed_out, stats.cancelled), (7, 6, 1, 0));
    assert_eq!(peer.in_flight(), 0);
}

pub(crate) async fn p01_after_the_end_nothing_is_accepted<P: End>(rig: Rig<P>) {
    let (server, client) = rig.pair(echo(), plain()).await;
    let theirs = rig.other_end(&server).await;
    client.close();
    assert_eq!(client.closed().await, CloseReason::Local);
    assert_eq!(theirs.closed().await, CloseReason::PeerClosed);
    for peer in [&client.peer, &theirs] {
        assert_eq!(peer.stage(), Stage::Closed);
        assert_eq!(peer.call("echo", "hi").await, Err(Error::Refused(Refusal::Closed)));
        assert_eq!(peer.request("echo", "hi").await, Err(Error::Refused(Refusal::Closed)));
        assert_eq!(peer.send_acked("echo", "hi").await, Err(Error::Refused(Refusal::Closed)));
        assert_eq!(peer.send("echo", "hi").await, Err(Error::Refused(Refusal::Closed)));
        assert_eq!(peer.try_send("echo", "hi"), Err(Error::Refused(Refusal::Closed)));
        assert_eq!(peer.ping(4, SOON).await, Err(Error::Refused(Refusal::Closed)));
        if rig.wire().is_fly() {
            assert_eq!(peer.hello().await, Err(Error::Refused(Refusal::Closed)));
        }
    }
    until("the list is empty", || server.connections() == 0);
}

/// Calls that were under way end when the connection does, whoever ends it and how
pub(crate) async fn p01_every_end_loses_the_calls_in_flight<P: End>(rig: Rig<P>) {
    for end in
        ["client closes", "client is dropped", "server closes", "server is dropped", "server shuts down"]
    {
        let gate = Gate::shut();
        let (began, begins) = channel();
        let inner = gate.clone();
        let setup = plain().handle("gated", move || {
            let (gate, began) = (inner.clone(), began.clone());
            async move {
                let _ = began.send(());
                gate.pass().await;
            }
        });
        let (server, client) = rig.pair(setup, plain()).await;
        let calls: Vec<_> = (0..5)
            .map(|_| {
                let peer = client.peer.clone();
                rig.spawn(async move { peer.call("gated", "").await })
            })
            .collect();
        for _ in 0..5 {
            begins.recv_timeout(SOON).expect("a handler runs");
        }
        let peer = client.peer.clone();
        let mut at_once = vec![CloseReason::PeerClosed];
        if !rig.wire().is_fly() {
            // A handler runs before the end of its line has been read, and what is not read resets the connection.
            at_once.push(CloseReason::Transport(Loss::Reset));
        }
        let expected = match end {
            "client closes" => {
                client.close();
                vec![CloseReason::Local]
            }
            "client is dropped" => {
                drop(client);
                vec![CloseReason::Local]
            }
            "server closes" => {
                rig.other_end(&server).await.close();
                at_once
            }
            "server is dropped" => {
                drop(server);
                at_once
            }
            _ => {
                server.shutdown(Duration::from_millis(20)).await;
                at_once
            }
        };
        for call in calls {
            match call.await {
                Err(Error::Lost(why)) => assert!(expected.contains(&why), "{end}: {why:?}"),
                other => panic!("{end}: {other:?}"),
            }
        }
        assert_eq!(peer.in_flight(), 0, "{end}");
        gate.open();
    }
}

/// Work that nobody waits for any more is told of it
pub(crate) async fn p01_handlers_learn_that_their_client_is_gone<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let (began, begins) = channel();
    let setup = plain().handle("wait", move |context: Context<P>| {
        let (told, began) = (Dropped(told.clone()), began.clone());
        async move {
            let _ = began.send(context.is_cancelled());
            context.cancelled().await;
            drop(told);
        }
    });
    let server = rig.serve(setup).await;
    let mut raw = Raw::connect(&rig, &server);
    raw.send(REQUEST, 1, "wait", b"");
    assert_eq!(begins.recv_timeout(SOON), Ok(false));
    raw.reset();
    assert_eq!(tells.recv_timeout(SOON), Ok(()));
    until("the connection has left the list", || server.connections() == 0);
}

/// Tells when it is dropped
struct Dropped(Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

pub(crate) async fn p01_ten_thousand_calls_at_once_each_get_their_own_answer<P: End>(rig: Rig<P>) {
    let many = rig.many(10_000, if rig.is_bytewise() && rig.wire().is_fly() { 1_000 } else { 500 });
    // They are all in flight before the first is answered.
    let gate = Gate::shut();
    let limits = Limits::new().max_unanswered(20_000).call_timeout(Duration::from_secs(60));
    let (_server, client) =
        rig.pair(gated(plain(), &gate).limits(limits.clone()), plain().limits(limits)).await;
    let calls: Vec<_> = (0..many as u32)
        .map(|i| {
            let peer = client.peer.clone();
            rig.spawn(async move { peer.call("gated", i.to_string()).await })
        })
        .collect();
    until("all are in flight", || client.in_flight() as usize == many);
    gate.open();
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await, Ok(Bytes::from(i.to_string())));
    }
    let stats = client.stats();
    assert_eq!((stats.calls, stats.answered, client.in_flight()), (many as u64, many as u64, 0));
}

pub(crate) async fn p01_a_thousand_connections_are_served_at_once<P: End>(rig: Rig<P>) {
    let many = rig.many(1_000, 200);
    let server = rig.serve(echo()).await;
    let mut clients = Vec::new();
    for _ in 0..many {
        clients.push(rig.client(plain(), &server).await);
    }
    let calls: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(i, client)| {
            let peer = client.peer.clone();
            rig.spawn(async move {
                for j in 0..5 {
                    let payload = format!("{i}:{j}");
                    assert_eq!(peer.call("echo", payload.clone()).await, Ok(Bytes::from(payload)));
                }
            })
        })
        .collect();
    for call in calls {
        call.await;
    }
    assert_eq!(server.connections(), many);
    drop(clients);
    until("all have left", || server.connections() == 0);
}

/// A server that answers as fast as it can: each answer finds its call
pub(crate) async fn p02_an_answer_that_comes_at_once_finds_its_call<P: End>(rig: Rig<P>) {
    let (mut raw, client) = Raw::with(&rig, plain()).await;
    let calls = 500;
    let answering = std::thread::spawn(move || {
        for _ in 0..calls {
            let request = raw.read();
            raw.send(RESPONSE, request.seq, "", &request.payload);
        }
        raw
    });
    for i in 0..calls {
        assert_eq!(client.call("echo", i.to_string()).await, Ok(Bytes::from(i.to_string())));
    }
    let stats = client.stats();
    assert_eq!((stats.answered, stats.unknown_replies, stats.late_replies), (calls, 0, 0));
    drop(answering.join().expect("the raw server"));
}

/// Nobody is told of a cancel before `$hello` has been exchanged; then it leaves behind its request
pub(crate) async fn p03_a_time_out_is_told_to_a_peer_that_knows_cancel<P: End>(rig: Rig<P>) {
    let (mut raw, client) = Raw::with(&rig, plain()).await;
    let within = Duration::from_millis(5);
    assert_eq!(client.call_within("slow", "1", within).await, Err(Error::TimedOut));
    let peer = client.peer.clone();
    let hello = rig.spawn(async move { peer.hello().await });
    raw.expect(REQUEST, 1, "slow", b"1");
    let asked = raw.read();
    assert_eq!((asked.flag & !3, asked.seq, asked.code.as_str()), (REQUEST, 2, "$hello"));
    raw.send(RESPONSE, 2, "", b"version=1\ncancel=1\n");
    let capabilities = hello.await.expect("an answer");
    assert!(capabilities.cancel && !capabilities.zip);
    assert_eq!(client.capabilities(), capabilities);
    assert_eq!(client.call_within("slow", "2", within).await, Err(Error::TimedOut));
    raw.expect(REQUEST, 3, "slow", b"2");
    raw.expect(MESSAGE, 0, "$cancel", [0, 3]);
}

/// A cancel is read, and acted on, while its handler and others are busy
pub(crate) async fn p03_a_cancel_stops_its_own_handler_while_others_wait<P: End>(rig: Rig<P>) {
    let (began, begins) = channel();
    let setup = plain().handle("wait", move |context: Context<P>, payload: Bytes| {
        let began = began.clone();
        async move {
            let _ = began.send(payload);
            context.cancelled().await;
            Err::<(), _>(RemoteError::new("STOPPED"))
        }
    });
    let server = rig.serve(setup).await;
    let mut raw = Raw::connect(&rig, &server);
    for i in 1..=3 {
        raw.send(REQUEST, i, "wait", [i as u8]);
    }
    let mut begun: Vec<u8> = (0..3).map(|_| begins.recv_timeout(SOON).expect("a handler runs")[0]).collect();
    begun.sort_unstable();
    assert_eq!(begun, [1, 2, 3]);
    raw.send(MESSAGE, 0, "$cancel", [0, 2]);
    let answer = raw.read();
    assert_eq!((answer.flag & !3, answer.seq), (RESPONSE, 2));
    assert!(["CANCELLED", "STOPPED"].contains(&answer.code.as_str()), "{}", answer.code);
    // Those that are not cancelled go on, and unknown ones are nobody's.
    raw.send(MESSAGE, 0, "$cancel", [0, 9]);
    raw.send(MESSAGE, 0, "$cancel", [0, 2]);
    raw.expect_alive();
    // Request and cancel in one piece.
    raw.write([packet(REQUEST, 4, "wait", [4]), packet(MESSAGE, 0, "$cancel", [0, 4])].concat());
    let answer = raw.read();
    assert_eq!((answer.flag & !3, answer.seq), (RESPONSE, 4));
    assert!(["CANCELLED", "STOPPED"].contains(&answer.code.as_str()), "{}", answer.code);
}

/// A call that is dropped is cancelled, and its handler learns of it
pub(crate) async fn p03_dropping_a_call_reaches_its_handler_after_hello<P: End>(rig: Rig<P>) {
    let (began, begins) = channel();
    let (told, tells) = channel();
    let setup = plain().handle("wait", move |context: Context<P>| {
        let (began, told) = (began.clone(), Dropped(told.clone()));
        async move {
            let _ = began.send(());
            context.cancelled().await;
            drop(told);
        }
    });
    let (server, client) = rig.pair(setup, plain()).await;
    assert!(client.hello().await.expect("an answer").cancel);
    for round in 1..=5 {
        {
            let mut call = client.call("wait", "");
            poll_once(&mut call).await;
            begins.recv_timeout(SOON).expect("the handler runs");
        }
        assert_eq!(tells.recv_timeout(SOON), Ok(()));
        let stats = client.stats();
        assert_eq!((stats.cancelled, client.in_flight()), (round, 0));
    }
    // The connection is as good as ever.
    assert_eq!(client.ping(8, SOON).await.map(|pong| pong.len), Ok(8));
    until("the late answers have come", || client.stats().late_replies == 5);
    assert_eq!(server.connections(), 1);
}

/// Polls a future that is not ready yet
async fn poll_once(future: &mut (impl Future + Unpin)) {
    core::future::poll_fn(|cx| {
        assert!(core::pin::Pin::new(&mut *future).poll(cx).is_pending());
        core::task::Poll::Ready(())
    })
    .await;
}

pub(crate) async fn p04_late_and_doubled_answers_are_counted_and_dropped<P: End>(rig: Rig<P>) {
    let (mut raw, client) = Raw::with(&rig, plain()).await;
    assert_eq!(client.call_within("echo", "1", Duration::from_millis(5)).await, Err(Error::TimedOut));
    raw.expect(REQUEST, 1, "echo", b"1");
    raw.send(RESPONSE, 1, "", b"late");
    raw.send(RESPONSE, 1, "", b"later");
    raw.send(RESPONSE, 0x1234, "", b"never asked for");
    let peer = client.peer.clone();
    let call = rig.spawn(async move { peer.call("echo", "2").await });
    let request = raw.read();
    assert_ne!(request.seq, 1);
    raw.send(RESPONSE, request.seq, "", b"2");
    raw.send(RESPONSE, request.seq, "", b"doubled");
    assert_eq!(call.await, Ok(Bytes::from("2")));
    raw.expect_alive();
    let stats = client.stats();
    assert_eq!((stats.answered, stats.timed_out, stats.late_replies), (1, 1, 1));
    assert_eq!(stats.unknown_replies, 3);
}

/// The answer, the deadline and the end at the same time: each call has one end, whichever it is
pub(crate) async fn p04_answers_deadlines_and_the_end_may_cross<P: End>(rig: Rig<P>) {
    let calls = 200;
    for round in 0..4 {
        let (_server, client) =
            rig.pair(echo().handle("slow", async |payload: Bytes| payload), plain()).await;
        let calling: Vec<_> = (0..calls)
            .map(|i: u64| {
                let peer = client.peer.clone();
                let within = Duration::from_micros(i * 50 * round);
                rig.spawn(async move { peer.call_within("slow", i.to_string(), within).await })
            })
            .collect();
        if round % 2 == 1 {
            client.close();
        }
        for (i, call) in calling.into_iter().enumerate() {
            match call.await {
                Ok(answer) => assert_eq!(answer, i.to_string()),
                Err(Error::TimedOut | Error::Refused(Refusal::Closed) | Error::Lost(CloseReason::Local)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(client.in_flight(), 0);
    }
}

pub(crate) async fn p05_a_late_answer_never_answers_a_newer_call<P: End>(rig: Rig<P>) {
    let (mut raw, client) = Raw::with(&rig, plain()).await;
    let mut old = Vec::new();
    for i in 0..20 {
        let within = Duration::from_millis(1);
        assert_eq!(client.call_within("slow", i.to_string(), within).await, Err(Error::TimedOut));
        old.push(raw.read());
    }
    for i in 0..20 {
        let peer = client.peer.clone();
        let call = rig.spawn(async move { peer.call("echo", format!("new {i}")).await });
        let request = raw.read();
        assert!(old.iter().all(|old| old.seq != request.seq), "a sequence that rests is used");
        let late = old.remove(0);
        raw.send(RESPONSE, late.seq, "", b"too late");
        raw.send(RESPONSE, request.seq, "", &request.payload);
        assert_eq!(call.await, Ok(Bytes::from(format!("new {i}"))));
    }
    assert_eq!(client.stats().late_replies, 20);
}

pub(crate) async fn p06_a_thousand_timed_out_calls_leave_nothing<P: End>(rig: Rig<P>) {
    let gate = Gate::shut();
    let limits = Limits::new().max_unanswered(2_000);
    let (_server, client) = rig.pair(gated(echo(), &gate).limits(limits), plain()).await;
    let calls = rig.many(1_000, 100);
    for _ in 0..calls {
        assert_eq!(client.call_within("gated", "", Duration::ZERO).await, Err(Error::TimedOut));
    }
    assert_eq!((client.in_flight(), client.stats().timed_out as usize), (0, calls));
    assert_eq!(client.call("echo", "hi").await, Ok(Bytes::from("hi")));
    gate.open();
    until("all late answers have come", || client.stats().late_replies as usize == calls);
}

/// One answer that can't be used, one that is an error, one that never comes: the others are as they were
pub(crate) async fn p07_one_calls_trouble_is_its_own<P: End>(rig: Rig<P>) {
    let limits = Limits::new().max_payload(1_000);
    let (mut raw, client) = Raw::with(&rig, plain().limits(limits)).await;
    let peers: Vec<_> = (0..6).map(|_| client.peer.clone()).collect();
    let mut calls = Vec::new();
    for (i, peer) in peers.into_iter().enumerate() {
        if i == 5 {
            let call = rig.spawn(async move { peer.call_as::<Json<u32>>("json", "5").await.map(drop) });
            calls.push(call);
        } else {
            calls.push(rig.spawn(async move { peer.call("echo", i.to_string()).await.map(drop) }));
        }
        assert_eq!(raw.read().seq as usize, i + 1);
    }
    let fly = rig.wire().is_fly();
    if fly {
        raw.send(RESPONSE, 2, "", vec![0; 1_001]);
        raw.send(RESPONSE | 0x04, 3, "", b"not deflate");
    } else {
        // What stands around a payload counts for 1,024 bytes.
        raw.send(RESPONSE, 2, "", rig.wire().noise(3_000));
        raw.send_json(r#"{"jsonrpc":"3.0","id":3,"result":1}"#);
    }
    raw.send(RESPONSE, 4, "SAD", b"details");
    raw.send(RESPONSE, 6, "", b"not json");
    let mut ends = Vec::new();
    for call in calls.drain(1..) {
        if ends.len() == 3 {
            // The fifth call's answer comes last but one.
            raw.send(RESPONSE, 5, "", b"fine");
        }
        ends.push(call.await);
    }
    assert!(matches!(ends[0], Err(Error::UnreadableReply(UnreadableReply::Bad(_)))), "{:?}", ends[0]);
    match &ends[1] {
        Err(Error::UnreadableReply(UnreadableReply::Zip(_))) if fly => {}
        Err(Error::Remote(error)) if !fly && error.number == Some(-32600) => {}
        other => panic!("{other:?}"),
    }
    let details = rig.wire().wrap("details");
    assert!(
        matches!(&ends[2], Err(Error::Remote(error)) if error.code == "SAD" && error.details == details),
        "{:?}",
        ends[2]
    );
    assert_eq!(ends[3], Ok(()));
    assert!(matches!(ends[4], Err(Error::UnreadableReply(UnreadableReply::Format(_)))), "{:?}", ends[4]);
    raw.send(RESPONSE, 1, "", b"fine");
    assert_eq!(calls.remove(0).await, Ok(()));
    raw.expect_alive();
}

/// The peer's requests use the same sequences as ours, and never answer them
pub(crate) async fn p08_a_request_of_the_same_sequence_is_no_answer<P: End>(rig: Rig<P>) {
    let (mut raw, client) = Raw::with(&rig, plain().handle("echo", |packet: Packet| packet.payload)).await;
    let peer = client.peer.clone();
    let call = rig.spawn(async move { peer.call("echo", "mine").await });
    raw.expect(REQUEST, 1, "echo", b"mine");
    // Our own request, sent back to us.
    raw.send(REQUEST, 1, "echo", b"mine");
    raw.expect(RESPONSE, 1, "", b"mine");
    raw.send(MESSAGE, 1, "echo", b"mine");
    raw.send(REQUEST, 1, "nothing", b"");
    raw.expect(RESPONSE, 1, "NOT_FOUND", b"");
    assert_eq!(client.in_flight(), 1);
    raw.send(RESPONSE, 1, "", b"theirs");
    assert_eq!(call.await, Ok(Bytes::from("theirs")));
}

on_all_stacks! {
    everywhere:
    p01_every_call_has_one_end
    p01_ten_thousand_calls_at_once_each_get_their_own_answer
    p04_answers_deadlines_and_the_end_may_cross;
    both_ways:
    p01_after_the_end_nothing_is_accepted
    p01_every_end_loses_the_calls_in_flight
    p01_a_thousand_connections_are_served_at_once
    p06_a_thousand_timed_out_calls_leave_nothing;
    raw:
    p01_handlers_learn_that_their_client_is_gone
    p02_an_answer_that_comes_at_once_finds_its_call
    p04_late_and_doubled_answers_are_counted_and_dropped
    p05_a_late_answer_never_answers_a_newer_call
    p07_one_calls_trouble_is_its_own
    p08_a_request_of_the_same_sequence_is_no_answer;
    fly:
    p03_a_time_out_is_told_to_a_peer_that_knows_cancel
    p03_a_cancel_stops_its_own_handler_while_others_wait;
    fly_futures:
    p03_dropping_a_call_reaches_its_handler_after_hello;
}
