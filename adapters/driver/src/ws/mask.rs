//! What a client's frames are masked with

use core::hash::BuildHasher;
use std::hash::RandomState;

/// Unpredictable masks: RFC 6455 section 5.3 wants none that an application could know beforehand
///
/// A counter under a keyed hash, whose key the system has given.
#[derive(Debug, Default)]
pub(super) struct Masks {
    key: RandomState,
    count: u64,
}

impl Masks {
    pub(super) fn next(&mut self) -> Mask {
        self.count = self.count.wrapping_add(1);
        let [a, b, c, d, ..] = self.key.hash_one(self.count).to_ne_bytes();
        Mask([a, b, c, d])
    }
}

/// A frame's mask, turned so that its first byte is for the next byte of the payload
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask(pub(super) [u8; 4]);

impl Mask {
    /// Masks, or unmasks, the next bytes of the payload
    pub(super) fn apply(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.0;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let mut chunks = bytes.chunks_exact_mut(8);
        for chunk in &mut chunks {
            if let Ok(eight) = <[u8; 8]>::try_from(&*chunk) {
                chunk.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
            }
        }
        let rest = chunks.into_remainder();
        for (byte, mask) in rest.iter_mut().zip(self.0.iter().cycle()) {
            *byte ^= mask;
        }
        self.0.rotate_left(rest.len() % 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p18_a_payload_is_masked_alike_however_it_is_cut() {
        let plain: Vec<u8> = (0..100).collect();
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let masked: Vec<u8> = plain.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        for step in 1..=plain.len() {
            let mut turned = Mask(mask);
            let mut bytes = plain.clone();
            bytes.chunks_mut(step).for_each(|piece| turned.apply(piece));
            assert_eq!(bytes, masked, "in pieces of {step}");
        }
    }

    #[test]
    fn masks_differ() {
        let mut masks = Masks::default();
        let first: Vec<_> = (0..8).map(|_| masks.next().0).collect();
        let mut others = Masks::default();
        let second: Vec<_> = (0..8).map(|_| others.next().0).collect();
        assert_ne!(first, second);
        assert!(first.iter().any(|mask| mask != &first[0]));
    }
}
