//! A buffer between a byte stream and [`Connection::handle_input`](crate::Connection::handle_input)

/// Received bytes that have not been handled yet
///
/// The loop of every stream adapter: read into [`space`](Self::space), say how much came with
/// [`filled`](Self::filled), hand [`data`](Self::data) to the connection, drop what a step used up with
/// [`consume`](Self::consume). The memory is the caller's choice: an array, a slice, or (feature `alloc`) a vector that
/// [`grow`](RecvBuf::grow) enlarges for a large packet and [`shrink`](RecvBuf::shrink) gives back.
///
/// ```
/// let mut buf = flyrpc_core::RecvBuf::new([0; 16]);
/// buf.space()[..3].copy_from_slice(b"abc");
/// buf.filled(3);
/// buf.consume(1);
/// assert_eq!(buf.data(), b"bc");
/// ```
#[derive(Clone)]
pub struct RecvBuf<B> {
    memory: B,
    start: usize,
    end: usize,
}

/// Says how much is there, and nothing of what it is (P22)
impl<B> core::fmt::Debug for RecvBuf<B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RecvBuf").field("start", &self.start).field("end", &self.end).finish_non_exhaustive()
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> RecvBuf<B> {
    /// An empty buffer over `memory`
    #[must_use]
    pub const fn new(memory: B) -> Self {
        Self { memory, start: 0, end: 0 }
    }

    /// Where the next bytes go; empty only when the buffer is full of unhandled data
    ///
    /// Moves unhandled data to the front when the space behind it has run out.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 && (self.start == self.end || self.end == self.memory.as_ref().len()) {
            self.compact();
        }
        self.memory.as_mut().get_mut(self.end..).unwrap_or_default()
    }

    /// Moves unhandled data to the front, so that all the space is behind it
    pub fn compact(&mut self) {
        to_front(self.memory.as_mut(), self.start, self.end);
        self.end -= self.start;
        self.start = 0;
    }

    /// Says that `n` bytes were written to the front of [`space`](Self::space)
    pub fn filled(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(self.memory.as_ref().len());
    }

    /// Drops `n` bytes from the front of [`data`](Self::data)
    pub fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
    }

    /// The bytes received and not yet consumed
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.memory.as_ref().get(self.start..self.end).unwrap_or_default()
    }

    /// The same, for a layer that decodes in place
    pub fn data_mut(&mut self) -> &mut [u8] {
        self.memory.as_mut().get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Is there nothing unhandled?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How many bytes the memory holds in all
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.as_ref().len()
    }
}

/// Moves `memory[start..end]` to the front
///
/// Where there is no heap the buffers are small, and so should the code be: `memmove` alone takes 1.5 KiB of flash on a
/// Cortex-M3. An exchange of bytes can't be mistaken for one by the compiler.
fn to_front(memory: &mut [u8], start: usize, end: usize) {
    if crate::IS_FAST {
        memory.copy_within(start..end, 0);
        return;
    }
    let mut rest = memory.get_mut(..end).unwrap_or_default();
    // Each byte changes places with the one `start` before it.
    while rest.len() > start {
        if let Some([to, .., from]) = rest.get_mut(..=start) {
            core::mem::swap(to, from);
        }
        rest = rest.get_mut(1..).unwrap_or_default();
    }
}

#[cfg(feature = "alloc")]
impl RecvBuf<alloc::vec::Vec<u8>> {
    /// Makes room to read on when there is none, towards data of `total` bytes as
    /// [`What::NeedMore`](crate::What::NeedMore) asks for
    ///
    /// It grows with what has really come, never with what a header announces (P17): by one step to `least` bytes, or to
    /// twice what it was. A total of one byte more than there is says that the end is not known: it grows to twice then, too.
    pub fn grow(&mut self, total: usize, least: usize) {
        if self.space().is_empty() {
            let capacity = self.capacity();
            let twice = capacity.saturating_mul(2).max(1);
            let is_known = total > capacity + 1;
            self.reserve(if is_known { total.min(twice) } else { twice }.max(least));
        }
    }

    /// Makes sure that data of `total` bytes fits, all at once
    pub fn reserve(&mut self, total: usize) {
        if total > self.memory.len() {
            self.memory.drain(..self.start);
            self.end -= self.start;
            self.start = 0;
            self.memory.resize(total, 0);
        }
    }

    /// Gives memory beyond `capacity` bytes back while nothing unhandled lies there
    pub fn shrink(&mut self, capacity: usize) {
        if self.start == self.end && self.memory.len() > capacity {
            (self.start, self.end) = (0, 0);
            self.memory.truncate(capacity);
            self.memory.shrink_to(capacity);
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::RecvBuf;

    #[test]
    fn what_has_no_known_end_is_read_in_few_steps() {
        let mut buf = RecvBuf::new(alloc::vec![0; 4096]);
        let mut reads = 0;
        while buf.data().len() < 4 << 20 {
            buf.grow(buf.data().len() + 1, 65_536);
            let n = buf.space().len();
            buf.filled(n);
            reads += 1;
        }
        assert!(reads < 20, "{reads} reads");
    }

    #[test]
    fn an_announced_length_is_believed_twice_what_has_come() {
        let mut buf = RecvBuf::new(alloc::vec![0; 1024]);
        buf.filled(1024);
        buf.grow(1 << 30, 0);
        assert_eq!(buf.capacity(), 2048);
        buf.filled(1024);
        buf.grow(2100, 0);
        assert_eq!(buf.capacity(), 2100);
    }
}
