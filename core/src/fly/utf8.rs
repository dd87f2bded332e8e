//! Are these bytes UTF-8?

/// The answer of `core::str::from_utf8`, which takes 600 bytes of flash with its table; this takes a fifth
///
/// Codes are ASCII but for exceptions, which are looked for on the way to their end; only those come here.
#[cold]
pub(super) fn is_utf8(bytes: &[u8]) -> bool {
    let mut rest = bytes.iter();
    while let Some(&first) = rest.next() {
        // How many bytes follow, and within what the first of them lies (Unicode 15, table 3-7).
        let (more, low, high) = match first {
            0x00..=0x7f => continue,
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            _ => return false,
        };
        let (mut low, mut high) = (low, high);
        for _ in 0..more {
            match rest.next() {
                Some(&byte) if (low..=high).contains(&byte) => (low, high) = (0x80, 0xbf),
                _ => return false,
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_utf8;

    #[test]
    fn every_sequence_of_up_to_four_bytes_is_judged_as_the_standard_library_does() {
        // The bytes at which the rules change, and their neighbours.
        const EDGES: [u8; 26] = [
            0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec,
            0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff,
        ];
        for a in EDGES {
            for b in EDGES {
                for c in EDGES {
                    for d in EDGES {
                        let bytes = [a, b, c, d];
                        for len in 0..=4 {
                            let bytes = &bytes[..len];
                            assert_eq!(is_utf8(bytes), core::str::from_utf8(bytes).is_ok(), "{bytes:02x?}");
                        }
                    }
                }
            }
        }
    }
}
