//! Connections that are cut at each byte: P1

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use flyrpc_driver::{CloseReason, Error, Loss};

use crate::raw::{REQUEST, RESPONSE, Raw};
use crate::rig::{End, Rig, SOON, now, plain, until};
use crate::wire::Text;

fn is_loss(outcome: &Result<Bytes, Error>) -> bool {
    let reasons = [CloseReason::PeerClosed, CloseReason::CutShort, CloseReason::Transport(Loss::Reset)]
        .map(Error::Lost);
    outcome.as_ref().is_err_and(|error| reasons.contains(error))
}

/// A server that goes away after each byte of the request, cleanly or not
pub(crate) async fn p01_a_cut_at_each_byte_of_the_request_ends_the_call<P: End>(rig: Rig<P>) {
    let request = rig.wire().packet(REQUEST, 1, "echo", b"hi");
    for k in 0..=request.len() {
        for reset in [false, true] {
            let (mut raw, client) = Raw::with(&rig, plain()).await;
            let peer = client.peer.clone();
            let call = rig.spawn(async move { peer.call("echo", "hi").await });
            until("the call has begun", || client.in_flight() == 1);
            assert_eq!(raw.exactly(k), request[..k]);
            let start = now();
            if reset {
                raw.reset()
            } else {
                drop(raw)
            }
            let outcome = call.await;
            assert!(is_loss(&outcome), "after {k} bytes: {outcome:?}");
            assert!(start.elapsed() < SOON / 2, "after {k} bytes it took {:?}", start.elapsed());
            client.closed().await;
            assert_eq!(client.in_flight(), 0);
        }
    }
}

/// A server that goes away after each byte of the response, cleanly or not
pub(crate) async fn p01_a_cut_at_each_byte_of_the_response_ends_the_call<P: End>(rig: Rig<P>) {
    let response = rig.wire().bare_packet(RESPONSE, 1, "", b"hi");
    for k in 0..response.len() {
        for reset in [false, true] {
            let (mut raw, client) = Raw::with(&rig, plain()).await;
            let peer = client.peer.clone();
            let call = rig.spawn(async move { peer.call("echo", "hi").await });
            raw.expect(REQUEST, 1, "echo", b"hi");
            raw.write(&response[..k]);
            let start = now();
            if reset {
                raw.reset()
            } else {
                drop(raw)
            }
            let outcome = call.await;
            assert!(is_loss(&outcome), "after {k} bytes: {outcome:?}");
            if !reset {
                let why = if k == 0 { CloseReason::PeerClosed } else { CloseReason::CutShort };
                assert_eq!(outcome, Err(Error::Lost(why)), "after {k} bytes");
            }
            assert!(start.elapsed() < SOON / 2, "after {k} bytes it took {:?}", start.elapsed());
        }
    }
    // All of it, and then the end: that is an answer.
    let (mut raw, client) = Raw::with(&rig, plain()).await;
    let peer = client.peer.clone();
    let call = rig.spawn(async move { peer.call("echo", "hi").await });
    raw.expect(REQUEST, 1, "echo", b"hi");
    raw.write(response);
    drop(raw);
    assert_eq!(call.await, Ok(Bytes::from("hi")));
    assert_eq!(client.closed().await, CloseReason::PeerClosed);
}

/// A client that goes away after each byte of its request: no handler sees a piece of it, and the others are served
pub(crate) async fn p01_a_client_that_goes_away_at_any_byte_harms_nobody<P: End>(rig: Rig<P>) {
    let handled = Arc::new(AtomicUsize::new(0));
    let (ended, ends) = channel();
    let count = Arc::clone(&handled);
    let setup = plain()
        .handle("count", move |Text(text): Text| {
            assert_eq!(text, "hi");
            count.fetch_add(1, Ordering::SeqCst);
        })
        .handle("echo", |payload: Bytes| payload)
        .on_close(move |_, why| {
            let _ = ended.send(why);
        });
    let (server, other) = rig.pair(setup, plain()).await;
    let request = rig.wire().bare_packet(REQUEST, 1, "count", b"hi");
    for k in 0..=request.len() {
        for reset in [false, true] {
            let mut raw = Raw::connect(&rig, &server);
            raw.write(&request[..k]);
            if reset && k == request.len() {
                raw.expect(RESPONSE, 1, "", b"");
            }
            if reset {
                raw.reset()
            } else {
                raw.finish_writing()
            }
            let why = ends.recv_timeout(SOON).expect("the server notices");
            match why {
                CloseReason::PeerClosed => assert!(reset || k == 0 || k == request.len(), "{k}"),
                CloseReason::CutShort => assert!(k > 0 && k < request.len(), "{k}"),
                CloseReason::Transport(Loss::Reset) => assert!(reset),
                other @ (CloseReason::Local
                | CloseReason::Drained
                | CloseReason::DrainDeadline
                | CloseReason::Protocol(_)
                | CloseReason::Transport(_)
                | _) => panic!("{k}: {other:?}"),
            }
            assert_eq!(other.call("echo", "still here").await, Ok(Bytes::from("still here")));
        }
    }
    assert_eq!(handled.load(Ordering::SeqCst), 2);
    until("only one is left", || server.connections() == 1);
}

on_all_stacks! {
    raw:
    p01_a_client_that_goes_away_at_any_byte_harms_nobody
    p01_a_cut_at_each_byte_of_the_request_ends_the_call
    p01_a_cut_at_each_byte_of_the_response_ends_the_call;
}
