//! A full peer: answers as the server does, calls the other end up to four times at once, pings it, tells and is told,
//! gives up in time
//!
//! On a message `go` it starts four calls of `host` with different payloads and a ping, 500 ms each; when all five are
//! over it tells `done` with a digit for each: `1` answered as it should be, `0` answered otherwise, `T` timed out, `L`
//! lost.

use core::time::Duration;

use flyrpc_embedded::{Calls, Event, Link, Peer, Reply, codes};

use super::server::add;

/// Which of the five: a digit of `done`
pub type Tag = u8;

/// What the peer keeps
#[derive(Debug)]
pub struct State {
    digits: [u8; 5],
}

const WITHIN: Duration = Duration::from_millis(500);

impl State {
    /// Nothing has been asked for
    #[must_use]
    pub const fn new() -> Self {
        Self { digits: [b'.'; 5] }
    }

    /// Deals with one thing that happened
    pub fn handle<L: Link>(&mut self, peer: &mut Peer<'_, L, Calls<Tag, 5>>, event: Event<'_, Tag>) {
        match event {
            Event::Request { code, payload, token } => {
                let sum;
                let reply = match code {
                    b"sum" => match add(payload) {
                        Some(of_both) => {
                            sum = of_both.to_le_bytes();
                            Reply::ok(&sum)
                        }
                        None => Reply::error(codes::BAD_PAYLOAD, b""),
                    },
                    b"echo" | b"$ping" => Reply::ok(payload),
                    _ => Reply::error(codes::NOT_FOUND, b""),
                };
                // An answer that is too long has been replaced by an error.
                let _ = peer.reply(token, reply);
            }
            Event::Message { code: b"go", .. } => {
                self.digits = [b'.'; 5];
                for tag in 0..4 {
                    if peer.call(b"host", &[b'a' + tag], WITHIN, tag).is_err() {
                        self.over(peer, tag, b'L');
                    }
                }
                if peer.ping(WITHIN, 4).is_err() {
                    self.over(peer, 4, b'L');
                }
            }
            Event::Reply { tag, code, payload, .. } => {
                let is_right = code.is_empty() && payload == [b'a' + tag];
                self.over(peer, tag, if is_right { b'1' } else { b'0' });
            }
            Event::Pong { tag, .. } => self.over(peer, tag, b'1'),
            Event::TimedOut { tag, .. } => self.over(peer, tag, b'T'),
            Event::Lost { tag, .. } => self.over(peer, tag, b'L'),
            Event::Message { .. } | Event::Cancelled { .. } | Event::Ended { .. } | _ => {}
        }
    }

    fn over<L: Link>(&mut self, peer: &mut Peer<'_, L, Calls<Tag, 5>>, tag: Tag, digit: u8) {
        if let Some(place) = self.digits.get_mut(usize::from(tag)) {
            *place = digit;
        }
        if !self.digits.contains(&b'.') {
            // Where there is no room for it, the host asks again.
            let _ = peer.notify(b"done", &self.digits);
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}
