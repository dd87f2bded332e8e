//! Clients and servers on tokio: FlyRPC and JSON-RPC 2.0
//!
//! A server, a client, and calls both ways on one connection:
//!
//! ```
//! use flyrpc_tokio::{Bytes, Client, Context, Error, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::new()
//!     .handle("echo", |payload: Bytes| payload)
//!     .handle("greet", |context: Context| async move {
//!         let name = context.peer().call("name", ()).await?; // the server calls its client
//!         Ok::<_, Error>(format!("hello, {}", String::from_utf8_lossy(&name)))
//!     })
//!     .listen("127.0.0.1:0")
//!     .await?;
//!
//! let client = Client::new().handle("name", || "Ada").connect(server.address()).await?;
//! assert_eq!(client.call("echo", "hi").await?, "hi");
//! assert_eq!(client.call("greet", ()).await?, "hello, Ada");
//! # Ok(())
//! # }
//! ```
//!
//! Connections and handlers run on the runtime that [`Server::listen`](flyrpc_driver::Server::listen) or
//! [`Client::connect`](flyrpc_driver::Client::connect) was called in. A handler that computes or blocks for long belongs into
//! `tokio::task::spawn_blocking`, else it holds up its connection and a thread of the runtime.
//!
//! Everything but sockets, timers and tasks is `flyrpc-driver`'s, and re-exported here: its documentation tells what runs
//! where, in which order, and what is dropped when.
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
//! use flyrpc_tokio::{Client, Json, RemoteError, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
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
//! | `stdio` | standard input and output, one's own or a started program's: `stdio:` |
//! | `serial` | FlyRPC over serial lines: `serial:/dev/ttyACM0`, `serial+tcp://host:port` |
//! | `tower` | middleware |
//!
//! # Middleware
//!
//! With feature `tower`, tower's layers go around the handlers of a router, and around a peer:
//!
#![cfg_attr(feature = "tower", doc = "```")]
#![cfg_attr(not(feature = "tower"), doc = "```ignore")]
//! use core::time::Duration;
//!
//! use flyrpc_tokio::{Bytes, CallRequest, Client, Error, RemoteError, Router, Server, codes};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let limits = ServiceBuilder::new().load_shed().concurrency_limit(8).timeout(Duration::from_millis(5));
//! let router = Router::new()
//!     .handle("echo", |payload: Bytes| payload)
//!     .handle("stuck", core::future::pending::<()>)
//!     .layer(limits); // around each handler above by itself
//! let server = Server::new().router(router).listen("127.0.0.1:0").await?;
//!
//! let client = Client::new().connect(server.address()).await?;
//! let late = client.call("stuck", ()).await;
//! assert_eq!(late, Err(Error::Remote(RemoteError::new(codes::TIMEOUT)))); // tower's `Elapsed`
//!
//! let mut service = ServiceBuilder::new().concurrency_limit(2).service(client.peer());
//! assert_eq!(service.ready().await?.call(CallRequest::new("echo", "hi")).await?, "hi");
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod io;
mod net;
#[cfg(feature = "stdio")]
mod pipes;
#[cfg(feature = "serial")]
mod port;

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context as Poller, Poll};
use core::time::Duration;

use flyrpc_driver::runtime::{Runtime, Task, Timer};

pub use bytes::Bytes;
pub use flyrpc_driver::*;
pub use io::Io;
pub use net::{Listener, Stream};

/// A server to be: what it answers, and its limits
pub type Server = flyrpc_driver::Server<Tokio>;
/// A running server; it stops, and its connections close, when this is dropped
pub type ServerHandle = flyrpc_driver::ServerHandle<Tokio>;
/// A client to be: what it answers, and its limits
pub type Client = flyrpc_driver::Client<Tokio>;
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

/// The tokio runtime that a task runs in
///
/// It needs both of tokio's drivers: `enable_all`, or `enable_io` and `enable_time`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokio;

impl Runtime for Tokio {
    type Timer = Sleep;
    type Stream = Stream;
    type Listener = Listener;

    fn timer() -> Sleep {
        Sleep(None)
    }

    /// Tokio's time, which tests can stop
    fn now() -> std::time::Instant {
        tokio::time::Instant::now().into_std()
    }

    fn spawn(task: Task) {
        drop(tokio::spawn(task));
    }

    #[cfg(feature = "tower")]
    fn error_code(error: &(dyn core::error::Error + 'static)) -> Option<&'static str> {
        if error.is::<tower::timeout::error::Elapsed>() {
            Some(codes::TIMEOUT)
        } else if error.is::<tower::load_shed::error::Overloaded>() {
            Some(codes::BUSY)
        } else {
            None
        }
    }

    async fn connect(address: &Address) -> std::io::Result<Stream> {
        Stream::connect(address).await
    }

    async fn listen(address: &Address) -> std::io::Result<Listener> {
        Listener::bind(address).await
    }
}

/// A timer of tokio's that can be set again
#[derive(Debug, Default)]
pub struct Sleep(Option<Pin<Box<tokio::time::Sleep>>>);

impl Timer for Sleep {
    fn set(&mut self, after: Duration) {
        let now = tokio::time::Instant::now();
        // What can't be counted is as good as never: thirty years, as tokio has it.
        let at = now.checked_add(after).unwrap_or_else(|| now + Duration::from_secs(86_400 * 365 * 30));
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.0 = Some(Box::pin(tokio::time::sleep_until(at))),
        }
    }

    fn poll_expired(&mut self, cx: &mut Poller<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.0 else { return Poll::Pending };
        // It must be set whatever else its task has done in this turn: else it is not set at all.
        let expired = pin!(tokio::task::unconstrained(sleep.as_mut())).poll(cx);
        if expired.is_ready() {
            self.0 = None;
        }
        expired
    }
}
