//! One end of a line: the connection, its buffers, and what comes in

use flyrpc_core::fly::{Base, codes};
use flyrpc_core::{Incoming, Instant, Limits, RecvBuf, Slots, State, What};

use crate::link::{Found, Link};
use crate::{Ended, Event, Flavour, Peer, Token};

/// One end of a line, without input and output, clock and heap
///
/// It lives in memory of its owner's: the receive and the transmit buffer are slices, usually of statics. `S` is the table
/// of its own calls: [`Calls<T, N>`](crate::Calls) for up to `N` at a time, each with a tag of type `T`, or
/// [`NoCalls`](crate::NoCalls). `D` is what is spoken: [`Base`] by default, or [`Raw`](crate::Raw) with `$hello` and `$cancel`, for
/// 1.2 KiB of flash more.
///
/// Three ways to drive it: [`poll_io`](Self::poll_io) over a UART of `embedded-io`'s, from a plain loop; byte by byte from interrupts with
/// [`space`](Self::space), [`received`](Self::received), [`unsent`](Self::unsent), [`sent`](Self::sent) and [`poll`](Self::poll); or
/// shared between async tasks (feature `async`).
#[derive(Debug)]
pub struct Node<'m, L: Link, S: Slots, D: Flavour = Base> {
    peer: Peer<'m, L, S, D>,
    rx: RecvBuf<&'m mut [u8]>,
    /// When the latest bytes came
    heard: Instant,
    /// What comes is dropped until the line is silent
    deaf: bool,
}

impl<'m, L: Link, S: Slots, D: Flavour> Node<'m, L, S, D> {
    /// A node over `link`, with its two buffers
    ///
    /// The longest payload that is taken follows from the receive buffer: its size less the link's part, the packet's head and the
    /// longest code, which is 32 bytes. At most eight requests may wait for their answers. Both buffers must have at least 64 bytes,
    /// with frames 80, which is checked while compiling; with a plain link, take 16 bytes and the code more than the longest payload.
    #[must_use]
    pub fn new<const RX: usize, const TX: usize>(
        link: L,
        rx: &'m mut [u8; RX],
        tx: &'m mut [u8; TX],
    ) -> Self {
        const { assert!(RX >= L::LEAST && TX >= L::LEAST, "the buffers of a node have 64 bytes, with frames 80") }
        let code: u16 = 32;
        // What a frame adds to a packet that fills the buffer.
        let frame = L::frame_max(RX) - RX;
        // Flag, sequence, the end of the code, and a length of at most four bytes.
        let payload = RX.saturating_sub(frame + usize::from(code) + 4 + 4);
        let limits = Limits::new().max_payload(payload as u32).max_method(code).max_unanswered(8);
        Self { peer: Peer::new(link, limits, tx), rx: RecvBuf::new(rx), heard: Instant::ZERO, deaf: false }
    }

    /// What the application can do between two polls
    pub const fn peer(&mut self) -> &mut Peer<'m, L, S, D> {
        &mut self.peer
    }

    /// Where the bytes go that come next; empty while the buffer is full
    pub fn space(&mut self) -> &mut [u8] {
        self.rx.space()
    }

    /// `n` bytes have come into [`space`](Self::space)
    pub fn received(&mut self, now: Instant, n: usize) {
        if n == 0 {
            return;
        }
        self.check_gap(now);
        self.heard = self.heard.max(now);
        if !self.deaf {
            self.rx.filled(n);
        }
    }

    /// What is to be sent next
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        self.peer.tx.data()
    }

    /// `n` bytes of [`unsent`](Self::unsent) were sent
    pub fn sent(&mut self, n: usize) {
        self.peer.tx.consume(n);
    }

    /// Deals with what has come, and with the time
    ///
    /// Each thing for the application is handed to `handler` with the [`Peer`] to answer and call by. A request is
    /// handed out when everything before has been sent, so that each answer finds the whole transmit buffer: send
    /// [`unsent`](Self::unsent), then poll again. It returns when nothing more can be done before bytes come, bytes are sent, or
    /// [`poll_timeout`](Self::poll_timeout).
    pub fn poll(&mut self, now: Instant, mut handler: impl FnMut(&mut Peer<'m, L, S, D>, Event<'_, S::Tag>)) {
        self.peer.now = self.peer.now.max(now);
        self.peer.conn.handle_timeout(now);
        self.check_gap(now);
        loop {
            self.peer.settle(&mut handler);
            if !self.peer.tx.data().is_empty() {
                return;
            }
            let data = self.rx.data_mut();
            let found = self.peer.link.receive(data);
            let (start, end, mut len) = match found {
                Found::Stream => (0, data.len(), 0),
                Found::Frame { len, start, end, restarted } => {
                    if restarted {
                        self.peer.end(Ended::Restarted);
                        self.peer.settle(&mut handler);
                    }
                    (start, end, len)
                }
                Found::NeedMore => {
                    if self.rx.space().is_empty() {
                        let len = self.rx.data().len();
                        self.rx.consume(len);
                        self.peer.link.overrun();
                    }
                    return;
                }
            };
            let is_stream = len == 0;
            let mut packet = self.rx.data().get(start..end).unwrap_or_default();
            while !packet.is_empty() {
                match take(&mut self.peer, packet, &mut handler) {
                    Some(used) => {
                        packet = packet.get(used..).unwrap_or_default();
                        if is_stream {
                            len = used;
                            break;
                        }
                    }
                    // Of a stream more is to come. A frame is whole: the other end has made it wrongly.
                    None if is_stream && self.peer.conn.state() != State::Closed => return,
                    None => {
                        self.peer.end(Ended::Garbled);
                        self.deaf = is_stream;
                        len = if is_stream { end } else { len };
                        break;
                    }
                }
            }
            self.rx.consume(len);
        }
    }

    /// When [`poll`](Self::poll) wants to be called at the latest, if nothing happens before; `None` for never
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let gap = match self.peer.link.gap() {
            Some(gap) if self.deaf || !self.rx.data().is_empty() => Some(self.heard + gap),
            _ => None,
        };
        self.peer.conn.poll_timeout().into_iter().chain(gap).min()
    }

    /// After a long silence, a packet that is not complete will never be
    fn check_gap(&mut self, now: Instant) {
        let Some(gap) = self.peer.link.gap() else { return };
        if now < self.heard + gap {
            return;
        }
        self.deaf = false;
        // What is whole waits for its turn.
        if self.peer.tx.data().is_empty() {
            let len = self.rx.data().len();
            self.rx.consume(len);
            if self.peer.conn.body_expected() > 0 {
                self.peer.end(Ended::Garbled);
            }
        }
    }
}

/// Takes one message from the front of `packet`, and tells how many bytes that was; `None` when it is not complete, or no message
fn take<'m, L: Link, S: Slots, D: Flavour>(
    peer: &mut Peer<'m, L, S, D>,
    packet: &[u8],
    handler: &mut impl FnMut(&mut Peer<'m, L, S, D>, Event<'_, S::Tag>),
) -> Option<usize> {
    let step = peer.conn.handle_input(peer.now, packet).ok()?;
    let event = match step.what {
        // Blocked it is never: packets of its own are written before.
        What::NeedMore { .. } | What::Blocked => return None,
        What::Handled => return Some(step.consumed),
        What::Incoming(incoming) => match incoming {
            Incoming::Request { method, body, token, .. } => {
                let token = Token { sequence: token.key(), life: peer.life };
                Event::Request { code: method, payload: body.bytes(), token }
            }
            Incoming::Notification { method, body, .. } => {
                Event::Message { code: method, payload: body.bytes() }
            }
            Incoming::Reply { call, tag, code, body, meta } => {
                let (code, payload) =
                    if meta.any() { (codes::BAD_ZIP.as_bytes(), &[][..]) } else { (code, body.bytes()) };
                Event::Reply { call, tag, code, payload }
            }
            Incoming::BadReply { call, tag, .. } => {
                Event::Reply { call, tag, code: codes::TOO_LARGE.as_bytes(), payload: b"" }
            }
            Incoming::Pong { call, tag, .. } => Event::Pong { call, tag },
            Incoming::Cancel { request } => Event::Cancelled { sequence: request },
            Incoming::Piece { .. } | _ => return Some(step.consumed),
        },
    };
    handler(peer, event);
    Some(step.consumed)
}
