//! P4: cancel, reply, time-out and disconnect commute

use flyrpc_core::{Call, CallId, Limits, Reply, Slots, State, Table};
use flyrpc_tests::vectors::packet;
use flyrpc_tests::{Pair, Peer, Side};

use crate::{Heapless, RESPONSE, at, growable, ms};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happens {
    Cancel,
    Reply,
    Timeout,
    Disconnect,
}

const ALL: [Happens; 4] = [Happens::Cancel, Happens::Reply, Happens::Timeout, Happens::Disconnect];

impl Happens {
    /// Lets it happen; events are polled only where `told` says so
    fn to<S: Slots<Tag = u32>>(self, peer: &mut Peer<S>, call: CallId, told: bool) {
        let deadline = at(100);
        match self {
            Self::Cancel => {
                peer.cancel(call);
            }
            Self::Reply => {
                peer.feed(at(0), &packet(RESPONSE, 1, "", "done"));
            }
            Self::Timeout => peer.conn.handle_timeout(deadline),
            Self::Disconnect => peer.conn.handle_eof(at(0)),
        }
        if told {
            peer.poll(at(0));
        }
    }

    const fn outcome(self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Reply => "ok \"done\"",
            Self::Timeout => "timed out",
            Self::Disconnect => "lost: the peer closed the connection",
        }
    }
}

/// All orders of all four, each with events polled at once or only at the end
fn every_order<S: Slots<Tag = u32>>() {
    let mut orders = 0;
    for first in ALL {
        for second in ALL {
            for third in ALL {
                for fourth in ALL {
                    let order = [first, second, third, fourth];
                    if ALL.iter().any(|one| !order.contains(one)) {
                        continue;
                    }
                    for told in [true, false] {
                        one_order::<S>(order, told);
                        orders += 1;
                    }
                }
            }
        }
    }
    assert_eq!(orders, 48);
}

fn one_order<S: Slots<Tag = u32>>(order: [Happens; 4], told: bool) {
    let mut peer: Peer<S> = Peer::new(Limits::new());
    let call = peer.call_with(at(0), Call::new("x", "").deadline(at(100)), 1).expect("room for one call");
    for happens in order {
        happens.to(&mut peer, call, told);
    }
    peer.poll(at(100));
    let [first, ..] = order;
    // Where nobody has polled between the end of the stream and the deadline, both are true and either may be said.
    let either = !told && first == Happens::Disconnect;
    let outcome = peer.outcome(1).to_owned();
    let allowed = outcome == first.outcome() || either && outcome == Happens::Timeout.outcome();
    assert!(allowed, "{order:?}, told at once: {told}: {outcome}");
    assert_eq!((peer.conn.in_flight(), peer.conn.state()), (0, State::Closed), "{order:?}");
    let stats = peer.conn.stats();
    let ended = [stats.answered, u64::from(stats.timed_out), u64::from(stats.cancelled)];
    assert!(ended.iter().sum::<u64>() <= 1, "{order:?}: counted once: {stats:?}");
}

#[test]
fn p04_the_first_decides_with_one_slot() {
    every_order::<Heapless<1>>();
}

#[test]
fn p04_the_first_decides_with_eight_slots() {
    every_order::<Heapless<8>>();
}

#[test]
fn p04_the_first_decides_with_a_growable_table() {
    every_order::<Table<u32>>();
}

#[test]
fn p04_a_reply_after_a_cancel_or_a_timeout_is_counted_and_dropped() {
    let mut peer = growable();
    let call = peer.call(at(0), "x", b"", 1).unwrap();
    peer.call_with(at(0), Call::new("y", "").deadline(at(10)), 2).unwrap();
    peer.cancel(call);
    assert_eq!(peer.poll(at(10)), ["#2 timed out"]);
    assert!(peer.feed(at(11), &packet(RESPONSE, 1, "", "late")).is_empty());
    assert!(peer.feed(at(11), &packet(RESPONSE, 2, "LATE", "")).is_empty());
    assert_eq!(peer.conn.stats().late_replies, 2);
    assert_eq!(peer.conn.state(), State::Open);
}

#[test]
fn p04_a_reply_in_the_microsecond_of_the_deadline_is_late_even_before_the_event_is_polled() {
    let mut peer = growable();
    let call = peer.call_with(at(0), Call::new("y", "").deadline(at(10)), 1).unwrap();
    assert!(peer.feed(at(10), &packet(RESPONSE, 1, "", "")).is_empty());
    assert!(!peer.cancel(call), "its tag comes with the event");
    assert_eq!(peer.poll(at(10)), ["#1 timed out"]);
    assert_eq!(peer.conn.stats().late_replies, 1);
}

#[test]
fn p04_a_reply_one_microsecond_before_the_deadline_is_in_time() {
    let mut peer = growable();
    peer.call_with(at(0), Call::new("y", "").deadline(at(10)), 1).unwrap();
    let just_before = flyrpc_core::Instant::from_micros(9_999);
    assert_eq!(peer.feed(just_before, &packet(RESPONSE, 1, "", "")), ["#1 ok \"\""]);
    assert!(peer.poll(at(10)).is_empty());
}

#[test]
fn p04_a_cancel_after_the_end_of_stream_leaves_the_tag_to_the_event() {
    let mut peer = growable();
    let call = peer.call(at(0), "x", b"", 1).unwrap();
    peer.conn.handle_eof(at(0));
    assert!(!peer.cancel(call));
    assert_eq!(peer.poll(at(0)).first().map(String::as_str), Some("#1 lost: the peer closed the connection"));
}

#[test]
fn p04_a_reply_that_crosses_the_cancel_is_dropped_whole() {
    let mut pair: Pair = Pair::default();
    pair.a.conn.dialect_mut().learn(b"cancel=1");
    let call = pair.call(Side::A, "x", b"", 1).unwrap();
    pair.drive(100);
    pair.reply(Side::B, 0, Reply::ok(&[b'r'; 1000])).unwrap();
    assert!(pair.cancel(Side::A, call), "the reply is under way");
    pair.call(Side::A, "next", b"", 2).unwrap();
    pair.drive(100);
    pair.echo_all(Side::B);
    pair.drive(100);
    assert_eq!((pair.a.outcome(1), pair.a.outcome(2)), ("cancelled", "ok \"\""), "{}", pair.transcript());
    assert_eq!((pair.a.conn.stats().late_replies, pair.b.conn.unanswered()), (1, 0));
}

#[test]
fn p04_a_streamed_reply_that_has_begun_is_delivered_to_its_end() {
    let limits = Limits::new().max_payload(4).oversize(flyrpc_core::Oversize::Stream);
    let mut peer: Peer<Table<u32>> = Peer::new(limits);
    let call = peer.call(at(0), "x", b"", 1).unwrap();
    let reply = packet(RESPONSE, 1, "", "0123456789");
    let lines = peer.feed(at(0), &reply[..8]);
    assert_eq!(lines, ["#1 ok (10 bytes, streamed)", "piece of 3 bytes, 7 left"]);
    assert!(!peer.cancel(call), "the answer came first");
    peer.conn.handle_timeout(at(20_000));
    assert_eq!(peer.feed(at(20_000), &reply[8..]), ["piece of 7 bytes, 0 left"]);
}

#[test]
fn p04_a_streamed_reply_to_a_cancelled_call_is_passed_over_to_its_end() {
    let limits = Limits::new().max_payload(4).oversize(flyrpc_core::Oversize::Stream);
    let mut peer: Peer<Table<u32>> = Peer::new(limits);
    let call = peer.call(at(0), "x", b"", 1).unwrap();
    peer.call(at(0), "y", b"", 2).unwrap();
    peer.cancel(call);
    let mut wire = packet(RESPONSE, 1, "", "0123456789");
    wire.extend(packet(RESPONSE, 2, "", "me"));
    assert_eq!(peer.feed(at(0), &wire), ["#2 ok \"me\""]);
}

#[test]
fn p04_cancels_and_replies_that_cross_on_a_slow_link_end_each_call_once() {
    let config = flyrpc_tests::LinkConfig { max_chunk: 3, jitter: ms(2), ..Default::default() };
    let mut pair: Pair = Pair::new(Limits::new(), config, 7);
    pair.a.conn.dialect_mut().learn(b"cancel=1");
    let mut rng = flyrpc_tests::Rng::new(5);
    for tag in 0..300 {
        let call = pair.call(Side::A, "x", b"payload", tag).unwrap();
        pair.advance(core::time::Duration::from_micros(rng.below(4000)));
        pair.echo_all(Side::B);
        pair.advance(core::time::Duration::from_micros(rng.below(4000)));
        pair.cancel(Side::A, call);
    }
    pair.advance(ms(50));
    let cancelled = (0..300).filter(|tag| pair.a.outcome(*tag) == "cancelled").count();
    assert!((30..270).contains(&cancelled), "both happen: {cancelled} of 300 cancelled");
    assert_eq!(pair.a.conn.in_flight(), 0);
}
