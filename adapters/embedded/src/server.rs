//! An end that only answers, at once: the smallest there is

use flyrpc_core::fly::{Base, Zip};
use flyrpc_core::{Body, Decoded, Dialect, Instant, Limits, Message, Reject, Reply};

use crate::link::Link;
use crate::node::limits;
use crate::port::{Inbound, Outbound};

/// An end of a line that answers each request before it reads the next one, and calls nobody
///
/// So it has nothing to remember, and does without the [`Connection`](flyrpc_core::Connection) that a [`Node`](crate::Node) has. Pings of up
/// to 8 bytes are answered; longer ones are handed over as requests for `$ping`, to be answered with their payload. Messages are
/// handed over too; a payload that is too long is passed over and answered `TOO_LARGE`.
///
/// ```
/// use flyrpc_embedded::{Instant, Plain, Reply, Server, codes};
///
/// let (mut rx, mut tx) = ([0; 64], [0; 64]);
/// let mut server = Server::new(Plain::new(), &mut rx, &mut tx);
/// let request = b"\x40\x00\x01led\0\x011";
/// server.space()[..request.len()].copy_from_slice(request);
/// server.received(Instant::ZERO, request.len());
/// server.poll(Instant::ZERO, |code, payload, answer| match code {
///     b"led" | b"$ping" => answer.send(Reply::ok(payload)),
///     _ => answer.send(Reply::error(codes::NOT_FOUND, b"")),
/// });
/// assert_eq!(server.unsent(), b"\x80\x00\x01\0\x011");
/// ```
#[derive(Debug)]
pub struct Server<'m, L: Link> {
    dialect: Base,
    limits: Limits,
    out: Outbound<'m, L>,
    inbound: Inbound<'m>,
    /// Bytes that are still to be passed over
    skip: u32,
}

/// Sends the answer to one request; for a message there is nobody to send it to
#[derive(Debug)]
pub struct Answer<'a, 'm, L: Link> {
    dialect: &'a mut Base,
    limits: &'a Limits,
    out: &'a mut Outbound<'m, L>,
    /// The request's sequence
    key: Option<u16>,
}

impl<L: Link> Answer<'_, '_, L> {
    /// Does somebody wait for it?
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.key.is_some()
    }

    /// Sends it; in place of one that does not fit the transmit buffer, the error `TOO_LARGE`
    pub fn send(self, reply: Reply<'_, Zip>) {
        let Self { dialect, limits, out, key } = self;
        let Some(key) = key else { return };
        if out.send(|out| dialect.encode_reply(key, &reply, limits, out)).is_err() {
            refuse(dialect, limits, out, key);
        }
    }
}

/// Answers `TOO_LARGE`, for which there is always room
fn refuse<L: Link>(dialect: &mut Base, limits: &Limits, out: &mut Outbound<'_, L>, key: u16) {
    if let Some(control) = dialect.reject(key, Reject::TooLarge) {
        let _ = out.send(|out| dialect.encode_control(&control, limits, out));
    }
}

impl<'m, L: Link> Server<'m, L> {
    /// A server over `link`, with its two buffers; they are as [`Node::new`](crate::Node::new) wants them
    #[must_use]
    pub fn new<const RX: usize, const TX: usize>(
        link: L,
        rx: &'m mut [u8; RX],
        tx: &'m mut [u8; TX],
    ) -> Self {
        let limits = limits::<L, RX, TX>();
        Self {
            dialect: Base::new(),
            limits,
            out: Outbound::new(link, tx),
            inbound: Inbound::new(rx),
            skip: 0,
        }
    }

    /// Where the bytes go that come next; empty while the buffer is full
    pub fn space(&mut self) -> &mut [u8] {
        self.inbound.space()
    }

    /// `n` bytes have come into [`space`](Self::space)
    pub fn received(&mut self, now: Instant, n: usize) {
        if n > 0 {
            self.check_silence(now);
            self.inbound.received(&self.out.link, now, n);
        }
    }

    /// What is to be sent next
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        self.out.unsent()
    }

    /// `n` bytes of [`unsent`](Self::unsent) were sent
    pub fn sent(&mut self, n: usize) {
        self.out.sent(n);
    }

    /// Deals with what has come: each request and message is handed over with its code and payload, and a way to answer
    ///
    /// One that is dropped without an answer leaves its caller to its deadline. Like [`Node::poll`](crate::Node::poll) it returns when
    /// something is to be sent first, or nothing has come.
    pub fn poll(&mut self, now: Instant, mut handler: impl FnMut(&[u8], &[u8], Answer<'_, 'm, L>)) {
        self.check_silence(now);
        loop {
            self.out.announce();
            if !self.out.is_sent() {
                return;
            }
            let Some(next) = self.inbound.next(&mut self.out.link) else { break };
            let data = self.inbound.slice(next);
            let mut len = next.len;
            if self.skip > 0 {
                let skipped = self.skip.min(data.len() as u32);
                self.skip -= skipped;
                len = len.max(skipped as usize);
            } else if !data.is_empty() {
                let Self { dialect, limits, out, .. } = self;
                match dialect.decode(data, limits) {
                    Ok(Decoded::Message { consumed, message }) => {
                        if next.is_stream() {
                            len = consumed;
                        }
                        let (key, code, body) = match message {
                            Message::Request { key, method, body, .. } => (Some(key), Some(method), body),
                            Message::Notification { method, body, .. } => (None, Some(method), body),
                            Message::Control(Some(control)) => {
                                let _ = out.send(|out| dialect.encode_control(&control, limits, out));
                                (None, None, Body::Whole(&[][..]))
                            }
                            Message::Invalid { answer, body } => {
                                if let Some(control) = answer {
                                    let _ = out.send(|out| dialect.encode_control(&control, limits, out));
                                }
                                (None, None, body)
                            }
                            Message::Reply { body, .. } => (None, None, body),
                            Message::Control(None) | _ => (None, None, Body::Whole(&[][..])),
                        };
                        match (body, code) {
                            (Body::Streamed(more), _) => {
                                // In a frame it can't be longer than the frame, which is dropped.
                                self.skip = if next.is_stream() { more as u32 } else { 0 };
                                if let Some(key) = key {
                                    refuse(dialect, limits, out, key);
                                }
                            }
                            (Body::Whole(payload), Some(code)) => {
                                handler(code, payload, Answer { dialect, limits, out, key });
                            }
                            (Body::Whole(_), None) => {}
                        }
                    }
                    Ok(Decoded::Skip { consumed }) => len = len.max(consumed),
                    Ok(Decoded::NeedMore { .. }) if next.is_stream() => break,
                    Ok(Decoded::NeedMore { .. }) => {}
                    Err(_) if next.is_stream() => {
                        self.inbound.give_up(&self.out.link);
                        break;
                    }
                    Err(_) => {}
                }
            }
            self.inbound.consume(len);
        }
        self.inbound.looked_at();
    }

    /// When [`poll`](Self::poll) wants to be called at the latest, if nothing happens before; `None` for never
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.inbound.deadline(&self.out.link)
    }

    fn check_silence(&mut self, now: Instant) {
        if self.inbound.drop_rest(&self.out.link, now) {
            self.skip = 0;
        }
    }
}
