//! FlyRPC clients and servers on blocking std sockets and threads
//!
//! A server, a client, and calls both ways on one connection:
//!
//! ```
//! use flyrpc_blocking::{Bytes, Client, Context, Error, Server};
//!
//! let server = Server::new()
//!     .handle("echo", |payload: Bytes| payload)
//!     .handle("greet", |context: Context| {
//!         let name = context.peer().call("name", ())?; // the server calls its client
//!         Ok::<_, Error>(format!("hello, {}", String::from_utf8_lossy(&name)))
//!     })
//!     .listen("127.0.0.1:0")?;
//!
//! let client = Client::new().handle("name", || "Ada").connect(server.address())?;
//! assert_eq!(client.call("echo", "hi")?, "hi");
//! assert_eq!(client.call("greet", ())?, "hello, Ada");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Client::connect`] gives a [`Connected`], which is a [`Peer`] that closes when it is dropped; handlers get the
//! [`Peer`] at the other end with their [`Context`]. All of a `Peer`'s methods may be used from any number of threads at
//! once. Handlers, payloads, formats and errors are `flyrpc-driver`'s, the same as on any async runtime, and re-exported
//! here.
//!
//! # Threads and order
//!
//! Each connection has one thread that reads. A request's handler runs on the thread that read it, after another thread
//! has taken over the reading, so handlers may block, and may call back as deep as requests may run at a time. An `async`
//! handler is driven to its end on that thread as well. Requests run at the same time as each other,
//! [`Limits::max_unanswered`] of them at the most (64 by default; more are answered `BUSY`). Messages without a response
//! run one at a time, in the order they came.
//!
//! # Beside the async adapters
//!
//! Where those have a future to bound or to drop, here is [`Peer::call_within`], and [`Peer::start`] with a [`PendingCall`] to
//! wait for, or to drop. There is no `tower`.
//!
//! # Addresses
//!
//! `127.0.0.1:7000`, `tcp://host:port`, `unix:/path/to/socket`, and what else [`Endpoint`] lists but HTTP POST and serial
//! lines, which only the async adapters have; a socket that stands for a line without frames is `tcp://` here too. `connect://` and `stdio:` need no feature here.
//!
//! # JSON-RPC
//!
//! `jsonrpc+` in front of an address, or [`Server::json_rpc`], makes a connection speak JSON-RPC 2.0. Handlers, peers and
//! servers are the same, and one server may speak both: [`ServerHandle::also_listen`]. Payloads are JSON: parameters an
//! array, an object or nothing, results anything. Feature `json` reads and writes them.
//!
//! ```
//! use flyrpc_blocking::{Bytes, Client, Server};
//!
//! let server = Server::new().handle("echo", |params: Bytes| params).listen("jsonrpc+tcp://127.0.0.1:0")?;
//! let client = Client::new().connect(server.address())?;
//! assert_eq!(client.call("echo", r#"["hi"]"#)?, r#"["hi"]"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Over `stdio:` the connection has standard output to itself: what else is printed there breaks it.
//!
//! # Features
//!
//! None is on by default; each adds to the API and changes nothing else.
//!
//! | feature | adds |
//! |---|---|
//! | `json`, `msgpack`, `protobuf`, `borsh`, `postcard` | the format of that name |
//! | `service` | typed clients and services from traits |
//! | `ws` | WebSocket |

#![forbid(unsafe_code)]

mod alarm;
mod client;
mod door;
mod http;
mod inbox;
mod link;
mod options;
mod peer;
#[cfg(any(unix, windows))]
mod pipes;
mod requests;
mod server;
#[cfg(feature = "service")]
mod service;
mod stream;
mod worker;
#[cfg(feature = "ws")]
pub mod ws;

pub use bytes::Bytes;
pub use client::{Client, Connected};
pub use flyrpc_core::fly::Flag;
pub use flyrpc_core::fly::zip::ZipError;
pub use flyrpc_core::{BadReply, WireError};
#[cfg(feature = "service")]
#[doc(hidden)]
pub use flyrpc_driver::__service;
#[cfg(feature = "borsh")]
pub use flyrpc_driver::Borsh;
#[cfg(feature = "json")]
pub use flyrpc_driver::Json;
#[cfg(feature = "msgpack")]
pub use flyrpc_driver::MsgPack;
#[cfg(feature = "postcard")]
pub use flyrpc_driver::Postcard;
#[cfg(feature = "protobuf")]
pub use flyrpc_driver::Protobuf;
pub use flyrpc_driver::{
    Ack, Address, Answer, Argument, BadAddress, Caller, Capabilities, Carrier, CloseReason, ConnectionId,
    Decode, Direction, Encode, Endpoint, Error, Extensions, FormatError, Framing, Handler, Info, IntoPayload,
    IntoReply, JsonRpc, Limits, Loss, Origins, Outcome, Overload, Packet, PanicReport, Payload, Pong,
    Protocol, ProtocolError, RawPacket, Refusal, RegisterError, RemoteError, RequestId, Response, Service,
    Session, Stage, State, Stats, UnreadableReply, WireFormat, ZipMode, codes, json_codes,
};
#[cfg(feature = "service")]
pub use flyrpc_driver::{Calls, service};
pub use peer::{Peer, PendingCall};
pub use server::{Server, ServerHandle};
pub use stream::Stream;

/// Who sent a request, and what else its handler may know
pub type Context = flyrpc_driver::Context<Peer>;
/// A request or message: the packet, and who sent it
pub type Request = flyrpc_driver::Request<Peer>;
/// Handlers by code, and the data they share
pub type Router = flyrpc_driver::Router<Peer>;

/// Connects to `host:port`, `tcp://host:port` or `unix:/path` as a client that answers nothing
///
/// # Errors
/// See [`Client::connect`].
pub fn connect(address: impl ToString) -> std::io::Result<Connected> {
    Client::new().connect(address)
}
