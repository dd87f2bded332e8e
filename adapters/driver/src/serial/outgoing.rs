//! Outgoing bytes, cut into packets, each in its frame

use core::task::{Context, Poll, ready};
use std::io::{self, ErrorKind, IoSlice};

use flyrpc_core::fly::decode_head;
use flyrpc_core::serial::Line;

use crate::runtime::Transport;

/// Takes packets, cut anywhere, and gives frames for the line
#[derive(Default)]
pub(super) struct Outgoing {
    /// The packet that is not whole yet
    packet: Vec<u8>,
    /// Its length, as far as it is known
    want: usize,
    /// Whole frames
    out: Vec<u8>,
    /// Bytes of `out` that were written
    sent: usize,
    /// Bytes that were taken, and are not all written yet
    unreported: usize,
}

/// Bytes to take at a time, unless one packet is longer
const MOST: usize = 64 << 10;
/// An idle line keeps no larger buffers than this
const KEPT: usize = 4 << 10;

impl Outgoing {
    /// Takes bytes of packets, as far as there is room; they count as not [written](Self::written) until all frames are
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] for what is no packet
    pub(super) fn take(&mut self, line: &mut Line, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let most = self.want.max(MOST);
        for part in parts {
            let n = part.len().min(most.saturating_sub(self.packet.len()));
            self.packet.extend_from_slice(part.get(..n).unwrap_or_default());
            self.unreported += n;
        }
        self.cut(line)
    }

    /// Makes frames of the packets that are whole
    fn cut(&mut self, line: &mut Line) -> io::Result<()> {
        let mut done = 0;
        loop {
            let rest = self.packet.get(done..).unwrap_or_default();
            let Ok(head) = decode_head(rest, usize::MAX) else { return Err(ErrorKind::InvalidData.into()) };
            self.want = match head {
                Ok(head) => usize::try_from(head.payload_len).unwrap_or(usize::MAX).saturating_add(head.len),
                Err(at_least) => at_least,
            };
            let (Ok(_), Some(packet)) = (head, rest.get(..self.want)) else { break };
            seal(line, packet, &mut self.out);
            done += self.want;
        }
        self.packet.drain(..done);
        Ok(())
    }

    /// Sends an announcement if one is due, and nothing else that would do is on its way
    pub(super) fn announce(&mut self, line: &mut Line) {
        if line.owes_announcement() && self.out.is_empty() {
            seal(line, &[], &mut self.out);
        }
    }

    /// Writes the frames
    pub(super) fn poll_flush<T: Transport>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let bytes = self.out.get(self.sent..).unwrap_or_default();
            let n = ready!(io.poll_write(cx, &[IoSlice::new(bytes)]))?;
            if n == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        self.sent = 0;
        self.out.clear();
        for buffer in [&mut self.out, &mut self.packet] {
            if buffer.capacity() > KEPT && buffer.len() <= KEPT {
                buffer.shrink_to(KEPT);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Is there something that was [taken](Self::take) and was not told as [written](Self::written)?
    pub(super) const fn has_unreported(&self) -> bool {
        self.unreported > 0
    }

    /// How many bytes were taken and have not been asked for before; after a flush
    pub(super) const fn written(&mut self) -> usize {
        core::mem::replace(&mut self.unreported, 0)
    }
}

/// Appends the frame of a packet
fn seal(line: &mut Line, packet: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + Line::lead(packet.len()), 0);
    out.extend_from_slice(packet);
    out.resize(start + Line::frame_max(packet.len()), 0);
    let sealed = out.get_mut(start..).and_then(|memory| line.seal(memory, packet.len()));
    out.truncate(start + sealed.unwrap_or(0));
}
