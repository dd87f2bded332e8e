//! Two nodes and a line between them

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

use core::num::NonZeroU16;
use core::time::Duration;

use flyrpc_embedded::{
    Calls, Ended, Event, Framed, Instant, Link, NoCalls, Node, Plain, Raw, Refusal, Reply, Token, codes,
};

type Board<'m, L> = Node<'m, L, Calls<u32, 4>, Raw>;

/// Everything that happened, in words
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn take(&mut self) -> Vec<String> {
        core::mem::take(&mut self.0)
    }
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap()
}

/// Answers `echo`, `big` and `later`, and takes note of the rest
fn turn<L: Link>(node: &mut Board<'_, L>, now: Instant, told: &mut Told, kept: &mut Vec<Token>) {
    node.poll(now, |peer, event| match event {
        Event::Request { code: b"echo", payload, token } => peer.reply(token, Reply::ok(payload)).unwrap(),
        Event::Request { code: b"big", token, .. } => {
            let refused = peer.reply(token, Reply::ok(&[7; 300])).unwrap_err();
            assert!(matches!(refused, Refusal::NoRoom { .. }), "{refused}");
        }
        Event::Request { code: b"later", token, .. } => kept.push(token),
        Event::Request { token, .. } => peer.reply(token, Reply::error(codes::NOT_FOUND, b"")).unwrap(),
        Event::Message { code, payload } => told.0.push(format!("{} {}", text(code), text(payload))),
        Event::Reply { tag, code, payload, .. } => {
            told.0.push(format!("{tag}: {} {}", text(code), text(payload)));
        }
        Event::Pong { tag, .. } => told.0.push(format!("{tag}: pong")),
        Event::TimedOut { tag, .. } => told.0.push(format!("{tag}: timed out")),
        Event::Lost { tag, .. } => told.0.push(format!("{tag}: lost")),
        Event::Cancelled { sequence } => told.0.push(format!("cancelled {sequence}")),
        Event::Ended { why } => told.0.push(format!("{why:?}")),
        other => panic!("{other:?}"),
    });
}

/// Carries bytes from one to the other, `step` at a time; `change` may spoil them
fn carry<L: Link>(
    from: &mut Board<'_, L>,
    to: &mut Board<'_, L>,
    now: Instant,
    step: usize,
    change: &mut dyn FnMut(&mut u8),
) -> bool {
    let mut bytes = from.unsent().to_vec();
    bytes.truncate(step);
    let n = bytes.len().min(to.space().len());
    from.sent(n);
    bytes[..n].iter_mut().for_each(change);
    to.space()[..n].copy_from_slice(&bytes[..n]);
    to.received(now, n);
    n > 0
}

struct Pair<'m, L: Link> {
    here: Board<'m, L>,
    there: Board<'m, L>,
    now: Instant,
    step: usize,
    told: Told,
    kept: Vec<Token>,
}

impl<L: Link> Pair<'_, L> {
    /// Until nothing moves any more
    fn settle(&mut self) -> Vec<String> {
        self.settle_with(&mut |_| {})
    }

    fn settle_with(&mut self, change: &mut dyn FnMut(&mut u8)) -> Vec<String> {
        loop {
            let Self { here, there, now, step, told, kept } = self;
            turn(here, *now, told, kept);
            turn(there, *now, told, kept);
            let moved = carry(here, there, *now, *step, change) | carry(there, here, *now, *step, change);
            if !moved {
                return self.told.take();
            }
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn session(number: u16) -> Framed {
    Framed::new(NonZeroU16::new(number).unwrap())
}

/// Runs a body over both links, whole and byte by byte
macro_rules! on_both_links {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            for step in [1, 3, 1000] {
                let mut memory = [[0; 256]; 4];
                let [a, b, c, d] = &mut memory;
                let (here, there) = (Node::new(Plain::new(), a, b), Node::new(Plain::new(), c, d));
                bodies::$name(Pair { here, there, now: Instant::ZERO, step, told: Told::default(), kept: Vec::new() });
                let mut memory = [[0; 256]; 4];
                let [a, b, c, d] = &mut memory;
                let (here, there) = (Node::new(session(1), a, b), Node::new(session(2), c, d));
                bodies::$name(Pair { here, there, now: Instant::ZERO, step, told: Told::default(), kept: Vec::new() });
            }
        }
    )* };
}

on_both_links! {
    both_call_tell_and_ping
    what_has_no_room_is_refused_and_its_caller_is_told
    a_call_ends_at_its_deadline_and_a_late_answer_is_dropped
    four_calls_are_in_flight_and_the_fifth_comes_back
    the_ninth_unanswered_request_is_refused
    a_longer_payload_than_fits_is_answered_too_large
}

mod bodies {
    use super::*;

    pub(super) fn both_call_tell_and_ping<L: Link>(mut pair: Pair<'_, L>) {
        pair.settle();
        pair.here.peer(pair.now).call(b"echo", b"one", SECOND, 1).unwrap();
        pair.there.peer(pair.now).call(b"echo", b"two", SECOND, 2).unwrap();
        pair.here.peer(pair.now).notify(b"button", b"3").unwrap();
        assert_eq!(
            pair.settle().iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
            ["1:  one", "2:  two", "button 3"].into()
        );
        pair.here.peer(pair.now).call(b"nothing", b"", SECOND, 4).unwrap();
        pair.settle();
        pair.here.peer(pair.now).ping(SECOND, 5).unwrap();
        assert_eq!(pair.settle(), ["5: pong"]);
    }

    pub(super) fn what_has_no_room_is_refused_and_its_caller_is_told<L: Link>(mut pair: Pair<'_, L>) {
        pair.settle();
        let refused = pair.here.peer(pair.now).call(b"echo", &[0; 300], SECOND, 1).unwrap_err();
        assert!(matches!(refused.why, Refusal::NoRoom { .. }), "{refused}");
        assert_eq!(refused.back, 1);
        pair.here.peer(pair.now).call(b"big", b"", SECOND, 2).unwrap();
        assert_eq!(pair.settle(), ["2: TOO_LARGE "]);
    }

    pub(super) fn a_call_ends_at_its_deadline_and_a_late_answer_is_dropped<L: Link>(mut pair: Pair<'_, L>) {
        pair.here.peer(pair.now).call(b"later", b"", SECOND, 1).unwrap();
        assert!(pair.settle().is_empty());
        assert_eq!(pair.here.poll_timeout(), Some(Instant::ZERO + SECOND));
        pair.now += SECOND;
        assert_eq!(pair.settle(), ["1: timed out"]);
        let token = pair.kept.remove(0);
        pair.there.peer(pair.now).reply(token, Reply::ok(b"late")).unwrap();
        assert!(pair.settle().is_empty());
        assert_eq!(pair.here.peer(pair.now).stats().late_replies, 1);
        pair.here.peer(pair.now).call(b"echo", b"next", SECOND, 2).unwrap();
        assert_eq!(pair.settle(), ["2:  next"]);
    }

    pub(super) fn four_calls_are_in_flight_and_the_fifth_comes_back<L: Link>(mut pair: Pair<'_, L>) {
        for tag in 1..=4 {
            pair.here.peer(pair.now).call(b"later", b"", SECOND, tag).unwrap();
        }
        let refused = pair.here.peer(pair.now).call(b"later", b"", SECOND, 5).unwrap_err();
        assert_eq!((refused.why, refused.back), (Refusal::TooManyInFlight { in_flight: 4 }, 5));
        pair.settle();
        // Out of order.
        while let Some(token) = pair.kept.pop() {
            pair.there.peer(pair.now).reply(token, Reply::ack()).unwrap();
        }
        assert_eq!(pair.settle(), ["4:  ", "3:  ", "2:  ", "1:  "]);
    }

    pub(super) fn the_ninth_unanswered_request_is_refused<L: Link>(mut pair: Pair<'_, L>) {
        for round in 0..3 {
            for tag in 0..4 {
                // Each is given up at once, but the other end owes its answer.
                pair.here
                    .peer(pair.now)
                    .call(b"later", b"", Duration::from_millis(1), round * 4 + tag)
                    .unwrap();
            }
            let told = pair.settle();
            if round == 2 {
                assert_eq!(told, ["8: BUSY ", "9: BUSY ", "10: BUSY ", "11: BUSY "]);
            }
            pair.now += Duration::from_millis(1);
            pair.settle();
        }
        assert_eq!(pair.kept.len(), 8);
    }

    pub(super) fn a_longer_payload_than_fits_is_answered_too_large<L: Link>(mut pair: Pair<'_, L>) {
        pair.settle();
        // Still fits a receive buffer of 256 bytes as a frame.
        pair.here.peer(pair.now).call(b"echo", &[b'x'; 225], SECOND, 1).unwrap();
        assert_eq!(pair.settle(), ["1: TOO_LARGE "]);
        pair.here.peer(pair.now).call(b"echo", &[b'x'; 190], SECOND, 2).unwrap();
        assert_eq!(pair.settle(), [format!("2:  {}", "x".repeat(190))]);
    }
}

#[test]
fn the_other_ends_restart_loses_calls_at_once_and_its_late_answers_are_dropped() {
    let mut memory = [[0; 256]; 4];
    let [a, b, c, d] = &mut memory;
    let (here, there) = (Node::new(session(1), a, b), Node::new(session(2), c, d));
    let mut pair = Pair { here, there, now: Instant::ZERO, step: 7, told: Told::default(), kept: Vec::new() };
    pair.here.peer(pair.now).call(b"later", b"", SECOND, 1).unwrap();
    pair.there.peer(pair.now).call(b"later", b"", SECOND, 2).unwrap();
    assert!(pair.settle().is_empty());
    assert_eq!(pair.kept.len(), 2);

    let mut memory = [[0; 256]; 2];
    let [c, d] = &mut memory;
    pair.there = Node::new(session(3), c, d);
    assert_eq!(pair.settle(), ["1: lost", "Restarted"]);
    // The request that came from the end before is nobody's any more.
    for token in core::mem::take(&mut pair.kept) {
        assert_eq!(pair.here.peer(pair.now).reply(token, Reply::ok(b"stale")), Err(Refusal::Closed));
    }
    pair.there.peer(pair.now).call(b"echo", b"new life", SECOND, 3).unwrap();
    pair.here.peer(pair.now).call(b"echo", b"too", SECOND, 4).unwrap();
    let mut told = pair.settle();
    told.sort();
    assert_eq!(told, ["3:  new life", "4:  too"]);
}

#[test]
fn after_garbage_a_plain_line_is_read_again_once_it_was_silent() {
    let mut memory = [[0; 256]; 4];
    let [a, b, c, d] = &mut memory;
    let (here, there) = (Node::new(Plain::new(), a, b), Node::new(Plain::new(), c, d));
    let mut pair =
        Pair { here, there, now: Instant::ZERO, step: 1000, told: Told::default(), kept: Vec::new() };
    let put = |node: &mut Board<'_, Plain>, now, bytes: &[u8]| {
        node.space()[..bytes.len()].copy_from_slice(bytes);
        node.received(now, bytes.len());
    };
    pair.here.peer(pair.now).call(b"later", b"", SECOND, 1).unwrap();
    pair.settle();
    // No code is so long.
    put(&mut pair.here, pair.now, &[b'z'; 60]);
    assert_eq!(pair.settle(), ["1: lost", "Garbled"]);
    put(&mut pair.here, pair.now, b"\x40\0\x01echo\0\x01x");
    assert!(pair.settle().is_empty(), "still deaf");
    assert_eq!(pair.here.poll_timeout(), Some(Instant::ZERO + Duration::from_millis(100)));
    pair.now += Duration::from_millis(100);
    pair.there.peer(pair.now).call(b"echo", b"heard", SECOND, 2).unwrap();
    assert_eq!(pair.settle(), ["2:  heard"]);

    // Half a packet, and then nothing.
    put(&mut pair.here, pair.now, b"\x40\0\x01ech");
    pair.settle();
    pair.now += Duration::from_millis(100);
    pair.there.peer(pair.now).call(b"echo", b"whole", SECOND, 3).unwrap();
    assert_eq!(pair.settle(), ["3:  whole"]);
}

#[test]
fn noise_on_framed_lines_makes_calls_fail_and_never_makes_them_wrong() {
    let mut memory = [[0; 256]; 4];
    let [a, b, c, d] = &mut memory;
    let (here, there) = (Node::new(session(1), a, b), Node::new(session(2), c, d));
    let mut pair =
        Pair { here, there, now: Instant::ZERO, step: 16, told: Told::default(), kept: Vec::new() };
    // Knuth's MMIX generator: enough for noise.
    let mut state = 42_u64;
    let mut noise = move |byte: &mut u8| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if state >> 56 < 2 {
            *byte ^= 1 << (state >> 32 & 7);
        }
    };
    let (mut right, mut failed) = (0, 0);
    for tag in 0..2000 {
        let payload = format!("{tag}").repeat(3);
        pair.here.peer(pair.now).call(b"echo", payload.as_bytes(), SECOND, tag).unwrap();
        let told = pair.settle_with(&mut noise);
        if told == [format!("{tag}:  {payload}")] {
            right += 1;
            continue;
        }
        assert!(told.is_empty(), "{told:?}");
        pair.now += SECOND;
        assert_eq!(pair.settle_with(&mut noise), [format!("{tag}: timed out")]);
        failed += 1;
    }
    assert!(right > 500 && failed > 100, "{right} right, {failed} failed");
    pair.here.peer(pair.now).call(b"echo", b"quiet", SECOND, 9999).unwrap();
    let told = pair.settle();
    assert_eq!(told, ["9999:  quiet"]);
}

#[test]
fn a_node_without_calls_answers() {
    let (mut rx, mut tx) = ([0; 64], [0; 64]);
    let mut node: Node<'_, Plain, NoCalls> = Node::new(Plain::new(), &mut rx, &mut tx);
    let request = b"\x40\x00\x07echo\0\x02hi";
    node.space()[..request.len()].copy_from_slice(request);
    node.received(Instant::ZERO, request.len());
    node.poll(Instant::ZERO, |peer, event| {
        let Event::Request { payload, token, .. } = event else { panic!("{event:?}") };
        peer.reply(token, Reply::ok(payload)).unwrap();
    });
    assert_eq!(node.unsent(), b"\x80\x00\x07\0\x02hi");
    assert_eq!(Ended::Garbled, Ended::Garbled);
}

#[test]
fn compressed_requests_are_refused_and_hello_says_so() {
    let (mut rx, mut tx) = ([0; 128], [0; 128]);
    let mut node: Node<'_, Plain, NoCalls, Raw> = Node::new(Plain::new(), &mut rx, &mut tx);
    let both = b"\x44\x00\x01echo\0\x02hi\x40\x00\x02$hello\0\x00";
    node.space()[..both.len()].copy_from_slice(both);
    node.received(Instant::ZERO, both.len());
    let nothing = |_: &mut _, event: Event<'_, _>| panic!("{event:?}");
    node.poll(Instant::ZERO, nothing);
    assert_eq!(node.unsent(), b"\x80\x00\x01BAD_ZIP\0\0");
    node.sent(node.unsent().len());
    node.poll(Instant::ZERO, nothing);
    let hello = String::from_utf8_lossy(node.unsent()).into_owned();
    assert!(hello.contains("zip=0\ncancel=1\nmax-payload=88"), "{hello}");
}

#[test]
fn logs_say_how_long_payloads_are_and_not_what_is_in_them_p22() {
    let event: Event<'_, u32> = Event::Message { code: b"door", payload: b"secret" };
    assert_eq!(format!("{event:?}"), r#"Message { code: "door", payload: 6 bytes }"#);
}
