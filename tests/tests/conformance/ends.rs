//! Commands in any order, and protocol errors: P19 and P20

use std::sync::mpsc::channel;

use bytes::Bytes;
use flyrpc_driver::{CloseReason, Error, Refusal, Stage};

use crate::raw::{REQUEST, RESPONSE, Raw};
use crate::rig::{End, Rig, SOON, echo, plain};

/// Every order of these commands is legal, and none of them panics, hangs, or is accepted after the end
pub(crate) async fn p19_commands_may_come_in_any_order<P: End>(rig: Rig<P>) {
    let commands = ["call", "send", "ping", "hello", "drain", "close"];
    let mut orders = Vec::new();
    permute(&commands, &mut Vec::new(), &mut orders);
    let server = rig.serve(echo()).await;
    // A sixth of all orders on each kind of stack is enough: every pair of neighbours is there.
    for order in orders.iter().step_by(rig.many(7, if rig.wire().is_fly() { 7 } else { 31 })) {
        let client = rig.client(plain(), &server).await;
        let (mut draining, mut closed) = (false, false);
        for command in order {
            let refused = if closed { Some(Refusal::Closed) } else { None };
            match *command {
                "drain" => {
                    let why = client.drain(SOON).await;
                    let expected = if closed { CloseReason::Local } else { CloseReason::Drained };
                    assert_eq!(why, expected, "{order:?}");
                    (draining, closed) = (true, true);
                }
                "close" => {
                    client.close();
                    let expected = if draining { CloseReason::Drained } else { CloseReason::Local };
                    assert_eq!(client.closed().await, expected, "{order:?}");
                    closed = true;
                }
                command => {
                    let outcome = match command {
                        "call" => client.call("echo", "hi").await.map(drop),
                        "send" => client.send("echo", "hi").await,
                        "ping" => client.ping(4, SOON).await.map(drop),
                        _ => client.hello().await.map(drop),
                    };
                    // JSON-RPC has nothing to say for hello, and so says nothing.
                    let refused = refused.filter(|_| rig.wire().is_fly() || command != "hello");
                    let expected = refused.map_or(Ok(()), |why| Err(Error::Refused(why)));
                    assert_eq!(outcome, expected, "{command} in {order:?}");
                }
            }
        }
        assert_eq!((client.stage(), client.in_flight()), (Stage::Closed, 0));
    }
}

fn permute<'a>(left: &[&'a str], begun: &mut Vec<&'a str>, all: &mut Vec<Vec<&'a str>>) {
    if left.is_empty() {
        all.push(begun.clone());
    }
    for (i, next) in left.iter().enumerate() {
        let rest: Vec<_> =
            left.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, other)| *other).collect();
        begun.push(next);
        permute(&rest, begun, all);
        begun.pop();
    }
}

/// What is due comes without anything else happening: a deadline, on an idle connection, again and again
pub(crate) async fn p19_deadlines_come_on_an_idle_connection<P: End>(rig: Rig<P>) {
    let (_raw, client) = Raw::with(&rig, plain()).await;
    let calls: Vec<_> = (1..=20)
        .rev()
        .map(|i| {
            let peer = client.peer.clone();
            let within = core::time::Duration::from_millis(i * 3);
            rig.spawn(async move { peer.call_within("echo", "", within).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await, Err(Error::TimedOut));
    }
    assert_eq!((client.stats().timed_out, client.in_flight()), (20, 0));
}

/// The first end counts, and everybody is told the same
pub(crate) async fn p19_the_first_end_counts<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let client = plain().on_close(move |peer: &P, why| {
        let _ = told.send((peer.stage(), why));
    });
    let (server, client) = rig.pair(echo(), client).await;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let closed = client.closed();
            rig.spawn(closed)
        })
        .collect();
    client.close();
    client.close();
    let drained = client.drain(SOON);
    drop(server);
    for closed in waiting {
        assert_eq!(closed.await, CloseReason::Local);
    }
    assert_eq!(drained.await, CloseReason::Local);
    assert_eq!(client.closed().await, CloseReason::Local);
    assert_eq!(tells.recv_timeout(SOON), Ok((Stage::Closed, CloseReason::Local)));
    drop(client);
    assert!(tells.recv().is_err(), "it was told twice");
}

/// A peer that breaks the protocol: who, where, which limit; to each call and to the hook, once; and then nothing more is heard
pub(crate) async fn p20_a_protocol_error_is_said_once_and_stays<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let client = plain().on_close(move |_, why| {
        let _ = told.send(why);
    });
    let (mut raw, client) = Raw::with(&rig, client).await;
    let calls: Vec<_> = (0..3)
        .map(|i| {
            let peer = client.peer.clone();
            rig.spawn(async move { peer.call("echo", i.to_string()).await })
        })
        .collect();
    for _ in 0..3 {
        raw.read();
    }
    raw.send(RESPONSE, 1, "", b"fine");
    // A code that does not end within 1,024 bytes.
    let offset = flyrpc_tests::vectors::packet(RESPONSE, 1, "", b"fine").len() as u64;
    raw.write([&[RESPONSE, 0, 2][..], &vec![b'x'; 1_030]].concat());
    let why = client.closed().await;
    let CloseReason::Protocol(error) = why else { panic!("{why:?}") };
    assert_eq!((error.offset, error.limit), (offset + 3 + 1_024, 1_024));
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await);
    }
    outcomes.sort_by_key(Result::is_err);
    assert_eq!(outcomes, [Ok(Bytes::from("fine")), Err(Error::Protocol(error)), Err(Error::Protocol(error))]);
    assert_eq!(tells.recv_timeout(SOON), Ok(why));
    assert_eq!(client.call("echo", "").await, Err(Error::Refused(Refusal::Closed)));
    assert_eq!(client.closed().await, why);
    raw.expect_gone();
    drop(client);
    assert!(tells.recv().is_err(), "it was told twice");
}

/// The server's side: other connections do not notice
pub(crate) async fn p20_a_protocol_error_ends_one_connection<P: End>(rig: Rig<P>) {
    let (server, other) = rig.pair(echo(), plain()).await;
    for _ in 0..5 {
        let mut raw = Raw::connect(&rig, &server);
        raw.send(REQUEST, 1, "echo", b"hi");
        raw.expect(RESPONSE, 1, "", b"hi");
        raw.write([&[REQUEST, 0, 2][..], &vec![b'x'; 1_030]].concat());
        raw.expect_gone();
        assert_eq!(other.call("echo", "hi").await, Ok(Bytes::from("hi")));
    }
}

on_all_stacks! {
    everywhere:
    p19_commands_may_come_in_any_order
    p19_the_first_end_counts;
    raw:
    p19_deadlines_come_on_an_idle_connection;
    fly:
    p20_a_protocol_error_is_said_once_and_stays
    p20_a_protocol_error_ends_one_connection;
}
