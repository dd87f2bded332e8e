//! The rules of a line, each on two ends and a few frames

use alloc::vec;
use alloc::vec::Vec;
use core::num::NonZeroU16;

use super::{Found, Line, What};

fn session(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// A frame of `packet` as `line` makes it
fn seal(line: &mut Line, packet: &[u8]) -> Vec<u8> {
    let mut memory = vec![0xa5; Line::frame_max(packet.len())];
    memory[Line::lead(packet.len())..][..packet.len()].copy_from_slice(packet);
    let len = line.seal(&mut memory, packet.len()).unwrap();
    memory.truncate(len);
    memory
}

/// What `line` finds in `bytes`: packets, and `None` for each restart that is found
fn take(line: &mut Line, bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
    let (mut data, mut seen) = (bytes.to_vec(), Vec::new());
    loop {
        let Found { consumed, restarted, what } = line.receive(&mut data);
        if restarted {
            seen.push(None);
        }
        match what {
            What::NeedMore => return seen,
            What::Nothing => assert!(consumed > 0),
            What::Packet { start, end } => {
                assert!(start < end && end <= consumed);
                seen.push(Some(data[start..end].to_vec()));
            }
        }
        data.drain(..consumed);
    }
}

fn packet(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

/// Two ends that know each other
fn acquainted() -> (Line, Line) {
    let (mut near, mut far) = (Line::new(session(0x1234)), Line::new(session(0x00ff)));
    assert!(take(&mut far, &seal(&mut near, b"")).is_empty());
    assert!(take(&mut near, &seal(&mut far, b"")).is_empty());
    assert!(take(&mut far, &seal(&mut near, b"")).is_empty());
    assert!(!near.owes_announcement() && !far.owes_announcement());
    (near, far)
}

#[test]
fn a_frame_is_these_bytes() {
    let (mut near, _) = acquainted();
    // From 1234 to 00ff: "hi"; the check as other programs compute it.
    assert_eq!(
        seal(&mut near, b"hi"),
        [0x00, 0x03, 0x12, 0x34, 0x08, 0xff, b'h', b'i', 0x8c, 0xaf, 0x10, 0xcb, 0x00]
    );
}

#[test]
fn a_packet_of_any_length_comes_back() {
    let (mut near, mut far) = acquainted();
    for fill in [0, 1, 0xff] {
        for len in (1..1100).chain([4096, 65_000]) {
            let packet = vec![fill; len];
            let frame = seal(&mut near, &packet);
            assert!(frame.len() <= Line::frame_max(len) && frame.len() > len + 8);
            assert_eq!(frame.iter().filter(|byte| **byte == 0).count(), 2);
            assert_eq!(take(&mut far, &frame), [Some(packet)], "{len} bytes of {fill}");
        }
    }
}

#[test]
fn too_little_memory_changes_nothing() {
    let mut line = Line::new(session(1));
    line.announce();
    for len in [0, 1, 245, 246, 247, 499, 500, 501] {
        let mut memory = vec![7; Line::frame_max(len) - 1];
        assert_eq!(line.seal(&mut memory, len), None);
        assert!(memory.iter().all(|byte| *byte == 7) && line.owes_announcement());
    }
    assert_eq!(line.seal(&mut [0; 64], usize::MAX), None);
    let _ = (Line::lead(usize::MAX), Line::frame_max(usize::MAX));
}

#[test]
fn bytes_that_come_one_by_one_are_looked_at_once() {
    let (mut near, mut far) = acquainted();
    let frame = seal(&mut near, b"slowly");
    let mut data = Vec::new();
    for byte in &frame[1..frame.len() - 1] {
        data.push(*byte);
        let before = data.clone();
        assert_eq!(far.receive(&mut data), Found { consumed: 0, restarted: false, what: What::NeedMore });
        assert_eq!(data, before, "an unfinished frame stays as it came");
    }
    data.push(0);
    let found = far.receive(&mut data);
    let What::Packet { start, end } = found.what else { panic!("{found:?}") };
    assert_eq!((&data[start..end], found.consumed), (&b"slowly"[..], data.len()));
}

#[test]
fn noise_on_an_idle_line_costs_no_frame() {
    let (mut near, mut far) = acquainted();
    let bytes = [&b"\xff\x03noise"[..], &seal(&mut near, b"one"), b"\x01", &seal(&mut near, b"two")].concat();
    assert_eq!(take(&mut far, &bytes), [packet("one"), packet("two")]);
    assert_eq!(far.stats().damaged, 2);
    assert_eq!(take(&mut far, &[0; 100]), [], "delimiters are nothing");
    assert_eq!(far.stats().damaged, 2);
}

#[test]
fn a_damaged_frame_is_dropped_and_the_next_one_found() {
    let (mut near, mut far) = acquainted();
    let (good, next) = (seal(&mut near, b"good\0\0"), seal(&mut near, b"next"));
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            bad.extend(&next);
            assert_eq!(take(&mut far, &bad), [packet("next")], "bit {bit} of byte {at}");
        }
    }
    // The last delimiter may be missing: the next frame begins with one.
    for cut in 0..good.len() - 1 {
        let bad = [&good[..cut], &next].concat();
        assert_eq!(take(&mut far, &bad), [packet("next")], "cut at {cut}");
    }
}

#[test]
fn frames_that_are_too_short_or_from_nobody_are_damaged() {
    let (_, mut far) = acquainted();
    // Seven bytes with a right check of the first three; a right frame from session 0.
    let short = [0, 4, b'a', b'b', b'c', 0x35, 0x24, 0x41, 0xc2, 0];
    assert_eq!(take(&mut far, &short), []);
    let mut plain = [0, 0, 0, 0xff, b'x', 0, 0, 0, 0];
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&plain[..5]);
    plain[5..].copy_from_slice(&crc.to_be_bytes());
    let mut nobody = [0; 16];
    let len = cobs::encode(&plain, &mut nobody[1..]);
    assert_eq!(take(&mut far, &nobody[..len + 2]), []);
    assert_eq!(far.stats().damaged, 2);
}

#[test]
fn what_the_owner_has_no_room_for_is_dropped_up_to_its_end() {
    let (mut near, mut far) = acquainted();
    let (long, next) = (seal(&mut near, &[9; 300]), seal(&mut near, b"next"));
    assert_eq!(take(&mut far, &long[..200]), []);
    far.overrun();
    let mut tail = long[200..250].to_vec();
    assert_eq!(far.receive(&mut tail).consumed, 50, "nothing of it is kept");
    assert_eq!(take(&mut far, &[&long[250..], &next].concat()), [packet("next")]);
    assert_eq!((far.stats().too_long, far.stats().damaged), (1, 0));
}

#[test]
fn a_start_is_announced_and_answered_once() {
    let (mut near, mut far) = (Line::new(session(1)), Line::new(session(2)));
    assert!(!near.owes_announcement());
    near.announce();
    assert!(near.owes_announcement());
    assert!(take(&mut far, &seal(&mut near, b"")).is_empty());
    assert!(!near.owes_announcement() && far.owes_announcement(), "the other one does not know it yet");
    assert!(take(&mut near, &seal(&mut far, b"")).is_empty());
    assert!(!near.owes_announcement() && !far.owes_announcement(), "and that is the end of it");
    assert_eq!((near.peer(), far.peer()), (Some(session(2)), Some(session(1))));
    assert_eq!(near.stats().restarts + far.stats().restarts, 0, "a first start is no restart");
}

#[test]
fn a_packet_before_the_first_answer_is_taken() {
    let (mut near, mut far) = (Line::new(session(1)), Line::new(session(2)));
    assert_eq!(take(&mut far, &seal(&mut near, b"early")), [packet("early")]);
    assert!(far.owes_announcement());
    assert_eq!(take(&mut near, &seal(&mut far, b"answer")), [packet("answer")]);
    assert!(!far.owes_announcement(), "any frame announces");
}

#[test]
fn a_restart_is_noticed_with_the_first_frame_and_late_answers_are_dropped() {
    let (_, mut far) = acquainted();
    let late = seal(&mut far, b"late answer");
    let mut near_again = Line::new(session(0x1235));
    assert_eq!(take(&mut near_again, &late), []);
    assert_eq!(near_again.stats().stale, 1);
    assert!(near_again.owes_announcement());
    assert_eq!(take(&mut far, &seal(&mut near_again, b"")), [None]);
    assert_eq!((far.stats().restarts, far.peer()), (1, Some(session(0x1235))));
    assert_eq!(take(&mut near_again, &seal(&mut far, b"fresh")), [packet("fresh")]);

    // With a packet at once, it comes with the restart.
    let mut near = Line::new(session(0x1236));
    assert_eq!(take(&mut far, &seal(&mut near, b"hello")), [None, packet("hello")]);
}

#[test]
fn a_peer_that_restarts_and_speaks_to_an_earlier_life_is_still_noticed() {
    let (_, mut far) = acquainted();
    let mut near_again = Line::new(session(0x4321));
    assert_eq!(take(&mut near_again, &seal(&mut far, b"x")), []);
    // The far end restarts as well, before it has heard that: what it gets is to its old life.
    let mut far_again = Line::new(session(0x0100));
    assert_eq!(take(&mut far_again, &seal(&mut near_again, b"y")), []);
    assert!(far_again.owes_announcement());
    assert_eq!(take(&mut near_again, &seal(&mut far_again, b"z")), [None, packet("z")]);
    assert_eq!(take(&mut far_again, &seal(&mut near_again, b"w")), [packet("w")]);
}
