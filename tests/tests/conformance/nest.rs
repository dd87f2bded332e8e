//! Calls both ways: P9

use std::sync::mpsc::channel;

use bytes::Bytes;
use flyrpc_driver::{Context, Error, Limits, RemoteError, codes};

use crate::rig::{End, Rig, SOON, Setup, plain};
use crate::wire::{Text, Wire, assert_failed};

/// Both ends: a number above 0 is passed on, one less, to whom it came from
fn bouncing<P: End>(setup: Setup<P>, wire: Wire) -> Setup<P> {
    setup.handle("bounce", move |context: Context<P>, Text(n): Text| async move {
        let n: u32 = n.parse().map_err(|_| Error::from(RemoteError::new(codes::BAD_PAYLOAD)))?;
        if n == 0 {
            return Ok(wire.wrap("0"));
        }
        let rest = context.peer().call("bounce", (n - 1).to_string()).await?;
        Ok::<_, Error>(wire.wrap([&rest[..], format!(" {n}").as_bytes()].concat()))
    })
}

pub(crate) async fn p09_calls_nest_ten_deep<P: End>(rig: Rig<P>) {
    // Half of each chain waits at each end.
    let limits = || Limits::new().max_unanswered(2_000);
    let bouncing = || bouncing(plain(), rig.wire()).limits(limits());
    let (server, client) = rig.pair(bouncing(), bouncing()).await;
    let expected = Bytes::from("0 1 2 3 4 5 6 7 8 9 10");
    assert_eq!(client.call("bounce", "10").await, Ok(expected.clone()));
    let theirs = rig.other_end(&server).await;
    assert_eq!(theirs.call("bounce", "10").await, Ok(expected.clone()));
    // From both ends at once, many times.
    let calls: Vec<_> = (0..rig.many(100, 10))
        .flat_map(|_| [client.peer.clone(), theirs.clone()])
        .map(|peer| rig.spawn(async move { peer.call("bounce", "10").await }))
        .collect();
    for call in calls {
        assert_eq!(call.await, Ok(expected.clone()));
    }
    assert_eq!((client.in_flight(), theirs.in_flight()), (0, 0));
}

/// An error at the bottom comes up through all handlers
pub(crate) async fn p09_an_error_comes_up_through_all_handlers<P: End>(rig: Rig<P>) {
    let (_server, client) = rig.pair(bouncing(plain(), rig.wire()), plain()).await;
    // The client has no such handler.
    assert_failed(client.call("bounce", "1").await, codes::NOT_FOUND);
}

/// The handler of a message may call back too, while more messages wait for their turn
pub(crate) async fn p09_the_handler_of_a_message_may_call_back<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let server = plain().handle("note", move |context: Context<P>, Text(text): Text| {
        let told = told.clone();
        async move {
            let answer = context.peer().call("name", text).await;
            let _ = told.send(answer);
        }
    });
    let (_server, client) = rig.pair(server, plain().handle("name", |payload: Bytes| payload)).await;
    for i in 0..20 {
        assert_eq!(client.send("note", i.to_string()).await, Ok(()));
    }
    for i in 0..20 {
        assert_eq!(tells.recv_timeout(SOON), Ok(Ok(Bytes::from(i.to_string()))));
    }
}

/// The answer that a handler waits for comes behind more requests than may run
pub(crate) async fn p09_an_answer_is_read_behind_requests_that_are_refused<P: End>(rig: Rig<P>) {
    let limits = Limits::new().max_unanswered(1);
    let bouncing = || bouncing(plain(), rig.wire());
    let (_server, client) = rig.pair(bouncing().limits(limits), bouncing()).await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let peer = client.peer.clone();
            rig.spawn(async move { peer.call("bounce", "1").await })
        })
        .collect();
    let mut answered = 0;
    for call in calls {
        match call.await {
            Ok(answer) => {
                assert_eq!(answer, "0 1");
                answered += 1;
            }
            failed @ Err(_) => assert_failed(failed, codes::BUSY),
        }
    }
    assert!(answered > 0);
    assert_eq!(client.call("bounce", "1").await, Ok(Bytes::from("0 1")));
}

on_all_stacks! {
    both_ways:
    p09_calls_nest_ten_deep
    p09_an_error_comes_up_through_all_handlers
    p09_the_handler_of_a_message_may_call_back
    p09_an_answer_is_read_behind_requests_that_are_refused;
}
