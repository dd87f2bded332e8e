//! P19 and P20: a driver that only watches `poll_timeout` never stalls; a protocol error is said once and stays

use core::time::Duration;

use flyrpc_core::{
    Call, CloseReason, Event, Instant, Limits, ProtocolError, Refusal, Reply, Slots, State, Table, WireError,
};
use flyrpc_tests::vectors::packet;
use flyrpc_tests::{Peer, Rng};

use crate::{Growable, Heapless, REQUEST, RESPONSE, at, growable, ms};

/// The owner that P19 speaks of: acts only when `poll_timeout` is due, and then only once per kind of work
fn act_when_due<S: Slots<Tag = u32>>(peer: &mut Peer<S>, now: Instant) -> bool {
    if peer.conn.poll_timeout().is_none_or(|due| due > now) {
        return false;
    }
    peer.conn.handle_timeout(now);
    let before = peer.over.len();
    let mut busy = matches!(peer.conn.poll_transmit(&mut peer.outbox), Ok(Some(_)));
    if let Some(event) = peer.conn.poll_event() {
        busy = true;
        match event {
            Event::TimedOut { tag, .. } => peer.over.push((tag, "timed out".to_owned())),
            Event::Lost { tag, .. } => peer.over.push((tag, "lost".to_owned())),
            Event::Closed { .. } | _ => assert_eq!(peer.conn.state(), State::Closed),
        }
    }
    // A bound that turned out to be early is work as well: it must have moved on.
    let moved = peer.conn.poll_timeout().is_none_or(|due| due > now);
    assert!(busy || moved || peer.over.len() > before, "due at {now:?} with nothing to do: it would spin");
    true
}

fn watched<S: Slots<Tag = u32>>(seed: u64) {
    let mut rng = Rng::new(seed);
    let limits = Limits::new().quarantine(Duration::ZERO).max_unanswered(4);
    let mut peer: Peer<S> = Peer::new(limits);
    peer.conn.dialect_mut().learn(b"cancel=1");
    let mut now = at(0);
    let mut deadlines: Vec<(u32, Instant)> = Vec::new();
    let mut calls = Vec::new();
    for tag in 0..200 {
        let deadline = now + Duration::from_micros(1 + rng.below(20_000));
        match peer.call_with(now, Call::new("x", "").deadline(deadline), tag) {
            Ok(call) => {
                deadlines.push((tag, deadline));
                calls.push(call);
            }
            Err(why) => assert!(matches!(why, Refusal::TooManyInFlight { .. }), "{why}"),
        }
        let sent = peer.sent();
        match rng.below(5) {
            0 if !sent.is_empty() => {
                peer.feed(now, &packet(RESPONSE, crate::sequence_of(&sent), "", ""));
            }
            1 => {
                let call = calls[rng.below(calls.len() as u64) as usize];
                peer.cancel(call);
            }
            2 => {
                peer.feed(now, &packet(REQUEST, 1, "$ping", ""));
            }
            _ => {}
        }
        let next = now + Duration::from_micros(rng.below(3000));
        while let Some(due) = peer.conn.poll_timeout().filter(|due| *due <= next) {
            now = now.max(due);
            let before = peer.over.len();
            act_when_due(&mut peer, now);
            for (tag, outcome) in peer.over.iter().skip(before) {
                let (_, deadline) = deadlines.iter().find(|(made, _)| made == tag).expect("a call of ours");
                assert_eq!((outcome.as_str(), *deadline), ("timed out", now), "in the very microsecond");
            }
        }
        now = next;
    }
    peer.conn.drain(now, now + ms(5));
    while let Some(due) = peer.conn.poll_timeout() {
        assert!(due < Instant::FAR);
        now = now.max(due);
        act_when_due(&mut peer, now);
    }
    assert_eq!((peer.conn.state(), peer.conn.in_flight()), (State::Closed, 0), "seed {seed}");
    for (tag, _) in deadlines {
        let _: &str = peer.outcome(tag);
    }
}

#[test]
fn p19_a_driver_that_only_watches_poll_timeout_never_stalls_without_a_heap() {
    (0..200).for_each(watched::<Heapless<8>>);
}

#[test]
fn p19_a_driver_that_only_watches_poll_timeout_never_stalls_with_a_growable_table() {
    (0..200).for_each(watched::<Table<u32>>);
}

#[test]
fn p19_whatever_is_due_shows_in_poll_timeout() {
    let due = |peer: &Growable| peer.conn.poll_timeout();
    let mut peer = growable();
    assert_eq!(due(&peer), None);
    peer.feed(at(5), &packet(REQUEST, 1, "$ping", ""));
    assert_eq!(due(&peer), Some(at(5)), "a packet to send");
    peer.poll(at(5));
    assert_eq!(due(&peer), None);
    peer.call_with(at(5), Call::new("x", "").deadline(at(50)), 1).unwrap();
    assert_eq!(due(&peer), Some(at(50)), "a deadline");
    peer.conn.handle_timeout(at(60));
    assert_eq!(due(&peer), Some(at(60)), "an event");
    peer.poll(at(60));
    peer.feed(at(60), &packet(REQUEST, 2, "owed", ""));
    let mut half_closed = growable();
    half_closed.call_with(at(60), Call::new("x", "").deadline(at(99)), 1).unwrap();
    half_closed.feed(at(60), &packet(REQUEST, 2, "owed", ""));
    half_closed.conn.handle_eof(at(60));
    assert_eq!(due(&half_closed), Some(at(60)), "a call that is lost, though an answer is still owed");
    peer.conn.drain(at(60), at(90));
    assert_eq!(due(&peer), Some(at(90)), "the deadline of drain");
    peer.reply(0, Reply::ack()).unwrap();
    assert_eq!(due(&peer), Some(at(60)), "the end");
    peer.poll(at(60));
    assert_eq!(due(&peer), None);
}

#[test]
fn p19_sixty_thousand_deadlines_come_in_order_and_on_time() {
    let mut peer = growable();
    let mut rng = Rng::new(1);
    let mut deadlines = Vec::new();
    for tag in 0..60_000 {
        let deadline = Instant::from_micros(1 + rng.below(1_000_000));
        peer.call_with(at(0), Call::new("x", "").deadline(deadline), tag).unwrap();
        deadlines.push(deadline);
    }
    let mut told = 0;
    while let Some(due) = peer.conn.poll_timeout() {
        peer.conn.handle_timeout(due);
        while let Some(event) = peer.conn.poll_event() {
            let Event::TimedOut { tag, .. } = event else { panic!("{event:?}") };
            assert_eq!(deadlines[tag as usize], due, "not early, not late");
            told += 1;
        }
    }
    assert_eq!(told, 60_000);
}

#[test]
fn p19_commands_are_legal_in_any_order_between_drains() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut peer: Growable = Peer::new(Limits::new().call_timeout(ms(50)));
        let (mut now, mut made, mut calls) = (at(0), 0_u32, Vec::new());
        for _ in 0..100 {
            match rng.below(12) {
                0..=2 => {
                    if let Ok(call) = peer.call(now, "x", b"y", made) {
                        calls.push(call);
                        made += 1;
                    }
                }
                3 => drop(peer.conn.notify(now, Call::new("n", ""), &mut peer.outbox)),
                4 => {
                    let sequence = rng.below(20) as u16;
                    peer.feed(now, &packet(REQUEST, sequence, "theirs", ""));
                }
                5 if !peer.owed.is_empty() => drop(peer.reply(0, Reply::ok("z"))),
                6 if !calls.is_empty() => {
                    let call = calls[rng.below(calls.len() as u64) as usize];
                    peer.cancel(call);
                }
                7 => {
                    let sequence = rng.below(20) as u16;
                    peer.feed(now, &packet(RESPONSE, sequence, "", ""));
                }
                8 => {
                    // Time may even go backwards: it is clamped.
                    let then = Instant::from_micros(now.as_micros().saturating_sub(rng.below(2000)));
                    peer.conn.handle_timeout(then);
                }
                9 => {
                    peer.poll(now);
                }
                10 if rng.one_in(20) => peer.conn.drain(now, now + ms(20)),
                11 if rng.one_in(40) => peer.conn.handle_eof(now),
                _ => now += ms(rng.below(10)),
            }
        }
        peer.conn.drain(now, now + ms(100));
        peer.poll(now + ms(100));
        assert_eq!((peer.conn.state(), peer.conn.in_flight()), (State::Closed, 0), "seed {seed}");
        for tag in 0..made {
            let _: &str = peer.outcome(tag);
        }
    }
}

const NO_END: [u8; 2000] = [b'a'; 2000];

#[test]
fn p20_a_protocol_error_is_told_once_and_stays() {
    let mut peer = growable();
    peer.call(at(0), "x", b"", 1).unwrap();
    let good = packet(RESPONSE, 9, "", "stray");
    peer.feed(at(0), &good);
    let error =
        ProtocolError { what: WireError::MethodTooLong, offset: good.len() as u64 + 3 + 1024, limit: 1024 };
    assert_eq!(peer.conn.handle_input(at(0), &NO_END).map(|step| step.consumed), Err(error));
    assert_eq!(peer.conn.state(), State::Closed);
    assert_eq!(peer.conn.close_reason(), Some(CloseReason::Protocol(error)));
    // Sticky: whatever comes next, even a good packet.
    for input in [&good[..], b"", &NO_END] {
        assert_eq!(peer.conn.handle_input(at(1), input).map(|step| step.consumed), Err(error));
    }
    let lines = peer.poll(at(1));
    let said =
        "the peer broke the protocol at byte 1037: the code has no end (0x00) within its limit of 1024 bytes";
    assert_eq!(lines, [format!("#1 lost: {said}"), format!("closed: {said}")]);
    assert!(peer.poll(at(2)).is_empty(), "once");
    assert_eq!(peer.conn.poll_timeout(), None);
}

#[test]
fn p20_the_error_names_offset_and_limit_of_a_body_that_is_too_long() {
    let mut peer: Growable = Peer::new(Limits::new().max_payload(10).max_body(100));
    let good = packet(REQUEST, 1, "ok", "fine");
    assert_eq!(peer.feed(at(0), &good).len(), 1);
    let lines = peer.feed(at(0), &packet(REQUEST, 2, "long", [0; 101]));
    let offset = good.len() + 3 + 5;
    let said = "the announced payload is longer than its limit";
    assert_eq!(lines, [format!("error: the peer broke the protocol at byte {offset}: {said} of 100 bytes")]);
}

#[test]
fn p20_the_offset_counts_skipped_and_streamed_bodies() {
    for oversize in [flyrpc_core::Oversize::Refuse, flyrpc_core::Oversize::Stream] {
        let limits = Limits::new().max_payload(10).max_body(5000).oversize(oversize);
        let mut peer: Growable = Peer::new(limits);
        let long = packet(0, 0, "long", [0; 3000]);
        for piece in long.chunks(100) {
            peer.feed(at(0), piece);
        }
        let lines = peer.feed(at(0), &NO_END);
        let offset = long.len() + 3 + 1024;
        assert!(lines[0].contains(&format!("at byte {offset}:")), "{oversize:?}: {lines:?}");
    }
}

#[test]
fn p20_nothing_is_written_after_the_error() {
    let mut peer = growable();
    peer.feed(at(0), &packet(REQUEST, 1, "x", ""));
    peer.feed(at(0), &NO_END);
    assert_eq!(peer.call(at(0), "x", b"", 1), Err(Refusal::Closed));
    assert_eq!(peer.reply(0, Reply::ack()), Err(Refusal::Closed));
    peer.poll(at(0));
    assert!(peer.sent().is_empty());
}

#[test]
fn p20_the_end_of_stream_after_an_error_changes_nothing() {
    let mut peer = growable();
    peer.feed(at(0), &NO_END);
    let why = peer.conn.close_reason();
    peer.conn.handle_eof(at(0));
    peer.conn.close();
    peer.conn.drain(at(0), at(1));
    assert_eq!(peer.conn.close_reason(), why);
    assert_eq!(peer.poll(at(1)).len(), 1);
}
