//! Arbitrary bytes as packets

use flyrpc_core::fly::{Flag, Head, RawPacket, decode_head};
use flyrpc_core::{NoRoom, SliceSink, WireError};

/// Limits that arbitrary bytes are read under: code, payload
const LIMITS: [(usize, u64); 4] = [(1024, 1 << 20), (8, 16), (1, 0), (0, u64::MAX)];

/// Reads `data` as packets one behind the other, under several limits
///
/// Decoding never panics and never hands out more than the limits; what it asks for and where it puts the blame is exact;
/// what it reads is written as the same bytes again, or, where the length was not in its shortest form, as an equal packet.
pub fn wire(data: &[u8]) {
    for (max_code, max_payload) in LIMITS {
        let mut rest = data;
        while let Some(len) = packet(rest, max_code, max_payload) {
            rest = &rest[len..];
        }
    }
}

/// Checks the packet at the front and tells its length, if there is a whole one
fn packet(input: &[u8], max_code: usize, max_payload: u64) -> Option<usize> {
    let head = match decode_head(input, max_code) {
        Ok(Ok(head)) => head,
        Ok(Err(at_least)) => {
            asks_for_no_more_than_it_needs(input, max_code, at_least);
            assert_eq!(RawPacket::decode(input, max_code, max_payload), Ok(None));
            return None;
        }
        Err(fault) => {
            assert_eq!(fault.what, WireError::MethodTooLong);
            assert_eq!(fault.at as usize, 3 + max_code);
            assert!(!input[3..=fault.at as usize].contains(&0), "there was an end of the code");
            assert_eq!(RawPacket::decode(input, max_code, max_payload), Err(fault));
            return None;
        }
    };
    is_what_the_bytes_say(&head, input, max_code);
    match RawPacket::decode(input, max_code, max_payload) {
        Err(fault) => {
            assert_eq!(fault.what, WireError::BodyTooLong);
            assert!(head.payload_len > max_payload);
            assert_eq!(fault.at as usize, head.len - head.flag.length_width());
            None
        }
        Ok(None) => {
            assert!(head.payload_len > (input.len() - head.len) as u64);
            None
        }
        Ok(Some((packet, len))) => {
            assert!(packet.payload.len() as u64 <= max_payload && packet.code.len() <= max_code);
            assert_eq!(packet.payload.len() as u64, head.payload_len);
            assert_eq!(packet.payload, &input[head.len..len]);
            for cut in [len - 1, len / 2, head.len, head.len - 1] {
                let whole = cut == len;
                let cut = RawPacket::decode(&input[..cut], max_code, max_payload);
                assert_eq!(cut.map(|found| found.is_some()), Ok(whole), "the packet is cut short");
            }
            is_written_again(&packet, &input[..len]);
            Some(len)
        }
    }
}

/// With 0x00 behind it, which ends the code as soon as possible, the head is complete after `at_least` bytes and no sooner;
/// unless so many bytes decide already that the code is too long
fn asks_for_no_more_than_it_needs(input: &[u8], max_code: usize, at_least: usize) {
    assert!(at_least > input.len());
    let decisive = 3 + max_code + 1;
    assert!(at_least <= decisive + 8, "asks for more than the longest head");
    let mut padded = input.to_vec();
    padded.resize(at_least - 1, 0);
    assert!(matches!(decode_head(&padded, max_code), Ok(Err(_))));
    padded.push(0);
    // Before the sequence is there, the flag may still say that the length is wider than one byte.
    let complete = matches!(decode_head(&padded, max_code), Ok(Ok(_)));
    assert!(input.len() < 3 || complete || at_least == decisive);
    if input.len() >= 3 && !input[3..].contains(&0) {
        let mut endless = input.to_vec();
        endless.resize(decisive, b'c');
        assert!(at_least <= decisive && decode_head(&endless, max_code).is_err(), "the code is too long");
    }
}

fn is_what_the_bytes_say(head: &Head<'_>, input: &[u8], max_code: usize) {
    assert_eq!(head.flag, Flag(input[0]));
    assert_eq!(head.sequence, u16::from(input[1]) << 8 | u16::from(input[2]));
    let end = 3 + head.code.len();
    assert!(head.code.len() <= max_code && !head.code.contains(&0));
    assert_eq!((head.code, input[end]), (&input[3..end], 0));
    assert_eq!(head.ascii, head.code.is_ascii());
    let width = [1, 2, 4, 8][usize::from(input[0] & 3)];
    assert_eq!(head.len, end + 1 + width);
    let len = input[end + 1..head.len].iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
    assert_eq!(head.payload_len, len);
}

fn is_written_again(packet: &RawPacket<'_>, wire: &[u8]) {
    let mut again = Vec::new();
    assert_eq!(packet.encode(&mut again), Ok(()));
    assert_eq!(again.len(), packet.encoded_len());
    if again.len() == wire.len() {
        assert_eq!(again, wire);
    } else {
        assert!(again.len() < wire.len(), "the shortest form is not the shortest");
        let (back, len) =
            RawPacket::decode(&again, usize::MAX, u64::MAX).expect("readable").expect("complete");
        assert_eq!(len, again.len());
        assert_eq!(back.flag.0 & !3, packet.flag.0 & !3);
        assert_eq!((back.sequence, back.code, back.payload), (packet.sequence, packet.code, packet.payload));
    }
    let need = again.len();
    let mut memory = vec![0; need];
    let mut exact = SliceSink::new(&mut memory);
    assert_eq!(packet.encode(&mut exact), Ok(()));
    assert_eq!(exact.written(), again);
    let mut narrow = SliceSink::new(&mut memory[1..]);
    assert_eq!(packet.encode(&mut narrow), Err(NoRoom { need }));
    assert_eq!(narrow.written(), b"", "a refused packet leaves a trace");
}
