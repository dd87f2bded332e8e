//! Arbitrary bytes on a serial line

use flyrpc_core::fly::zip::decode_cobs;

use crate::serial::{Receiver, crc32, frame};

/// Bytes that a receiver has room for
const ROOM: [usize; 3] = [12, 64, 5000];

/// Gives `data` to receivers, whole and in pieces, and sends it as a packet
///
/// Nothing panics, however little room there is; the pieces do not matter where there is enough; what is taken for a packet has
/// a right check; the next intact frame is found whatever came before it; a packet comes back as it was.
pub fn serial_line(data: &[u8]) {
    for room in ROOM {
        let mut whole = Receiver::new(0x0102, room);
        whole.push(data);
        for packet in whole.found.iter().flatten() {
            assert!(is_in_a_frame(data, packet), "made up: {packet:x?}");
        }
        for piece in [1, 7] {
            let mut pieces = Receiver::new(0x0102, room);
            data.chunks(piece).for_each(|piece| pieces.push(piece));
            if room > data.len() {
                assert_eq!(pieces.found, whole.found, "in pieces of {piece}");
                assert_eq!(pieces.line.stats(), whole.line.stats());
            }
            pieces.push(&frame(0xabcd, 0x0102, b"x"));
            assert_eq!(pieces.found.last(), Some(&Some(b"x".to_vec())), "lost after noise");
        }
    }
    comes_back(data);
}

/// True if some bytes between two delimiters of `data` stand for `packet` with a right check
fn is_in_a_frame(data: &[u8], packet: &[u8]) -> bool {
    data.split(|byte| *byte == 0).any(|code| {
        let mut plain = vec![0; code.len()];
        let Some(plain) = decode_cobs(code, &mut plain) else { return false };
        let Some((covered, check)) = plain.split_last_chunk() else { return false };
        covered.get(4..) == Some(packet) && crc32(covered) == u32::from_be_bytes(*check)
    })
}

fn comes_back(packet: &[u8]) {
    let (mut near, mut far) = (Receiver::new(1, 64), Receiver::new(2, packet.len() + 300));
    let sealed = near.seal(packet);
    assert_eq!(sealed, frame(1, 0, packet), "not what others make of it");
    far.push(&sealed);
    let expected: Vec<_> = (!packet.is_empty()).then(|| Some(packet.to_vec())).into_iter().collect();
    assert_eq!(far.found, expected);
    assert_eq!(far.line.stats().taken, 1);
}
