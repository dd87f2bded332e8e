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
//!             b"led" => peer.reply(token, Reply::ok(payload)),
//!             _ => peer.reply(token, Reply::error("NOT_FOUND", b"")),
//!         };
//!     }
//! });
//! assert_eq!(node.unsent(), b"\x80\x00\x01\0\x011");
//! ```

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
