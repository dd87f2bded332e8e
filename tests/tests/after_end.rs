//! What an owner's loop sees once the input has ended: it comes to an end

use flyrpc_core::{Connection, Instant, Limits, Table, What, fly::Fly};

type Peer = Connection<Fly, Table<u32>>;

/// `handle_input` until it needs more, as `Connection`'s documentation says
fn drive(peer: &mut Peer, mut input: &[u8]) -> bool {
    for _ in 0..10 {
        let Ok(step) = peer.handle_input(Instant::ZERO, input) else { return false };
        if matches!(step.what, What::NeedMore { .. }) {
            return input.is_empty();
        }
        input = &input[step.consumed..];
    }
    false
}

#[test]
fn the_loop_of_an_owner_ends_after_the_end_of_the_input() {
    let mut peer = Peer::new(Fly::default(), Limits::new());
    peer.handle_eof(Instant::ZERO);
    assert!(drive(&mut peer, b""));
    assert!(drive(&mut peer, b"passed over"));
    let mut peer = Peer::new(Fly::default(), Limits::new());
    peer.close();
    assert!(drive(&mut peer, b"passed over"));
}
