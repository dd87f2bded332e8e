//! Clients and servers on smol: FlyRPC and JSON-RPC 2.0
//!
//! A server, a client, and calls both ways on one connection:
//!
//! ```
//! use flyrpc_smol::{Bytes, Client, Context, Error, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! smol::block_on(async {
//!     let server = Server::new()
//!         .handle("echo", |payload: Bytes| payload)
//!         .handle("greet", |context: Context| async move {
//!             let name = context.peer().call("name", ()).await?; // the server calls its client
//!             Ok::<_, Error>(format!("hello, {}", String::from_utf8_lossy(&name)))
//!         })
//!         .listen("127.0.0.1:0")
//!         .await?;
//!
//!     let client = Client::new().handle("name", || "Ada").connect(server.address()).await?;
//!     assert_eq!(client.call("echo", "hi").await?, "hi");
//!     assert_eq!(client.call("greet", ()).await?, "hello, Ada");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # Threads
//!
//! Connections and handlers run on smol's global executor, where `smol::spawn` puts its tasks too. It has one thread of its
//! own; the environment variable `SMOL_THREADS` gives it more, and must not be 0. So they run whatever the program's own
//! threads do, be it `smol::block_on`, an executor of the program's own, or another runtime. A handler that computes for
//! long belongs into `smol::unblock`, else it holds up all connections of its thread. Names are looked up on threads that
//! may block.
//!
//! Everything but sockets, timers and tasks is `flyrpc-driver`'s, and re-exported here.
//!
//! # JSON-RPC
//!
//! `jsonrpc+` in front of an address makes a connection speak JSON-RPC 2.0; [`Endpoint`] lists the kinds. Handlers, peers and
//! servers are the same, and one server may speak both: [`ServerHandle::also_listen`](flyrpc_driver::ServerHandle::also_listen).
//! Payloads are JSON: parameters an array or an object, results anything. `Json<T>`, of feature `json`, reads and writes them,
//! and takes an array of one element as that element.
//!
#![cfg_attr(feature = "json", doc = "```")]
#![cfg_attr(not(feature = "json"), doc = "```ignore")]
//! use flyrpc_smol::{Client, Json, RemoteError, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # smol::block_on(async {
//! let server = Server::new()
//!     .handle("subtract", |Json((a, b)): Json<(i64, i64)>| Json(a - b))
//!     .handle("fail", || RemoteError::new("no such lamp").number(7))
//!     .listen("jsonrpc+tcp://127.0.0.1:0") // jsonrpc+ws:// with feature `ws`
//!     .await?;
//!
//! let client = Client::new().connect(server.address()).await?;
//! let Json(difference) = client.call_as::<Json<i64>>("subtract", Json((42, 23))).await?;
//! assert_eq!(difference, 19);
//! client.send("subtract", Json((1, 2))).await?; // a notification
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! A language server frames its messages by `Content-Length`:
//! `Server::new().json_rpc(JsonRpc::new().framing(Framing::ContentLength)).listen("jsonrpc+stdio:")`. Standard output belongs
//! to the connection then; whatever else is printed there breaks it.
//!
//! # Features
//!
//! None is on by default; each adds to the API and changes nothing else.
//!
//! | feature | adds |
//! |---|---|
//! | `json`, `msgpack`, `protobuf`, `borsh`, `postcard` | the format of that name; `json` also subscriptions |
//! | `service` | `#[service]`: typed clients and services from traits |
//! | `ws` | WebSocket: `jsonrpc+ws://` |
//! | `http` | HTTP POST and CONNECT: `jsonrpc+http://`, `jsonrpc+connect://` |
//! | `serial` | FlyRPC over serial lines behind sockets: `serial+tcp://host:port`; ports themselves are `flyrpc-tokio`'s |
//! | `stdio` | standard input and output, one's own or a started program's: `stdio:` |
//! | `tower` | middleware |

#![forbid(unsafe_code)]

mod io;
mod net;
#[cfg(feature = "stdio")]
mod pipes;

use core::future::Future;
use core::pin::Pin;
use core::task::{Context as Poller, Poll};
use core::time::Duration;

use flyrpc_driver::runtime::{Runtime, Task, Timer};

pub use bytes::Bytes;
pub use flyrpc_driver::*;
pub use io::Io;
pub use net::{Listener, Stream};

/// A server to be: what it answers, and its limits
pub type Server = flyrpc_driver::Server<Smol>;
/// A running server; it stops, and its connections close, when this is dropped
pub type ServerHandle = flyrpc_driver::ServerHandle<Smol>;
/// A client to be: what it answers, and its limits
pub type Client = flyrpc_driver::Client<Smol>;
/// Who sent a request, and what else its handler may know
pub type Context = flyrpc_driver::Context<Peer>;
/// A request or message: the packet, and who sent it
pub type Request = flyrpc_driver::Request<Peer>;
/// Handlers by code, and the data they share
pub type Router = flyrpc_driver::Router<Peer>;

/// Connects, as a client that answers nothing, to `host:port`, `unix:/path` or whatever else [`Endpoint`] says
///
/// # Errors
/// See [`Client::connect`](flyrpc_driver::Client::connect).
pub async fn connect(address: impl ToString) -> std::io::Result<Connected> {
    Client::new().connect(address).await
}

/// smol and its global executor
#[derive(Clone, Copy, Debug, Default)]
pub struct Smol;

impl Runtime for Smol {
    type Timer = Sleep;
    type Stream = Stream;
    type Listener = Listener;

    fn timer() -> Sleep {
        Sleep::default()
    }

    fn spawn(task: Task) {
        smol::spawn(task).detach();
    }

    async fn connect(address: &Address) -> std::io::Result<Stream> {
        Stream::connect(address).await
    }

    async fn listen(address: &Address) -> std::io::Result<Listener> {
        Listener::bind(address).await
    }
}

/// A timer of smol's that can be set again
#[derive(Debug)]
pub struct Sleep(smol::Timer);

impl Default for Sleep {
    fn default() -> Self {
        Self(smol::Timer::never())
    }
}

impl Timer for Sleep {
    fn set(&mut self, after: Duration) {
        self.0.set_after(after);
    }

    fn poll_expired(&mut self, cx: &mut Poller<'_>) -> Poll<()> {
        // Once it has expired, it is pending until it is set again.
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}
