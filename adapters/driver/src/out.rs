//! Encoded packets on their way out

use core::ops::Range;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use flyrpc_core::{NoRoom, Sink};

/// Bodies of this many bytes and more are kept by reference instead of copied, where their owner holds them as [`Bytes`]
///
/// Copying costs less than one more part of a vectored write up to about here.
const BY_REFERENCE: usize = 16 << 10;

/// Most parts of one vectored write
pub(crate) const PARTS: usize = 32;

/// Buffers of up to this many bytes are kept for the next packets
const KEPT: usize = 64 << 10;

/// Encoded packets: heads and small bodies in one buffer, large bodies by reference between them
#[derive(Default)]
pub(crate) struct Out {
    small: Vec<u8>,
    /// Bytes of `small` that were sent
    sent: usize,
    /// Large bodies, each with the place in `small` that it comes before
    large: VecDeque<(usize, Bytes)>,
    /// Bytes in all that were not sent
    len: usize,
}

impl Out {
    /// Bytes that were not sent
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A sink that takes the body by reference when it is `keep`, and large
    pub(crate) const fn sink<'a>(&'a mut self, keep: Option<&'a Bytes>) -> OutSink<'a> {
        OutSink { out: self, keep }
    }

    /// What is to be written next, in up to [`PARTS`] parts
    pub(crate) fn parts<'a>(&'a self, parts: &mut [IoSlice<'a>; PARTS]) -> usize {
        let mut filled = 0;
        let mut add = |bytes: &'a [u8]| match parts.get_mut(filled) {
            Some(part) if !bytes.is_empty() => {
                *part = IoSlice::new(bytes);
                filled += 1;
                true
            }
            Some(_) => true,
            None => false,
        };
        let mut from = self.sent;
        for (at, body) in &self.large {
            if !add(self.bytes(from..*at)) || !add(body) {
                return filled;
            }
            from = *at;
        }
        add(self.bytes(from..self.small.len()));
        filled
    }

    /// The next `n` bytes were sent
    pub(crate) fn advance(&mut self, mut n: usize) {
        self.len = self.len.saturating_sub(n);
        while let Some((at, body)) = self.large.front_mut() {
            let before = (*at - self.sent).min(n);
            self.sent += before;
            n -= before;
            if self.sent < *at || n < body.len() {
                if self.sent == *at {
                    bytes::Buf::advance(body, n);
                }
                return;
            }
            n -= body.len();
            self.large.pop_front();
        }
        self.sent += n;
    }

    /// Forgets everything, and keeps the memory if it is not much
    pub(crate) fn clear(&mut self) {
        (self.sent, self.len) = (0, 0);
        self.large.clear();
        if self.small.capacity() > KEPT {
            self.small = Vec::new();
        } else {
            self.small.clear();
        }
    }

    /// Gives the memory back
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// All bytes, where nothing was kept by reference
    pub(crate) fn small(&self) -> &[u8] {
        self.bytes(self.sent..self.small.len())
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.small.get(range).unwrap_or_default()
    }
}

/// See [`Out::sink`]
pub(crate) struct OutSink<'a> {
    out: &'a mut Out,
    keep: Option<&'a Bytes>,
}

impl Sink for OutSink<'_> {
    #[inline]
    fn packet(&mut self, head: usize, body: &[u8], tail: &[u8]) -> Result<&mut [u8], NoRoom> {
        let Out { small, large, len, .. } = &mut *self.out;
        *len += head + body.len() + tail.len();
        match self.keep {
            Some(kept) if body.len() >= BY_REFERENCE && core::ptr::eq(&**kept, body) => {
                let start = small.len();
                small.resize(start + head, 0);
                large.push_back((start + head, kept.clone()));
                small.extend_from_slice(tail);
                Ok(small.get_mut(start..start + head).unwrap_or_default())
            }
            _ => small.packet(head, body, tail),
        }
    }
}

impl core::fmt::Debug for Out {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Out").field("len", &self.len).field("by_reference", &self.large.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(out: &Out) -> Vec<u8> {
        let mut parts = [IoSlice::new(&[]); PARTS];
        let n = out.parts(&mut parts);
        parts[..n].iter().flat_map(|part| part.to_vec()).collect()
    }

    #[test]
    fn heads_and_bodies_come_out_in_order_however_much_is_sent_at_a_time() {
        let large = Bytes::from(vec![7; BY_REFERENCE]);
        for step in [1, 2, 3, 1000, BY_REFERENCE, BY_REFERENCE + 1, 1 << 20] {
            let mut out = Out::default();
            out.sink(None).packet(2, b"abc", b"").unwrap().copy_from_slice(b"> ");
            out.sink(Some(&large)).packet(1, &large, b"").unwrap().copy_from_slice(b"#");
            out.sink(Some(&large)).packet(0, &large, b"!").unwrap();
            out.sink(Some(&large)).packet(1, b"end", b"").unwrap().copy_from_slice(b".");
            assert_eq!(out.large.len(), 2);
            let all = [&b"> abc#"[..], &large, &large, b"!.end"].concat();
            assert_eq!(out.len(), all.len());
            let mut sent = 0;
            while sent < all.len() {
                assert!(all[sent..].starts_with(&written(&out)[..1]), "at {sent}");
                assert_eq!(written(&out), all[sent..], "at {sent}");
                let n = step.min(all.len() - sent);
                out.advance(n);
                sent += n;
                assert_eq!(out.len(), all.len() - sent);
                if step == 1 && sent > 40 && sent < all.len() - 40 {
                    let skip = all.len() - 40 - sent;
                    out.advance(skip);
                    sent += skip;
                }
            }
            assert!(written(&out).is_empty());
        }
    }
}
