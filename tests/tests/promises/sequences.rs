//! P5: an id is never given to two calls in flight; a late reply never answers a newer call

use core::time::Duration;
use std::collections::BTreeMap;

use flyrpc_core::fly::Fly;
use flyrpc_core::{Call, Connection, Instant, Limits, Refusal, Slots, State, Table, What};
use flyrpc_tests::vectors::packet;
use flyrpc_tests::{Peer, Rng};

use crate::{Heapless, RESPONSE, at, sequence_of, starting_at};

/// Sequences that FlyRPC has: 1..=65535
const SEQUENCES: u32 = 65_535;

/// Calls and is answered at once; the sequence that it took
fn round<S: Slots<Tag = u32>>(peer: &mut Peer<S>, now: Instant) -> u16 {
    peer.call(now, "x", b"", 7).expect("a free sequence");
    let sequence = sequence_of(&peer.sent());
    assert_eq!(peer.feed(now, &packet(RESPONSE, sequence, "", "")), ["#7 ok \"\""]);
    peer.over.clear();
    sequence
}

/// Calls and lets the deadline pass; the sequence that rests from then on
fn time_out<S: Slots<Tag = u32>>(peer: &mut Peer<S>, now: Instant) -> u16 {
    peer.call_with(now, Call::new("x", "").deadline(now), 8).expect("a free sequence");
    let sequence = sequence_of(&peer.sent());
    assert_eq!(peer.poll(now), ["#8 timed out"]);
    peer.over.clear();
    sequence
}

fn wraps<S: Slots<Tag = u32>>() {
    let mut peer: Peer<S> = starting_at(Limits::new(), 65_533);
    let sequences: Vec<u16> = (0..5).map(|_| round(&mut peer, at(0))).collect();
    assert_eq!(sequences, [65_533, 65_534, 65_535, 1, 2]);
}

#[test]
fn p05_sequences_wrap_from_65535_to_1_with_one_slot() {
    wraps::<Heapless<1>>();
}

#[test]
fn p05_sequences_wrap_from_65535_to_1_with_eight_slots() {
    wraps::<Heapless<8>>();
}

#[test]
fn p05_sequences_wrap_from_65535_to_1_with_a_growable_table() {
    wraps::<Table<u32>>();
}

#[test]
fn p05_sequence_0_is_never_used_in_three_rounds() {
    let mut peer: Peer<Table<u32>> = starting_at(Limits::new(), 1);
    for turn in 0..3 * SEQUENCES {
        assert_eq!(u32::from(round(&mut peer, at(0))), turn % SEQUENCES + 1);
    }
}

/// A call that stays in flight while all other sequences come round
fn skips_in_flight<S: Slots<Tag = u32>>() {
    let mut peer: Peer<S> = starting_at(Limits::new(), 40_000);
    peer.call_with(at(0), Call::new("long", "").deadline(Instant::FAR), 1).expect("room");
    let held = sequence_of(&peer.sent());
    for _ in 0..SEQUENCES + 100 {
        assert_ne!(round(&mut peer, at(0)), held);
    }
    assert_eq!(peer.feed(at(0), &packet(RESPONSE, held, "", "at last")), ["#1 ok \"at last\""]);
}

#[test]
fn p05_a_sequence_in_flight_is_skipped_with_eight_slots() {
    skips_in_flight::<Heapless<8>>();
}

#[test]
fn p05_a_sequence_in_flight_is_skipped_with_a_growable_table() {
    skips_in_flight::<Table<u32>>();
}

#[test]
fn p05_no_two_calls_in_flight_share_a_sequence_while_the_table_grows() {
    let mut peer: Peer<Table<u32>> = starting_at(Limits::new(), 65_000);
    let mut seen = vec![false; 65_536];
    for tag in 0..60_000 {
        peer.call(at(0), "x", b"", tag).unwrap();
        let sequence = usize::from(sequence_of(&peer.sent()));
        assert!(!core::mem::replace(&mut seen[sequence], true), "{sequence} is in flight twice");
        // Answering every third keeps holes in the table while it grows.
        if tag % 3 == 0 {
            let expected = format!("#{tag} ok \"\"");
            assert_eq!(peer.feed(at(0), &packet(RESPONSE, sequence as u16, "", "")), [expected]);
            seen[sequence] = false;
        }
    }
    assert_eq!(peer.conn.in_flight(), 40_000);
}

/// Until its late reply comes, the sequence of a timed-out call is skipped when its turn comes
fn rests_until_late_reply<S: Slots<Tag = u32>>() {
    let mut peer: Peer<S> = starting_at(Limits::new(), 100);
    let resting = time_out(&mut peer, at(0));
    for _ in 0..SEQUENCES + 10 {
        assert_ne!(round(&mut peer, at(1)), resting);
    }
    assert!(peer.feed(at(2), &packet(RESPONSE, resting, "", "late")).is_empty());
    assert_eq!(peer.conn.stats().late_replies, 1);
    assert!((0..SEQUENCES).any(|_| round(&mut peer, at(3)) == resting), "it is free again");
}

#[test]
fn p05_a_sequence_rests_until_its_late_reply_with_one_slot() {
    rests_until_late_reply::<Heapless<1>>();
}

#[test]
fn p05_a_sequence_rests_until_its_late_reply_with_eight_slots() {
    rests_until_late_reply::<Heapless<8>>();
}

#[test]
fn p05_a_sequence_rests_until_its_late_reply_with_a_growable_table() {
    rests_until_late_reply::<Table<u32>>();
}

/// The quarantine is at least as long as asked for, and at most twice as long (without a heap: two ticks of a coarse clock
/// longer, 2.1 s)
fn rests_for_the_quarantine<S: Slots<Tag = u32>>() {
    let limits = Limits::new().quarantine(Duration::from_secs(30));
    let mut peer: Peer<S> = starting_at(limits, 1);
    let resting = time_out(&mut peer, at(777));
    let turn = |peer: &mut Peer<S>, now| (0..SEQUENCES).any(|_| round(peer, now) == resting);
    assert!(!turn(&mut peer, at(30_776)), "still within thirty seconds");
    assert!(turn(&mut peer, at(777 + 60_000)), "no longer than that");
}

#[test]
fn p05_a_sequence_rests_for_the_quarantine_with_one_slot() {
    rests_for_the_quarantine::<Heapless<1>>();
}

#[test]
fn p05_a_sequence_rests_for_the_quarantine_with_eight_slots() {
    rests_for_the_quarantine::<Heapless<8>>();
}

#[test]
fn p05_a_sequence_rests_for_the_quarantine_with_a_growable_table() {
    rests_for_the_quarantine::<Table<u32>>();
}

#[test]
fn p05_a_cancelled_sequence_rests_too() {
    let mut peer: Peer<Heapless<8>> = starting_at(Limits::new(), 1);
    let call = peer.call(at(0), "x", b"", 1).unwrap();
    peer.cancel(call);
    peer.sent();
    assert!((0..SEQUENCES).all(|_| round(&mut peer, at(0)) != 1));
}

#[test]
fn p05_a_resting_sequence_rests_on_while_the_table_grows() {
    let mut peer: Peer<Table<u32>> = starting_at(Limits::new(), 1);
    let resting: Vec<u16> = (0..5).map(|_| time_out(&mut peer, at(0))).collect();
    for tag in 0..1000 {
        peer.call_with(at(0), Call::new("x", "").deadline(Instant::FAR), tag).unwrap();
    }
    peer.sent();
    for _ in 0..SEQUENCES {
        assert!(!resting.contains(&round(&mut peer, at(0))));
    }
    for sequence in resting {
        assert!(peer.feed(at(0), &packet(RESPONSE, sequence, "", "late")).is_empty());
    }
    assert_eq!(peer.conn.stats().late_replies, 5);
}

#[test]
fn p05_when_all_sequences_rest_a_call_is_refused_until_the_quarantine_has_passed() {
    let limits = Limits::new().quarantine(Duration::from_secs(30));
    let mut peer: Peer<Heapless<8>> = starting_at(limits, 1);
    for _ in 0..SEQUENCES {
        time_out(&mut peer, at(0));
    }
    assert_eq!(peer.call(at(1), "x", b"", 1), Err(Refusal::TooManyInFlight { in_flight: 0 }));
    assert!(peer.sent().is_empty());
    assert_eq!(peer.conn.state(), State::Open);
    assert_eq!(round(&mut peer, at(33_000)), 1);
}

#[test]
fn p05_a_call_id_names_nothing_once_its_slot_has_another_call() {
    let mut peer: Peer<Heapless<1>> = starting_at(Limits::new(), 1);
    let old = peer.call(at(0), "x", b"", 1).unwrap();
    peer.feed(at(0), &packet(RESPONSE, 1, "", ""));
    peer.sent();
    for _ in 0..SEQUENCES - 1 {
        round(&mut peer, at(0));
    }
    let new = peer.call(at(0), "x", b"", 2).unwrap();
    assert_eq!(sequence_of(&peer.sent()), 1, "the same sequence in the same slot");
    assert!(!peer.cancel(old));
    assert!(peer.cancel(new));
}

/// Calls in a hurry against a peer that answers whenever it likes, within the quarantine; each answer says to which call
fn late_replies_never_answer_newer_calls<S: Slots<Tag = u32>>(seed: u64, at_once: u32) {
    // All sequences come round in about eight seconds; an answer may be three times as late, and the rest is longer still.
    let limits = Limits::new().quarantine(Duration::from_secs(25));
    let mut peer: Peer<S> = starting_at(limits, 65_000);
    let mut rng = Rng::new(seed);
    let mut now = at(0);
    let mut answers: BTreeMap<(Instant, u32), u16> = BTreeMap::new();
    // Sequences that the peer will still answer, with their calls.
    let mut outstanding: BTreeMap<u16, u32> = BTreeMap::new();
    let (mut made, mut answered) = (0, 0);
    for tag in 0..400_000 {
        now += Duration::from_micros(rng.below(200));
        let deadline = now + Duration::from_millis(1 + rng.below(3));
        match peer.call_with(now, Call::new("x", "").deadline(deadline), tag) {
            Ok(call) => {
                made += 1;
                // One in fifty is answered up to twenty-four seconds after it was asked.
                let delay = if rng.one_in(50) { 24_000_000 } else { 100 };
                let sequence = sequence_of(&peer.sent());
                let older = outstanding.insert(sequence, tag);
                assert_eq!(
                    older, None,
                    "{sequence} was given to {tag} while an answer to an older call may come"
                );
                answers.insert((now + Duration::from_micros(rng.below(delay)), tag), sequence);
                if rng.one_in(100) {
                    peer.cancel(call);
                }
            }
            // All sequences rest: wait for the first of them.
            Err(_) if peer.conn.in_flight() < at_once => now += Duration::from_secs(3),
            Err(_) => {}
        }
        while let Some(next) = answers.first_entry().filter(|next| next.key().0 <= now) {
            let ((_, tag), sequence) = next.remove_entry();
            outstanding.remove(&sequence);
            for line in peer.feed(now, &packet(RESPONSE, sequence, "", tag.to_string())) {
                assert_eq!(line, format!("#{tag} ok \"{tag}\""));
                answered += 1;
            }
        }
        peer.poll(now);
        peer.over.clear();
    }
    let stats = peer.conn.stats();
    println!("{made} calls, {answered} answered in time, {} late replies dropped", stats.late_replies);
    assert!(stats.late_replies > 1000 && stats.timed_out > 1000, "{stats:?}");
    assert!(made > 2 * u64::from(SEQUENCES), "{made} calls, more than once round");
    let ended = u64::from(stats.timed_out + stats.cancelled) + answered;
    assert_eq!(ended + u64::from(peer.conn.in_flight()), made);
}

#[test]
fn p05_a_late_reply_never_answers_a_newer_call_with_one_slot() {
    late_replies_never_answer_newer_calls::<Heapless<1>>(1, 1);
}

#[test]
fn p05_a_late_reply_never_answers_a_newer_call_with_eight_slots() {
    late_replies_never_answer_newer_calls::<Heapless<8>>(2, 8);
}

#[test]
fn p05_a_late_reply_never_answers_a_newer_call_with_a_growable_table() {
    late_replies_never_answer_newer_calls::<Table<u32>>(3, 8);
}

/// A thousand calls a second for 200 s, one in `one_in` never answered; how many are refused for want of a sequence
fn refused_of_200_000<S: Slots<Tag = u32>>(one_in: u64) -> u32 {
    let mut peer: Peer<S> = starting_at(Limits::new(), 1);
    let mut rng = Rng::new(4);
    let mut refused = 0;
    for tag in 0..200_000_u32 {
        let now = at(u64::from(tag));
        if peer.call_with(now, Call::new("x", "").deadline(now + Duration::from_millis(3)), tag).is_err() {
            refused += 1;
            continue;
        }
        let sequence = sequence_of(&peer.sent());
        if !rng.one_in(one_in) {
            peer.feed(now, &packet(RESPONSE, sequence, "", ""));
        }
        peer.poll(now);
        peer.over.clear();
    }
    refused
}

/// 600 sequences and more rest at a time, each by itself
#[test]
fn p05_timeouts_do_not_make_all_sequences_of_a_growable_table_rest() {
    assert_eq!(refused_of_200_000::<Table<u32>>(100), 0);
}

/// Six sequences rest at a time; eight are remembered one by one
#[test]
fn p05_a_few_timeouts_do_not_make_all_sequences_of_eight_slots_rest() {
    assert_eq!(refused_of_200_000::<Heapless<8>>(10_000), 0);
}

/// 600 sequences rest at a time: without a heap that is more than can be remembered, so some of those between them rest
/// too, and calls are refused rather than given a sequence whose answer may still come
#[test]
fn p05_many_timeouts_without_a_heap_refuse_some_calls_but_not_most() {
    let refused = refused_of_200_000::<Heapless<8>>(100);
    assert!((1..100_000).contains(&refused), "{refused} refused");
}

/// A range that was joined over a call in flight, which is then given up too
#[test]
fn p05_a_sequence_within_a_joined_range_does_not_end_its_rest() {
    let mut peer: Peer<Heapless<4>> = starting_at(Limits::new(), 1);
    let (mut kept, mut given_up) = (None, Vec::new());
    while given_up.last().is_none_or(|last| *last < 301) {
        let call = peer.call(at(0), "x", b"", 0).unwrap();
        let sequence = sequence_of(&peer.sent());
        match sequence {
            12 => kept = Some(call),
            10 | 14 | 101 | 201 | 301.. => {
                assert!(peer.cancel(call));
                given_up.push(sequence);
            }
            _ => drop(peer.feed(at(0), &packet(RESPONSE, sequence, "", ""))),
        }
    }
    let last = given_up.pop().expect("the last of them");
    peer.feed(at(1), &packet(RESPONSE, last, "", ""));
    peer.poll(at(4_000));
    assert!(peer.cancel(kept.expect("call 12")));
    for tag in 302..66_000_u32 {
        if peer.call(at(5_000), "x", b"", tag).is_err() {
            continue;
        }
        let sequence = sequence_of(&peer.sent());
        assert!(sequence != 12 && !given_up.contains(&sequence), "{sequence} still rests");
        peer.feed(at(5_000), &packet(RESPONSE, sequence, "", ""));
        peer.over.clear();
    }
}

/// 20,000 calls a second for five minutes, one in 200 never answered: some 6,000 to 12,000 of 65,535 rest at a time
#[test]
fn p05_many_timeouts_for_long_refuse_nothing_with_a_growable_table() {
    let mut conn: Connection<Fly, Table<u32>> = Connection::new(Fly::default(), Limits::new());
    let mut wire = Vec::new();
    for step in 1..6_000_000_u64 {
        let now = Instant::from_micros(50 * step);
        let call = Call::new("", "").deadline(now + Duration::from_millis(2));
        wire.clear();
        assert!(conn.call(now, call, 1, &mut wire).is_ok(), "refused after {} s", step / 20_000);
        if !step.is_multiple_of(200) {
            let answer = [RESPONSE, wire[1], wire[2], 0, 0];
            let step = conn.handle_input(now, &answer).unwrap();
            assert!(matches!(step.what, What::Incoming(_)));
        }
        while conn.poll_event().is_some() {}
    }
}
