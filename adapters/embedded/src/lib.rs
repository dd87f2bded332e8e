//! FlyRPC on a microcontroller: no heap, no operating system, static buffers, calls both ways
//!
//! A [`Node`] is one end of a line. It is driven from a plain loop over any UART of `embedded-io`'s, from interrupts, or from async
//! tasks, and its calls and its clock are the caller's.
//!
//! ```
//! use flyrpc_embedded::{Event, Instant, NoCalls, Node, Plain, Reply};
//!
//! let (mut rx, mut tx) = ([0; 128], [0; 64]);
//! let mut node: Node<'_, Plain, NoCalls> = Node::new(Plain::new(), &mut rx, &mut tx);
//!
//! // A request for `led` has come in:
//! let request = b"\x40\x00\x01led\0\x011";
//! node.space()[..request.len()].copy_from_slice(request);
//! let now = Instant::ZERO;
//! node.received(now, request.len());
//!
//! node.poll(now, |peer, event| {
//!     if let Event::Request { code, payload, token } = event {
//!         let _ = match code {
//!             // Pings of more than 8 bytes, as `flyrpc ping` sends them, are yours to answer.
//!             b"led" | b"$ping" => peer.reply(token, Reply::ok(payload)),
//!             _ => peer.reply(token, Reply::error("NOT_FOUND", b"")),
//!         };
//!     }
//! });
//! assert_eq!(node.unsent(), b"\x80\x00\x01\0\x011");
//! ```
//!
//! # Which one to take
//!
//! | | answers | calls, and sends messages | driven by | flash on a Cortex-M3 |
//! |---|---|---|---|---|
//! | [`Server`] | at once, in the handler | no | plain loop, interrupts | under 4 KiB |
//! | [`Node`] with [`NoCalls`] | at once or later | messages | the same | |
//! | [`Node`] with [`Calls<T, N>`](Calls) | at once or later | both; outcomes are [events](Event), told apart by tags | the same | under 8 KiB |
//! | `Shared` (feature `async`) | at once or later | both; each is a future with a time-out | async tasks, as embassy's | |
//!
//! In doubt, take a `Node`: a handler of a `Server` is nearly the same, so to go back later is little work.
//!
//! # Plain or framed
//!
//! Both ends must have the same of the two: where they differ, no call is ever answered, and neither end can tell why.
//!
//! - [`Framed`] is what the host expects at `serial:/dev/ttyACM0` and `serial+tcp://…`. A packet costs about 11 bytes more,
//!   and the program 1 KiB of flash. Damaged packets are dropped one by one, and a restart of either end is noticed with the first
//!   frame. Take it on a wire, and wherever a board may be reset while its host goes on.
//! - [`Plain`] is FlyRPC as it is over TCP: `serial:/dev/ttyACM0?framing=plain`, or `host:port` for a socket. Take it where the
//!   line loses nothing and its end is noticed otherwise, as over USB or a network, or where each byte counts.

#![no_std]
#![forbid(unsafe_code)]

mod calls;
#[cfg(feature = "async")]
mod clock;
mod event;
mod flavour;
mod framed;
mod io;
mod link;
mod node;
mod peer;
mod port;
#[cfg(feature = "async")]
mod run;
mod server;
#[cfg(feature = "async")]
mod shared;

pub use calls::{Calls, Spans};
#[cfg(feature = "async")]
pub use clock::Clock;
pub use event::{Ended, Event, Token};
pub use flavour::Flavour;
pub use flyrpc_core::fly::{Base, Raw, codes};
pub use flyrpc_core::serial::LineStats;
pub use flyrpc_core::{CallId, Instant, NoCalls, Refusal, Refused, Reply, Stats};
pub use framed::Framed;
pub use link::{Link, Plain};
pub use node::Node;
pub use peer::Peer;
#[cfg(feature = "async")]
pub use run::RunError;
pub use server::{Answer, Server};
#[cfg(feature = "async")]
pub use shared::{Bytes, CallError, Incoming, Responder, Shared};
