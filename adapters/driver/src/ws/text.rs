//! UTF-8 that comes in pieces

/// Checks text that may be cut anywhere, also within a character
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character whose rest is to come
    begun: [u8; 4],
    len: u8,
}

impl Utf8 {
    /// Can the text go on like this?
    #[must_use]
    pub(super) fn accepts(&mut self, mut piece: &[u8]) -> bool {
        while self.len > 0 {
            let Some((first, rest)) = piece.split_first() else { return true };
            piece = rest;
            let Some(place) = self.begun.get_mut(usize::from(self.len)) else { return false };
            *place = *first;
            self.len += 1;
            match core::str::from_utf8(self.begun()) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        let Err(error) = core::str::from_utf8(piece) else { return true };
        let tail = piece.get(error.valid_up_to()..).unwrap_or_default();
        let Some(begun) = self.begun.get_mut(..tail.len()) else { return false };
        if error.error_len().is_some() {
            return false;
        }
        begun.copy_from_slice(tail);
        self.len = u8::try_from(tail.len()).unwrap_or_default();
        true
    }

    /// May the text end here?
    pub(super) const fn is_whole(self) -> bool {
        self.len == 0
    }

    fn begun(&self) -> &[u8] {
        self.begun.get(..usize::from(self.len)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Is it text, fed in pieces of `step` bytes?
    fn is_text(bytes: &[u8], step: usize) -> bool {
        let mut utf8 = Utf8::default();
        bytes.chunks(step).all(|piece| utf8.accepts(piece)) && utf8.is_whole()
    }

    #[test]
    fn p18_text_is_the_same_text_however_it_is_cut() {
        let cases: [&[u8]; 9] = [
            b"",
            b"plain",
            "größer, 日本語, 🦀🦀".as_bytes(),
            b"cut off \xf0\x9f\xa6",
            b"\x80 alone",
            b"overlong \xc0\xaf",
            b"surrogate \xed\xa0\x80",
            b"too high \xf4\x90\x80\x80",
            b"\xe6\x97x",
        ];
        for case in cases {
            let expected = core::str::from_utf8(case).is_ok();
            for step in 1..=case.len().max(1) {
                assert_eq!(is_text(case, step), expected, "{case:x?} in pieces of {step}");
            }
        }
    }
}
