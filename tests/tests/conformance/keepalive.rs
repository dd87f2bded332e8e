//! Keep-alive: P13 and P14

use core::time::Duration;
use std::sync::mpsc::channel;

use bytes::Bytes;
use flyrpc_driver::{CloseReason, Direction, Error, Loss};

use crate::raw::{REQUEST, RESPONSE, Raw};
use crate::rig::{End, Rig, SOON, echo, now, plain};

const SHORT: Duration = Duration::from_millis(15);

/// A peer that is there and says nothing, as after a cut cable: every call on the connection fails within the keep-alive time
pub(crate) async fn p13_a_silent_peer_is_noticed_and_its_calls_fail<P: End>(rig: Rig<P>) {
    let start = now();
    let (told, tells) = channel();
    let client = plain().keepalive(SHORT, SHORT).on_close(move |_, why| {
        let _ = told.send(why);
    });
    let (mut raw, client) = Raw::with(&rig, client).await;
    let calls: Vec<_> = (0..5)
        .map(|i| {
            let peer = client.peer.clone();
            rig.spawn(async move { peer.call_within("echo", i.to_string(), SOON * 6).await })
        })
        .collect();
    let gone = CloseReason::Transport(Loss::Unresponsive);
    for call in calls {
        assert_eq!(call.await, Err(Error::Lost(gone)));
    }
    assert_eq!(client.closed().await, gone);
    assert_eq!(tells.recv_timeout(SOON), Ok(gone));
    assert!(start.elapsed() >= 2 * SHORT, "it was given up too early");
    assert!(start.elapsed() < SOON / 2, "it took {:?}", start.elapsed());
    // It had been asked.
    let codes: Vec<_> = (0..6).map(|_| raw.read().code).collect();
    assert!(codes.contains(&rig.wire().ping().to_owned()), "{codes:?}");
}

/// The same on the server's side, where nobody calls
pub(crate) async fn p13_a_server_notices_a_silent_client<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let server = echo().keepalive(SHORT, SHORT).on_close(move |_, why| {
        let _ = told.send(why);
    });
    let server = rig.serve(server).await;
    let mut raw = Raw::connect(&rig, &server);
    raw.send(REQUEST, 1, "echo", b"hi");
    raw.expect(RESPONSE, 1, "", b"hi");
    assert_eq!(tells.recv_timeout(SOON), Ok(CloseReason::Transport(Loss::Unresponsive)));
    raw.expect_gone();
}

/// Any sign of life will do: pongs, errors instead of pongs, and whatever else comes
pub(crate) async fn p13_any_answer_to_a_ping_keeps_the_connection<P: End>(rig: Rig<P>) {
    for code in ["", "NOT_FOUND"] {
        let (mut raw, client) = Raw::with(&rig, plain().keepalive(SHORT, SOON)).await;
        for _ in 0..5 {
            let ping = raw.read();
            assert_eq!((ping.flag & !3, ping.code.as_str()), (REQUEST, rig.wire().ping()));
            raw.send(RESPONSE, ping.seq, code, if code.is_empty() { &ping.payload[..] } else { b"" });
        }
        raw.expect_alive();
        assert_eq!(client.in_flight(), 0);
        client.close();
        assert_eq!(client.closed().await, CloseReason::Local);
    }
}

/// Two ends that both keep the connection alive do so for as long as it is there
pub(crate) async fn p14_two_ends_with_keepalive_do_not_fight<P: End>(rig: Rig<P>) {
    let (saw, pings) = channel();
    let count =
        move |info: &flyrpc_driver::Info, direction: Direction, packet: &flyrpc_driver::RawPacket<'_>| {
            if direction == Direction::In && packet.code == b"$ping" {
                let _ = saw.send(info.id);
            }
        };
    let server = echo().keepalive(SHORT, SOON).on_packet(count.clone());
    let client = plain().keepalive(2 * SHORT, SOON).on_packet(count);
    let (_server, client) = rig.pair(server, client).await;
    for _ in 0..10 {
        pings.recv_timeout(SOON).expect("a ping");
    }
    assert_eq!(client.call("echo", "hi").await, Ok(Bytes::from("hi")));
}

/// A peer that does nothing but ping, as fast as it can, with short and long pings, is never cut off for it
pub(crate) async fn p14_a_peer_that_only_pings_is_never_cut_off<P: End>(rig: Rig<P>) {
    let server = rig.serve(echo().keepalive(SHORT, SOON)).await;
    let client = rig.client(plain(), &server).await;
    for i in 0..rig.many(1_000, 200) {
        let len = [0, 4, 8, 9, 64][i % 5];
        let pong = client.ping(len, SOON).await.expect("a pong");
        assert_eq!(pong.len, rig.wire().pong(len as u64));
    }
    // All at once, and nobody reads before all are written.
    let mut raw = Raw::connect(&rig, &server);
    let ping = rig.wire().packet(REQUEST, 7, rig.wire().ping(), b"12345678");
    let pong = if rig.wire().is_fly() { &b"12345678"[..] } else { b"" };
    raw.write(ping.repeat(1_000));
    let mut left = 1_000;
    while left > 0 {
        let packet = raw.read();
        if packet.flag & RESPONSE == 0 {
            // The server's own ping.
            raw.send(RESPONSE, packet.seq, "", &packet.payload);
        } else {
            assert_eq!((packet.seq, &packet.payload[..]), (7, pong));
            left -= 1;
        }
    }
    assert_eq!(client.call("echo", "hi").await, Ok(Bytes::from("hi")));
}

on_all_stacks! {
    raw:
    p13_a_silent_peer_is_noticed_and_its_calls_fail
    p13_a_server_notices_a_silent_client
    p13_any_answer_to_a_ping_keeps_the_connection
    p14_a_peer_that_only_pings_is_never_cut_off;
    fly:
    p14_two_ends_with_keepalive_do_not_fight;
}
