//! Serial lines: any packet at any split, damage of any kind, and the frame's parts against other implementations

use flyrpc_core::serial::Line;
use flyrpc_tests::Rng;
use flyrpc_tests::serial::{Receiver, crc32, frame};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The same cases in every run
fn seeded(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(2026), failure_persistence: None, ..Default::default() }
}

/// Packets of all kinds, few zeros and many, short and beyond several runs of COBS
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let sparse = prop::collection::vec(prop_oneof![5 => Just(0), 1 => any::<u8>()], 1..40);
    let dense = prop::collection::vec(1..=u8::MAX, 240..270);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..30),
        sparse,
        dense,
        prop::collection::vec(any::<u8>(), 1..1200)
    ]
}

/// Two ends that know each other
fn acquainted() -> (Receiver, Receiver) {
    let (mut near, mut far) = (Receiver::new(0x0011, 4096), Receiver::new(0x2200, 4096));
    far.push(&near.seal(b""));
    near.push(&far.seal(b""));
    (near, far)
}

proptest! {
    #![proptest_config(seeded(2000))]

    #[test]
    fn packets_come_back_at_any_split(
        packets in prop::collection::vec(packets(), 1..5),
        cuts in prop::collection::vec(1..50_usize, 1..20),
    ) {
        let (mut near, mut far) = acquainted();
        let bytes: Vec<u8> = packets.iter().flat_map(|packet| near.seal(packet)).collect();
        let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            far.push(piece);
            rest = later;
        }
        prop_assert_eq!(far.found, packets.into_iter().map(Some).collect::<Vec<_>>());
        prop_assert_eq!(far.line.stats().damaged, 0);
    }

    #[test]
    fn a_frame_is_what_other_programs_make_of_it(packet in packets(), from in 1..=u16::MAX, to: u16) {
        let mut near = Receiver::new(from, 64);
        if to != 0 {
            near.push(&frame(to, from, b""));
        }
        let sealed = near.seal(&packet);
        prop_assert_eq!(&sealed, &frame(from, to, &packet));
        prop_assert!(sealed.len() <= Line::frame_max(packet.len()));

        let mut plain = [&from.to_be_bytes()[..], &to.to_be_bytes(), &packet].concat();
        plain.extend(crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&plain).to_be_bytes());
        prop_assert_eq!(&sealed[1..sealed.len() - 1], &cobs::encode_vec(&plain)[..]);
    }

    #[test]
    fn damage_never_makes_a_packet_and_costs_no_later_frame(
        packets in prop::collection::vec(packets(), 1..4),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 1..12),
        lost in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        made_up in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let (mut near, mut far) = acquainted();
        let mut bytes: Vec<u8> = packets.iter().flat_map(|packet| near.seal(packet)).collect();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        for at in lost {
            bytes.remove(at.index(bytes.len()));
        }
        for (at, byte) in made_up {
            bytes.insert(at.index(bytes.len()), byte);
        }
        far.push(&bytes);
        for found in &far.found {
            let found = found.as_ref().expect("damage is no restart");
            prop_assert!(packets.contains(found), "never sent: {:x?}", found);
        }
        let before = far.found.len();
        far.push(&near.seal(b"the next one"));
        prop_assert_eq!(&far.found[before..], &[Some(b"the next one".to_vec())][..]);
    }
}

#[test]
fn the_check_is_the_usual_one() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(crc::CRC_32_ISO_HDLC.check, 0xcbf4_3926);
}

#[test]
fn a_noisy_line_passes_packets_or_drops_them() {
    // One bit in 2000 is wrong, in both directions, and each end restarts now and then.
    let mut rng = Rng::new(5);
    let mut ends = [Receiver::new(1, 512), Receiver::new(2, 512)];
    let (mut sent, mut came, mut session) = (0_u32, 0, 2);
    for round in 0..20_000_u32 {
        let (to, from) = (round as usize % 2, 1 - round as usize % 2);
        if rng.one_in(500) {
            session += 1;
            ends[from] = Receiver::new(session, 512);
        }
        let text = format!("{round} {}", "\0x".repeat(rng.below(60) as usize));
        let mut bytes = ends[from].seal(text.as_bytes());
        sent += 1;
        for byte in &mut bytes {
            if rng.one_in(250) {
                *byte ^= 1 << rng.below(8);
            }
        }
        ends[to].push(&bytes);
        for found in ends[to].found.drain(..).flatten() {
            // What was sent, or what an earlier round sent that had lost its delimiter.
            let text = String::from_utf8(found).expect("as it was sent");
            let (number, rest) = text.split_once(' ').expect("as it was sent");
            assert!(number.parse::<u32>().is_ok_and(|number| number <= round));
            assert!(rest.replace("\0x", "").is_empty());
            came += 1;
        }
    }
    assert!(came > sent / 2 && came < sent, "{came} of {sent}");
    let [near, far] = ends.map(|end| *end.line.stats());
    assert!(near.damaged > 0 && far.damaged > 0, "{near:?} {far:?}");
}

#[test]
fn of_two_lives_only_the_later_one_is_answered() {
    // Every order of frames in flight around a restart: no packet to an earlier life is ever taken.
    let (mut near, mut far) = acquainted();
    let mut in_flight = Vec::new();
    for number in 0..4 {
        in_flight.push(far.seal(format!("old {number}").as_bytes()));
    }
    for seen_before in 0..=4 {
        let (mut near, mut far) = (near.clone(), far.clone());
        for frame in &in_flight[..seen_before] {
            near.push(frame);
        }
        assert_eq!(near.found.len(), seen_before);
        let mut again = Receiver::new(0x0012, 4096);
        for frame in &in_flight[seen_before..] {
            again.push(frame);
        }
        assert_eq!(again.found, []);
        assert_eq!(again.line.stats().stale as usize, 4 - seen_before);
        far.push(&again.seal(b"I am new"));
        assert_eq!(far.found, [None, Some(b"I am new".to_vec())]);
        again.push(&far.seal(b"welcome"));
        assert_eq!(again.found, [Some(b"welcome".to_vec())]);
    }
    near.push(&in_flight[0]);
    assert_eq!(near.found, [Some(b"old 0".to_vec())], "without a restart they are taken");
}
