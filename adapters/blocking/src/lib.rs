//! FlyRPC clients and servers on blocking std sockets and threads
//!
//! A server, a client, and calls both ways on one connection:
//!
//! ```
//! use flyrpc_blocking::{Client, Server};
//!
//! let server = Server::new()
//!     .handle("echo", |request| request.payload().to_vec())
//!     .handle("greet", |request| {
//!         let name = request.peer().call("name", b"")?; // the server calls its client
//!         Ok(format!("hello, {}", String::from_utf8_lossy(&name)))
//!     })
//!     .listen("127.0.0.1:0")?;
//!
//! let client = Client::new().handle("name", |_| "Ada").connect(server.address())?;
//! assert_eq!(client.call("echo", b"hi")?, b"hi");
//! assert_eq!(client.call("greet", b"")?, b"hello, Ada");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Client::connect`] gives a [`Connected`], which is a [`Peer`] that closes when it is dropped; handlers get the
//! [`Peer`] at the other end with each [`Request`]. All of a `Peer`'s methods may be used from any number of threads at
//! once.
//!
//! # Threads and order
//!
//! Each connection has one thread that reads. A request's handler runs on the thread that read it, after another thread
//! has taken over the reading, so handlers may block, and may call back as deep as requests may run at a time. Requests run at the same time as
//! each other, [`Limits::max_unanswered`] of them at the most (64 by default; more are answered `BUSY`). Messages without
//! a response run one at a time, in the order they came.
//!
//! # Addresses
//!
//! `127.0.0.1:7000`, `tcp://host:port`, `unix:/path/to/socket`.

mod address;
mod client;
mod error;
mod inbox;
mod link;
mod peer;
mod router;
mod server;
mod stream;
mod worker;

pub use address::{Address, BadAddress};
pub use client::{Client, Connected};
pub use error::{Error, RemoteError, UnreadableReply};
pub use flyrpc_core::fly::zip::ZipMode;
pub use flyrpc_core::fly::{Capabilities, codes};
pub use flyrpc_core::{CloseReason, Limits, Overload, Refusal, State, Stats};
pub use peer::{Peer, PendingCall, Pong, Response};
pub use router::{IntoReply, Request};
pub use server::{Server, ServerHandle};
