//! A wire in pieces, a wire with noise

use core::time::Duration;

use flyrpc_tests::Rng;
use flyrpc_tokio::{Error, Peer};

use crate::Framing;
use crate::rig::{Host, PATIENCE, Rig};

fn payload(rng: &mut Rng) -> Vec<u8> {
    (0..rng.below(24)).map(|_| rng.next() as u8).collect()
}

pub(crate) async fn ten_thousand_round_trips_in_pieces(rig: &mut Rig) {
    rig.wire.up.split();
    rig.wire.down.split();
    let host = rig.host().await;
    let lanes = (0..4).map(|seed| {
        let peer = host.peer();
        tokio::spawn(async move {
            let mut rng = Rng::new(seed);
            for round in 0..2500 {
                let sent = payload(&mut rng);
                let answer = peer.call("echo", &sent[..]).within(PATIENCE).await;
                assert_eq!(answer.unwrap_or_else(|error| panic!("round {round}: {error:?}")), sent);
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
    assert_eq!(host.stats().unknown_replies + host.stats().late_replies + host.stats().invalid, 0);
}

/// Calls that succeeded; each failed one must have failed in time
async fn disturbed(peer: Peer, seed: u64) -> usize {
    let mut rng = Rng::new(seed);
    let mut right = 0;
    for _ in 0..30 {
        let sent = payload(&mut rng);
        match peer.call("echo", &sent[..]).within(Duration::from_millis(250)).await {
            Ok(answer) => {
                assert_eq!(answer, sent, "a wrong answer");
                right += 1;
            }
            Err(Error::TimedOut) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    right
}

pub(crate) async fn noise_makes_no_wrong_answer(rig: &mut Rig) {
    let host = rig.host().await;
    assert_eq!(host.call("echo", "quiet").within(PATIENCE).await.unwrap(), "quiet");
    for flips in [300, 3_000, 10_000] {
        rig.wire.up.noise(flips);
        rig.wire.down.noise(flips);
        let lanes: Vec<_> = (0..6).map(|seed| tokio::spawn(disturbed(host.peer(), seed))).collect();
        let mut right = 0;
        for lane in lanes {
            right += lane.await.unwrap();
        }
        // At the last rate about every second call is hit.
        assert!(right > 36, "only {right} of 180 calls succeeded with {flips} flips in a million bytes");
    }
    assert!(rig.wire.up.flipped() > 20 && rig.wire.down.flipped() > 20, "there was noise");
    rig.wire.up.noise(0);
    rig.wire.down.noise(0);
    assert_eq!(host.call("echo", "quiet again").within(PATIENCE).await.unwrap(), "quiet again");
    assert_eq!(host.call("burst", "4").within(PATIENCE).await.unwrap(), "1111");
}

pub(crate) async fn garbage_is_got_over(rig: &mut Rig) {
    let host = rig.host().await;
    let mut rng = Rng::new(7);
    let noise: Vec<u8> = (0..700).map(|_| rng.next() as u8).collect();
    let pieces: [&[u8]; 6] =
        [b"x", b"\x40\x00\x05ec", &[b'a'; 300], &[0; 300], b"\x40\x00\x01echo\x00\x7fshort", &noise];
    for garbage in pieces {
        rig.wire.inject(garbage).await;
        recovers(&host, rig.framing).await;
    }
}

/// With frames the next call goes through; without, the first one may be eaten, until the line was silent for a while
async fn recovers(host: &Host, framing: Framing) {
    let tries = if framing == Framing::Cobs { 1 } else { 20 };
    for _ in 0..tries {
        let within = if framing == Framing::Cobs { PATIENCE } else { Duration::from_millis(400) };
        match host.call("echo", "found again").within(within).await {
            Ok(answer) => return assert_eq!(answer, "found again"),
            Err(Error::TimedOut | Error::Remote(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("no answer any more");
}
