//! Where outgoing bytes go, and a buffer for incoming ones

use core::fmt;

/// A place for outgoing packets that reserves before it writes
///
/// The core hands over one packet at a time: some header bytes, which it fills in through the slice it gets back, a body
/// behind them, and what the dialect puts behind that. A sink takes all of it or nothing, so a refused packet leaves no
/// trace: the core then spends no sequence and gives the caller's tag back.
///
/// A sink may copy the body, or recognise it as a large buffer that its owner holds anyway and keep a reference, so that
/// the parts go out in one vectored write.
pub trait Sink {
    /// Appends `head` bytes (their content is the caller's to fill in), then `body`, then `tail`
    ///
    /// # Errors
    /// [`NoRoom`] when they do not fit; nothing was appended.
    fn packet(&mut self, head: usize, body: &[u8], tail: &[u8]) -> Result<&mut [u8], NoRoom>;
}

/// A sink has too little room; nothing was written
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NoRoom {
    /// Bytes that the packet takes
    pub need: usize,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the sink has no room for a packet of {} bytes", self.need)
    }
}

impl core::error::Error for NoRoom {}

/// A sink over a slice of the caller's
///
/// ```
/// use flyrpc_core::{Sink, SliceSink};
///
/// let mut memory = [0; 8];
/// let mut sink = SliceSink::new(&mut memory);
/// sink.packet(2, b"abc", b"").unwrap().copy_from_slice(b"> ");
/// assert_eq!(sink.written(), b"> abc");
/// assert_eq!(sink.packet(2, b"no", b"").unwrap_err().need, 4);
/// assert_eq!(sink.written(), b"> abc");
/// ```
pub struct SliceSink<'m> {
    memory: &'m mut [u8],
    len: usize,
}

/// Says how much was written, and nothing of what it is (P22)
impl fmt::Debug for SliceSink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SliceSink").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<'m> SliceSink<'m> {
    /// An empty sink that writes into `memory`
    #[must_use]
    pub const fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, len: 0 }
    }

    /// The bytes written so far
    #[must_use]
    pub fn written(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or_default()
    }

    /// Forgets what was written
    pub const fn clear(&mut self) {
        self.len = 0;
    }
}

impl Sink for SliceSink<'_> {
    #[inline]
    fn packet(&mut self, head: usize, body: &[u8], tail: &[u8]) -> Result<&mut [u8], NoRoom> {
        let need = head.saturating_add(body.len()).saturating_add(tail.len());
        let packet =
            self.memory.get_mut(self.len..).and_then(|room| room.get_mut(..need)).ok_or(NoRoom { need })?;
        let (header, rest) = packet.split_at_mut_checked(head).ok_or(NoRoom { need })?;
        let (place, end) = rest.split_at_mut_checked(body.len()).ok_or(NoRoom { need })?;
        copy(place, body);
        copy(end, tail);
        self.len += need;
        Ok(header)
    }
}

/// `copy_from_slice` for slices that are as long as each other already: it brings no panic along for those that are not
#[inline]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// The packet is appended where it fits whole
impl<const N: usize> Sink for heapless::Vec<u8, N> {
    #[inline]
    fn packet(&mut self, head: usize, body: &[u8], tail: &[u8]) -> Result<&mut [u8], NoRoom> {
        let (start, need) = (self.len(), head.saturating_add(body.len()).saturating_add(tail.len()));
        if need > N - start {
            return Err(NoRoom { need });
        }
        let appended = self.resize(start + head, 0).is_ok()
            && self.extend_from_slice(body).is_ok()
            && self.extend_from_slice(tail).is_ok();
        match self.get_mut(start..start + head) {
            Some(header) if appended => Ok(header),
            _ => Err(NoRoom { need }),
        }
    }
}

/// The vector grows as needed: it never answers [`NoRoom`]
#[cfg(feature = "alloc")]
impl Sink for alloc::vec::Vec<u8> {
    #[inline]
    fn packet(&mut self, head: usize, body: &[u8], tail: &[u8]) -> Result<&mut [u8], NoRoom> {
        let (start, end) = (self.len(), self.len() + head);
        if head > BLANK.len() {
            return if head > LONG_BLANK.len() {
                long_head(self, head, body, tail)
            } else {
                self.extend_from_slice(&LONG_BLANK);
                self.truncate(end);
                self.extend_from_slice(body);
                self.extend_from_slice(tail);
                Ok(self.get_mut(start..end).unwrap_or_default())
            };
        }
        // A copy of fixed length is two instructions; filling to a length that is not known is a call.
        self.extend_from_slice(&BLANK);
        self.truncate(end);
        self.extend_from_slice(body);
        if !tail.is_empty() {
            self.extend_from_slice(tail);
        }
        Ok(self.get_mut(start..end).unwrap_or_default())
    }
}

/// Room for a head of usual length
#[cfg(feature = "alloc")]
const BLANK: [u8; 32] = [0; 32];

/// Room for a head with words in it, as text protocols have
#[cfg(feature = "alloc")]
const LONG_BLANK: [u8; 128] = [0; 128];

#[cfg(feature = "alloc")]
#[cold]
fn long_head<'v>(
    out: &'v mut alloc::vec::Vec<u8>,
    head: usize,
    body: &[u8],
    tail: &[u8],
) -> Result<&'v mut [u8], NoRoom> {
    let start = out.len();
    out.reserve(head + body.len() + tail.len());
    out.resize(start + head, 0);
    out.extend_from_slice(body);
    out.extend_from_slice(tail);
    Ok(out.get_mut(start..start + head).unwrap_or_default())
}
