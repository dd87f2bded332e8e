//! Draining: P15

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use flyrpc_driver::{CloseReason, Context, Error, Refusal, codes};

use crate::raw::{MESSAGE, REQUEST, RESPONSE, Raw};
use crate::rig::{End, Gate, Rig, SOON, echo, now, plain, until};
use crate::wire::{Text, is};

pub(crate) async fn p15_an_idle_connection_drains_at_either_end<P: End>(rig: Rig<P>) {
    for by_server in [false, true] {
        let (server, client) = rig.pair(echo(), plain()).await;
        let theirs = rig.other_end(&server).await;
        assert_eq!(client.call("echo", "hi").await, Ok(Bytes::from("hi")));
        let (one, other) = if by_server { (&theirs, &client.peer) } else { (&client.peer, &theirs) };
        let start = now();
        assert_eq!(one.drain(SOON).await, CloseReason::Drained);
        assert_eq!(other.closed().await, CloseReason::PeerClosed);
        assert!(start.elapsed() < SOON / 2, "it took {:?}", start.elapsed());
    }
}

/// New calls are refused on this side, and answered `DRAINING` on the other; answers owed go both ways
pub(crate) async fn p15_answers_owed_are_given_and_new_work_is_not_taken<P: End>(rig: Rig<P>) {
    let gate = Gate::shut();
    let (began, begins) = channel();
    let inner = gate.clone();
    let (noted, notes) = channel();
    let wire = rig.wire();
    let setup = echo()
        .handle("gated", move || {
            let (gate, began) = (inner.clone(), began.clone());
            async move {
                let _ = began.send(());
                gate.pass().await;
                wire.wrap("worth waiting for")
            }
        })
        .handle("note", move |Text(text): Text| {
            let _ = noted.send(text);
        });
    let server = rig.serve(setup).await;
    let mut raw = Raw::connect(&rig, &server);
    raw.send(REQUEST, 1, "gated", b"");
    begins.recv_timeout(SOON).expect("the handler runs");
    let theirs = rig.other_end(&server).await;
    let peer = theirs.clone();
    let call = rig.spawn(async move { peer.call("name", "").await });
    raw.expect(REQUEST, 1, "name", b"");
    let drained = theirs.drain(SOON);
    assert_eq!(theirs.call("name", "").await, Err(Error::Refused(Refusal::Draining)));
    assert_eq!(theirs.send("note", "").await, Err(Error::Refused(Refusal::Draining)));
    assert_eq!(theirs.ping(4, SOON).await.map(drop), Err(Error::Refused(Refusal::Draining)));
    raw.send(REQUEST, 2, "echo", b"too late");
    raw.expect(RESPONSE, 2, codes::DRAINING, b"");
    raw.send(MESSAGE, 0, "note", b"still taken");
    assert_eq!(notes.recv_timeout(SOON), Ok("still taken".to_owned()));
    raw.expect_alive();
    raw.send(RESPONSE, 1, "", b"raw");
    assert_eq!(call.await, Ok(Bytes::from("raw")));
    gate.open();
    raw.expect(RESPONSE, 1, "", b"worth waiting for");
    raw.expect_end();
    drop(raw);
    assert_eq!(drained.await, CloseReason::Drained);
}

/// Whatever is stuck, it ends by its deadline
pub(crate) async fn p15_it_ends_by_the_deadline<P: End>(rig: Rig<P>) {
    let (began, begins) = channel();
    let gate = Gate::shut();
    let inner = gate.clone();
    let setup = plain().handle("stuck", move || {
        let (gate, began) = (inner.clone(), began.clone());
        async move {
            let _ = began.send(());
            gate.pass().await;
        }
    });
    let server = rig.serve(setup).await;
    // A handler that does not end.
    let mut raw = Raw::connect(&rig, &server);
    raw.send(REQUEST, 1, "stuck", b"");
    begins.recv_timeout(SOON).expect("the handler runs");
    let theirs = rig.other_end(&server).await;
    let start = now();
    assert_eq!(theirs.drain(Duration::from_millis(30)).await, CloseReason::DrainDeadline);
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert!(start.elapsed() < SOON / 2, "it took {:?}", start.elapsed());
    raw.expect_gone();
    gate.open();
    // A call that is not answered, for however long its own deadline is.
    until("the first has left", || server.connections() == 0);
    let mut raw = Raw::connect(&rig, &server);
    let theirs = rig.other_end(&server).await;
    let peer = theirs.clone();
    let call = rig.spawn(async move { peer.call_within("name", "", SOON * 6).await });
    raw.expect(REQUEST, 1, "name", b"");
    let start = now();
    assert_eq!(theirs.drain(Duration::from_millis(30)).await, CloseReason::DrainDeadline);
    assert_eq!(call.await, Err(Error::Lost(CloseReason::DrainDeadline)));
    assert!(start.elapsed() < SOON / 2, "it took {:?}", start.elapsed());
}

/// Under load every call that was taken is answered with what it asked for, and every other says why it was not
pub(crate) async fn p15_under_load_nothing_that_was_taken_is_lost<P: End>(rig: Rig<P>) {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let setup = plain().handle("work", move |context: Context<P>, payload: Bytes| {
        let count = Arc::clone(&count);
        async move {
            let answer = context.peer().call("echo", payload).await;
            count.fetch_add(1, Ordering::SeqCst);
            answer
        }
    });
    let server = rig.serve(setup).await;
    let mut tasks = Vec::new();
    let mut clients = Vec::new();
    let (first, enough) = channel();
    for c in 0..5 {
        let client = rig.client(echo(), &server).await;
        for t in 0..4 {
            let (peer, first) = (client.peer.clone(), first.clone());
            tasks.push(rig.spawn(async move {
                let mut answered = 0_usize;
                loop {
                    let payload = Bytes::from(format!("{c} {t} {answered}"));
                    match peer.call("work", payload.clone()).await {
                        Ok(answer) => assert_eq!(answer, payload),
                        // It was answered: its handler came too late to call back.
                        Err(Error::Remote(error)) if is(&error, codes::ERROR) => {}
                        Err(Error::Remote(error)) if is(&error, codes::DRAINING) => return answered,
                        // The connection has been drained, and it was not asked for anything else.
                        Err(Error::Refused(Refusal::Closed)) => return answered,
                        Err(Error::Lost(CloseReason::PeerClosed)) => return answered,
                        Err(other) => panic!("{other:?}"),
                    }
                    answered += 1;
                    if answered == 5 {
                        let _ = first.send(());
                    }
                }
            }));
        }
        clients.push(client);
    }
    for _ in 0..20 {
        enough.recv_timeout(SOON).expect("there is load");
    }
    let start = now();
    server.shutdown(SOON).await;
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    let mut answered = 0;
    for task in tasks {
        answered += task.await;
    }
    // What was handled was answered, and the answer came.
    assert_eq!(answered, handled.load(Ordering::SeqCst));
    for client in clients {
        assert_eq!(client.closed().await, CloseReason::PeerClosed);
        let stats = client.stats();
        assert_eq!((stats.late_replies, stats.unknown_replies), (0, 0));
    }
}

pub(crate) async fn p15_both_ends_may_drain_with_work_in_hand<P: End>(rig: Rig<P>) {
    let gate = Gate::shut();
    let (began, begins) = channel();
    let (inner, wire) = (gate.clone(), rig.wire());
    let gated = move |setup: crate::rig::Setup<P>| {
        let (gate, began) = (inner.clone(), began.clone());
        setup.handle("gated", move || {
            let (gate, began) = (gate.clone(), began.clone());
            async move {
                let _ = began.send(());
                gate.pass().await;
                wire.wrap("done")
            }
        })
    };
    let (server, client) = rig.pair(gated(plain()), gated(plain())).await;
    let theirs = rig.other_end(&server).await;
    let calls = [client.peer.clone(), theirs.clone()].map(|peer| {
        let call = rig.spawn(async move { peer.call("gated", "").await });
        begins.recv_timeout(SOON).expect("the handler runs");
        call
    });
    let drains = [client.drain(SOON), theirs.drain(SOON)];
    gate.open();
    for call in calls {
        assert_eq!(call.await, Ok(Bytes::from("done")));
    }
    let mut reasons = Vec::new();
    for drain in drains {
        reasons.push(drain.await);
    }
    assert!(reasons.contains(&CloseReason::Drained), "{reasons:?}");
    assert!(
        reasons.iter().all(|why| [CloseReason::Drained, CloseReason::PeerClosed].contains(why)),
        "{reasons:?}"
    );
}

/// A large answer that the peer takes its time to read is sent whole
pub(crate) async fn p15_an_answer_is_flushed_whole<P: End>(rig: Rig<P>) {
    let len = if rig.is_bytewise() { 20_000 } else { 8 << 20 };
    let wire = rig.wire();
    let setup = plain().handle("big", move || wire.wrap(wire.noise(len)));
    let server = rig.serve(setup).await;
    let mut raw = Raw::connect(&rig, &server);
    raw.send(REQUEST, 1, "big", b"");
    let theirs = rig.other_end(&server).await;
    until("the request has come", || theirs.stats().requests == 1);
    let drained = theirs.drain(SOON);
    raw.expect(RESPONSE, 1, "", wire.noise(len));
    raw.expect_end();
    drop(raw);
    assert_eq!(drained.await, CloseReason::Drained);
}

/// A peer that goes on sending while this end drains gets its answers and a clean end: closing a socket that still has
/// something to read would reset the connection
pub(crate) async fn p15_a_peer_that_goes_on_sending_sees_a_clean_end<P: End>(rig: Rig<P>) {
    let server = rig.serve(echo()).await;
    let mut raw = Raw::connect(&rig, &server);
    raw.send(REQUEST, 1, "echo", "answer this");
    raw.expect(RESPONSE, 1, "", b"answer this");
    let peer = rig.other_end(&server).await;
    let drained = rig.spawn(async move { peer.drain(SOON).await });
    raw.expect_end();
    for _ in 0..20 {
        // Writing to a socket that was reset fails from the second time on.
        raw.send(MESSAGE, 0, "note", b"and another thing");
    }
    raw.finish_writing();
    assert_eq!(drained.await, CloseReason::Drained);
}

on_all_stacks! {
    both_ways:
    p15_an_idle_connection_drains_at_either_end
    p15_under_load_nothing_that_was_taken_is_lost
    p15_both_ends_may_drain_with_work_in_hand;
    raw:
    p15_answers_owed_are_given_and_new_work_is_not_taken
    p15_it_ends_by_the_deadline
    p15_an_answer_is_flushed_whole
    p15_a_peer_that_goes_on_sending_sees_a_clean_end;
}
