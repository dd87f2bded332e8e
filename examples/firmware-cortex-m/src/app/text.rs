//! Numbers as text, which is what a person, a script and a page in a browser can all send

/// Reads a decimal number; spaces around it are fine
pub(super) fn number(text: &[u8]) -> Option<u32> {
    let digits = text.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_u32;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u32::from(value))?;
    }
    Some(number)
}

/// The first word, and what follows behind one space
pub(super) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    (word, rest.get(1..).unwrap_or_default())
}

/// A number as decimal text
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal {
    /// Ten digits are the most that a u32 has.
    digits: [u8; 10],
    start: usize,
}

impl Decimal {
    /// The text of `number`
    #[must_use]
    pub(super) fn new(number: u32) -> Self {
        let mut decimal = Self { digits: [b'0'; 10], start: 9 };
        let mut left = number;
        for (at, digit) in decimal.digits.iter_mut().enumerate().rev() {
            if left > 0 {
                *digit = b'0' + (left % 10) as u8;
                decimal.start = at;
                left /= 10;
            }
        }
        decimal
    }

    /// The digits, without zeros in front
    #[must_use]
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for n in [0, 1, 9, 10, 99, 100, 4095, 1_000_000, u32::MAX] {
            assert_eq!(number(Decimal::new(n).as_bytes()), Some(n));
        }
        assert_eq!(Decimal::new(u32::MAX).as_bytes(), b"4294967295");
        assert_eq!(Decimal::new(0).as_bytes(), b"0");
        for bad in [&b""[..], b" ", b"-1", b"4294967296", b"1 2", b"x"] {
            assert_eq!(number(bad), None);
        }
    }

    #[test]
    fn words_are_split_at_the_first_space() {
        assert_eq!(word(b"50 host.time a b"), (&b"50"[..], &b"host.time a b"[..]));
        assert_eq!(word(b"alone"), (&b"alone"[..], &b""[..]));
        assert_eq!(word(b""), (&b""[..], &b""[..]));
    }
}
