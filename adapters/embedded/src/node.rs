//! One end of a line: the connection, its buffers, and what comes in

use core::time::Duration;

use flyrpc_core::fly::{Base, codes};
use flyrpc_core::{Incoming, Instant, Limits, Slots, State, What};

use crate::link::Link;
use crate::port::Inbound;
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
    inbound: Inbound<'m>,
}

/// When to look again for room that nobody may tell of
const SOON: Duration = Duration::from_millis(10);

/// The longest code that is taken, in bytes
pub(crate) const MAX_CODE: u16 = 32;

/// What a node with such buffers takes
#[inline(always)]
pub(crate) const fn limits<L: Link, const RX: usize, const TX: usize>() -> Limits {
    const { assert!(RX >= L::LEAST && TX >= L::LEAST, "the buffers of a node have 64 bytes, with frames 80") }
    // What a frame adds to a packet, which is less than one of the buffer's size; flag, sequence, the end of the code, and
    // a length of at most four bytes.
    let beside = L::OVERHEAD + RX / 254 + MAX_CODE as usize + 4 + 4;
    Limits::new().max_payload(RX.saturating_sub(beside) as u32).max_method(MAX_CODE).max_unanswered(8)
}

impl<'m, L: Link, S: Slots, D: Flavour> Node<'m, L, S, D> {
    /// A node over `link`, with its two buffers
    ///
    /// The longest payload that is taken follows from the receive buffer: its size less the link's part, the packet's head and the
    /// longest code, which is 32 bytes. At most eight requests may wait for their answers. Both buffers must have at least 64 bytes,
    /// with frames 80, which is checked while compiling; with a plain link, take 40 bytes more than the longest payload.
    #[inline(always)]
    #[must_use]
    pub fn new<const RX: usize, const TX: usize>(
        link: L,
        rx: &'m mut [u8; RX],
        tx: &'m mut [u8; TX],
    ) -> Self {
        Self { peer: Peer::new(link, limits::<L, RX, TX>(), tx), inbound: Inbound::new(rx) }
    }

    /// What the application can do between two polls, at this time
    pub fn peer(&mut self, now: Instant) -> &mut Peer<'m, L, S, D> {
        self.peer.now = self.peer.now.max(now);
        &mut self.peer
    }

    /// Where the bytes go that come next; empty while the buffer is full
    pub fn space(&mut self) -> &mut [u8] {
        self.inbound.space()
    }

    /// `n` bytes have come into [`space`](Self::space)
    pub fn received(&mut self, now: Instant, n: usize) {
        if n > 0 {
            self.check_silence(now);
            self.inbound.received(&self.peer.out.link, now, n);
        }
    }

    /// What is to be sent next
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        self.peer.out.unsent()
    }

    /// `n` bytes of [`unsent`](Self::unsent) were sent
    pub fn sent(&mut self, n: usize) {
        self.peer.out.sent(n);
    }

    /// Bytes that the transmit buffer holds
    #[must_use]
    pub fn transmit_capacity(&self) -> usize {
        self.peer.out.capacity()
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
        self.check_silence(now);
        'all: loop {
            self.peer.settle(&mut handler);
            if !self.peer.out.is_sent() {
                return;
            }
            let Some(next) = self.inbound.next(&mut self.peer.out.link) else { break };
            if next.restarted {
                self.peer.end(Ended::Restarted);
                self.peer.settle(&mut handler);
            }
            let mut packet = self.inbound.slice(next);
            let mut len = next.len;
            while !packet.is_empty() {
                if let Some(used) = take(&mut self.peer, packet, &mut handler) {
                    packet = packet.get(used..).unwrap_or_default();
                    if next.is_stream() {
                        len = used;
                        break;
                    }
                } else if !next.is_stream() {
                    // Never: the link has looked at it.
                    break;
                } else if self.peer.conn.state() == State::Closed {
                    self.inbound.give_up(&self.peer.out.link);
                    self.peer.end(Ended::Garbled);
                    break;
                } else {
                    break 'all;
                }
            }
            self.inbound.consume(len);
        }
        self.inbound.looked_at();
    }

    /// When [`poll`](Self::poll) wants to be called at the latest, if nothing happens before; `None` for never
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let silence = self.inbound.deadline(&self.peer.out.link);
        let due = self.peer.conn.poll_timeout().map(|at| {
            // What is due now waits for room, and room comes when bytes are sent.
            let is_waiting = at <= self.peer.now && !self.peer.out.is_sent();
            if is_waiting { self.peer.now + SOON } else { at }
        });
        due.into_iter().chain(silence).min()
    }

    /// After a long silence, a packet that is not complete will never be
    fn check_silence(&mut self, now: Instant) {
        if self.inbound.drop_rest(&self.peer.out.link, now) && self.peer.conn.body_expected() > 0 {
            self.peer.end(Ended::Garbled);
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
