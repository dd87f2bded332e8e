//! Received bytes that were not handled yet

use core::ops::Range;

use bytes::{Bytes, BytesMut};

/// Payloads are slices of what was read, so a buffer that is still referred to is replaced, and one that is not is used
/// again
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    buf: BytesMut,
    /// The buffer before, which may be free again when this one is used up
    spare: BytesMut,
    /// A large packet's buffer, which may be free again for the next
    large: BytesMut,
    /// How long `buf` must be before there is anything to handle
    want: usize,
    /// Bytes to read at a time
    chunk: usize,
    /// What was read last is a large packet, in a buffer of its own
    own: bool,
    /// There is memory, if only what a buffer without room holds on to
    held: bool,
}

/// First read of a connection, in bytes: an idle connection that has said little holds little
const FIRST: usize = 256;
/// A read grows to this much while there is as much to read
const LARGEST: usize = 64 << 10;
/// Packets longer than this are read into a buffer of their own
const OWN_BUFFER: usize = 64 << 10;
/// Read behind a large packet, where another is to be expected: enough for its head, and little to copy
const HEAD: usize = 8 << 10;
/// A buffer with less room than this is replaced before the next read
const LEAST: usize = 128;
/// A header is believed this many times as much as has really come (P17)
const TRUST: usize = 256;

impl Inbox {
    pub(crate) fn data(&self) -> &[u8] {
        &self.buf
    }

    /// Is there enough to be handled?
    pub(crate) fn is_ready(&self) -> bool {
        !self.buf.is_empty() && self.buf.len() >= self.want
    }

    /// There is nothing to be handled before `want` bytes are there
    pub(crate) const fn needs(&mut self, want: usize) {
        self.want = want;
    }

    /// The next bytes were handled; a slice of them goes on living
    pub(crate) fn take(&mut self, consumed: usize) -> Bytes {
        self.handled(consumed);
        let taken = self.buf.split_to(consumed.min(self.buf.len())).freeze();
        if self.own && self.buf.is_empty() {
            self.large = core::mem::take(&mut self.buf);
        }
        taken
    }

    /// The next bytes were handled, and are of no interest any more
    pub(crate) fn skip(&mut self, consumed: usize) {
        self.handled(consumed);
        let len = self.buf.len();
        bytes::Buf::advance(&mut self.buf, consumed.min(len));
    }

    const fn handled(&mut self, consumed: usize) {
        self.want = 0;
        self.own = consumed > OWN_BUFFER;
    }

    /// Room for the next read
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        let len = self.buf.len();
        self.held = true;
        // One byte more is what is wanted where the end is not known; then it is room to grow that is.
        let is_known = self.want > len + 1 || self.want <= self.buf.capacity();
        if self.want > OWN_BUFFER && is_known {
            let trusted = self.want.min(TRUST * len.max(FIRST));
            if self.buf.capacity() < trusted {
                let mut own = core::mem::take(&mut self.large);
                own.clear();
                if !own.try_reclaim(trusted) {
                    own = BytesMut::with_capacity(trusted);
                }
                own.extend_from_slice(&self.buf);
                self.buf = own;
            }
        } else if self.own && len == 0 {
            if self.buf.capacity() == 0 {
                self.buf = BytesMut::with_capacity(HEAD);
            }
        } else {
            let missing = self.want.saturating_sub(len).max(LEAST);
            if self.buf.capacity() - len < missing {
                // Twice as much where the end of a long message is not known, so that it is not copied again and again.
                self.replace(self.chunk.max(FIRST).max(missing).max(len));
            }
        }
        &mut self.buf
    }

    /// Makes room for `more` bytes behind those that are there; in memory that was used before, where that is free again
    fn replace(&mut self, more: usize) {
        if self.buf.try_reclaim(more) {
            return;
        }
        let need = self.buf.len() + more;
        self.spare.clear();
        if !self.spare.try_reclaim(need) {
            self.spare = BytesMut::with_capacity(need);
        }
        self.spare.extend_from_slice(&self.buf);
        core::mem::swap(&mut self.buf, &mut self.spare);
    }

    /// `n` bytes were read into [`room`](Self::room)
    pub(crate) fn filled(&mut self, n: usize) {
        let full = self.buf.len() == self.buf.capacity();
        if full && self.want <= OWN_BUFFER && !self.own && n >= self.chunk.max(FIRST) / 2 {
            self.chunk = (self.chunk.max(FIRST) * 8).min(LARGEST);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.buf.clear();
        self.want = 0;
    }

    /// Is there memory that an idle connection need not keep?
    pub(crate) fn can_release(&self) -> bool {
        self.buf.is_empty() && self.held
    }

    pub(crate) fn release(&mut self) {
        if self.buf.is_empty() {
            *self = Self::default();
        }
    }
}

/// Where `part` lies in `whole`; both are of one allocation
pub(crate) fn range_of(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr().addr()).saturating_sub(whole.as_ptr().addr()).min(whole.len());
    start..(start + part.len()).min(whole.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_whose_end_is_not_known_is_read_in_few_steps() {
        let mut inbox = Inbox::default();
        let mut reads = 0;
        while inbox.data().len() < 4 << 20 {
            let room = inbox.room();
            let n = room.capacity() - room.len();
            room.resize(room.len() + n, b' ');
            inbox.filled(n);
            inbox.needs(inbox.data().len() + 1);
            reads += 1;
        }
        assert!(reads < 30, "{reads} reads");
    }

    #[test]
    fn a_long_message_of_known_length_gets_a_buffer_of_its_own_as_fast_as_it_comes_p17() {
        let mut inbox = Inbox::default();
        inbox.room().extend_from_slice(&[0; 100]);
        inbox.filled(100);
        inbox.needs(16 << 20);
        assert!(inbox.room().capacity() <= TRUST * FIRST, "a header is believed so much");
        inbox.room().extend_from_slice(&[0; 60_000]);
        assert_eq!(inbox.room().capacity(), TRUST * 60_100);
    }
}
