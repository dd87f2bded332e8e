//! RPC for any async runtime: peers, routers, services, formats and the connection driver
//!
//! Programs depend on `flyrpc-tokio` or `flyrpc-smol`, which bring sockets, timers and tasks, and re-export all of this;
//! who has another runtime implements [`runtime::Runtime`]. Two types to start from: [`Server`], or [`Client`], takes
//! handlers and limits; [`Peer`] is the other end of a connection, at both ends.
//!
//! # Types
//!
//! | what for | types |
//! |---|---|
//! | to listen and to dial in | [`Server`] and [`Client`], and what they become: [`ServerHandle`] and [`Connected`] |
//! | to call the other end | [`Peer`]; the futures [`Call`], [`Sending`], [`Ping`]; [`Payload`] and [`IntoPayload`] |
//! | to answer it | [`Router`]; a [`Handler`] takes [`Argument`]s and gives an [`IntoReply`] |
//! | what a handler may know | [`Context`], [`Request`], [`Packet`], [`State`] of the router, [`Session`] of the connection |
//! | formats | `Json`, `MsgPack`, `Protobuf`, `Borsh`, `Postcard`, a feature each; your own: [`Decode`], [`Encode`] |
//! | what went wrong | [`Error`] for who calls, [`RemoteError`] for who answers, [`CloseReason`] for a connection, [`codes`] |
//! | bounds | [`Limits`] of a connection; the other options are methods of [`Server`] and [`Client`] |
//! | a runtime of your own | [`runtime`] |
//! | what is spoken, and where | [`Protocol`], [`Endpoint`], [`Carrier`]; [`JsonRpc`] and [`Framing`] for its settings |
//! | handlers under a common name | [`Service`], `#[service]`; [`Router::register`]; [`WireFormat`] of their arguments |
//! | calls that are started, or sent together | [`PendingCall`], [`Batch`] |
//! | streams of values | `Subscription`, `Subscribed` |
//!
//! # Protocols
//!
//! A connection speaks FlyRPC or JSON-RPC 2.0, as its [`Endpoint`] says (`jsonrpc+ws://host:port/path`) or [`Server::json_rpc`].
//! All else is the same: one router serves both, and one server may listen at several addresses, [`ServerHandle::also_listen`].
//!
//! | | FlyRPC | JSON-RPC 2.0 |
//! |---|---|---|
//! | what this crate calls a code | code | method, or an error's message |
//! | payload of a request or message | any bytes | `params` as raw JSON: an array, an object, or nothing |
//! | payload of an answer | any bytes | `result` as raw JSON; nothing is `null` |
//! | [`RemoteError`] | `code`, `details` | `number` is the code, `code` the message, `details` the data |
//! | a code without a handler | `NOT_FOUND` | -32601; -32002 if its service is unknown too |
//! | a payload that can't be read | `BAD_PAYLOAD` | -32602 |
//! | a handler's error, or its panic | its code, `HANDLER_PANIC` | -32001 or its own number, -32603 |
//! | a cancel reaches the peer | after a `$hello` | where [`JsonRpc::cancel_method`] is set |
//! | a keepalive's ping | `$ping` | a request for `rpc.ping`, which any answer will do for |
//! | compression, [`Peer::hello`], [`Packet::flag`], [`Server::on_packet`] | yes | no |
//!
//! With feature `json`, arguments and results are `Json<T>` on both. Bare text is no JSON: as an argument it is not sent
//! ([`Refusal::BadPayload`]), as a handler's result it is answered -32603. Over HTTP POST each exchange is a connection of
//! its own, which ends with its answer: handlers can't call back there, and sessions don't outlive it.
//!
//! # Levels
//!
//! FlyRPC's own API has four levels. Each is here, and one program may use all of them:
//!
//! | level | what it shows | to take | to send |
//! |---|---|---|---|
//! | 1 | packets as they are on the wire | [`Server::on_packet`], both ways, to look at | [`RawPacket`]'s `encode`, without a connection |
//! | 2 | packets, inflated | [`Packet`] as a handler's argument | the same: [`Server::zip`] says when to deflate |
//! | 3 | codes and payloads of requests and responses | `&Request` as a handler's argument, [`Server::fallback`] for any code | [`Peer::request`], which gives a [`Response`] |
//! | 4 | calls and handlers | [`Server::handle`] | [`Peer::call`], [`Peer::call_as`], [`Peer::send_acked`], [`Peer::send`] |
//!
//! ```
//! use flyrpc_driver::{Client, Error, Packet, Peer, Request, Response, Server, runtime::Runtime};
//!
//! async fn levels<R: Runtime>() -> Result<(), Box<dyn core::error::Error>> {
//!     let server = Server::<R>::new()
//!         .on_packet(|from, direction, packet| eprintln!("{} {direction:?} {packet:?}", from.remote)) // 1
//!         .handle("sequence", |packet: &Packet| packet.sequence.to_string()) // 2
//!         .fallback(|request: &Request<Peer>| format!("{} bytes", request.payload().len())) // 3
//!         .handle("upper", |text: &str| text.to_uppercase()) // 4
//!         .listen("127.0.0.1:0")
//!         .await?;
//!
//!     let peer = Client::<R>::new().connect(server.address()).await?;
//!     let Response { code, payload } = peer.request("anything", "hi").await?; // 3: a code is no error here
//!     let upper: String = peer.call_as("upper", "hi").await?; // 4: a code is an Error::Remote
//!     peer.drain(core::time::Duration::from_secs(1)).await;
//!     Ok(())
//! }
//! ```
//!
//! # What runs where
//!
//! Each connection has one task, its driver. It reads, also while a write waits, so two ends that both send can't lock each
//! other out. It polls each handler for the first time itself: one that is ready then costs no task, and one that computes
//! or blocks holds up its connection and a thread of the runtime. A request whose handler waits goes on in a task of its
//! own; the messages of a connection share one.
//!
//! Who calls encodes the packet into the connection's outgoing buffer, under a lock that is never held across a wait or a
//! handler. While nothing else is under way the caller then writes to the socket itself; otherwise the driver comes once
//! for all that has been encoded meanwhile, with one write.
//!
//! # Order
//!
//! * Packets leave in the order they were encoded: for a call, when its future was polled first and there was room. Callers
//!   that wait for room have it in the order they came.
//! * Messages are handled one at a time, in the order they came.
//! * Requests are begun in the order they came and run side by side; each is answered when it is done. A request does not
//!   wait for a message before it whose handler waits, nor a message for a request.
//!
//! # Back-pressure
//!
//! Nothing grows without a bound. Callers wait when [`Server::send_buffer`] is full, or are refused where that was chosen.
//! Reading stops, and so does the peer in the end, when the peer does not take its answers or its requests hold too much
//! ([`Server::owed_buffer`]), and when messages wait for the handler of an earlier one (1,024 of them, or 4 MiB). Requests
//! beyond [`Limits::max_unanswered`] are answered `BUSY`, or wait unread. While calls of ours are in flight more is read,
//! sixteen times as many messages: a handler may wait for the very answer that comes behind them.
//!
//! A peer that takes nothing for [`Server::write_timeout`] is lost; one that is silent only if [`Server::keepalive`] asks.
//!
//! # Cancellation and the end
//!
//! * Dropping a [`Call`] that was polled cancels it, and so does its deadline. Its packet is sent all the same if it was
//!   encoded; a late answer is dropped. The peer is told only after a `$hello`, of either end, has shown that it
//!   understands: [`Server::hello`], [`Client::hello`] or [`Peer::hello`].
//! * A peer that is told drops the request's handler where it waits, and answers `CANCELLED`. A handler that does not wait
//!   looks at [`Context::is_cancelled`]; a task that it has started waits for [`Context::cancelled`].
//! * When a connection ends, calls in flight fail at once with [`Error::Lost`] or [`Error::Protocol`], and handlers of
//!   requests are dropped where they wait. After a plain end of the stream, which leaves the peer able to read, they have
//!   [`Limits::call_timeout`] first to answer.
//! * Handlers of messages are not dropped, and messages that were read are still handled.
//! * [`Peer::close`], and dropping a [`Connected`] or a [`ServerHandle`], discard what was not sent; [`Peer::drain`] and
//!   [`ServerHandle::shutdown`] send it, answer what is owed and await what is outstanding, within their time.
//!
//! Nothing is sent twice: who lost a call can't know whether it was executed.
//!
//! # Features
//!
//! None is on by default; each adds to the API and changes nothing else.
//!
//! | feature | adds |
//! |---|---|
//! | `json`, `msgpack`, `protobuf`, `borsh`, `postcard` | the format of that name; `json` also subscriptions |
//! | `service` | `#[service]`: typed clients and registrations from traits |
//! | `ws` | WebSocket as a transport |
//! | `http` | HTTP POST and HTTP CONNECT as transports, and WebSocket on the same port |
//! | `serial` | FlyRPC in frames over serial lines, and the addresses `serial+tcp:` and, with `flyrpc-tokio`, `serial:` |
//! | `stdio` (of `flyrpc-tokio` and `flyrpc-smol`) | `stdio:` addresses: this program's standard input and output, or a command's |
//! | `tower` | `Router::layer`, `handle_service` and `fallback_service`; [`Peer`] as a service of `CallRequest`s |
//!
//! # Middleware
//!
//! With feature `tower`. A layer goes around the handlers that the router has already; a server or client takes the router
//! with [`Server::router`]. Around a [`Peer`] go the layers of a client. A bare `Peer` has a method `call` of its own, so the
//! service's is named in full, or reached through a layer or `oneshot`.
//!
#![cfg_attr(feature = "tower", doc = "```")]
#![cfg_attr(not(feature = "tower"), doc = "```ignore")]
//! use core::future::{Future, ready};
//! use core::pin::Pin;
//! use core::task::{Context, Poll};
//! use core::time::Duration;
//!
//! use bytes::Bytes;
//! use flyrpc_driver::{CallRequest, Error, Peer, RemoteError, Request, Router};
//! use tower_layer::layer_fn;
//! use tower_service::Service;
//!
//! struct User(String);
//!
//! /// Answers nobody who has not said who they are
//! #[derive(Clone)]
//! struct Known<S>(S);
//!
//! impl<S> Service<Request<Peer>> for Known<S>
//! where
//!     S: Service<Request<Peer>, Response = Bytes, Error = RemoteError, Future: Send + 'static>,
//! {
//!     type Response = Bytes;
//!     type Error = RemoteError;
//!     type Future = Pin<Box<dyn Future<Output = Result<Bytes, RemoteError>> + Send>>;
//!
//!     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RemoteError>> {
//!         self.0.poll_ready(cx)
//!     }
//!
//!     fn call(&mut self, request: Request<Peer>) -> Self::Future {
//!         match request.context().session().get::<User>() {
//!             Some(_) => Box::pin(self.0.call(request)),
//!             None => Box::pin(ready(Err(RemoteError::new("LOG_IN_FIRST")))),
//!         }
//!     }
//! }
//!
//! fn router() -> Router<Peer> {
//!     Router::new()
//!         .handle("balance", || "7")
//!         .layer(layer_fn(Known)) // around "balance"
//!         .handle("log in", |request: &Request<Peer>| -> Result<(), RemoteError> { // and not around this
//!             request.context().session().insert(User(request.text()?.to_owned()));
//!             Ok(())
//!         })
//! }
//!
//! async fn balance(mut peer: Peer) -> Result<Bytes, Error> {
//!     let request = CallRequest::new("balance", ()).within(Duration::from_secs(2));
//!     Service::call(&mut peer, request).await // or any layers of tower's around `peer`
//! }
//! ```

#![forbid(unsafe_code)]

mod address;
mod batch;
mod calls;
mod client;
mod clock;
mod context;
#[doc(hidden)]
pub mod dialect;
mod door;
mod driver;
mod error;
mod extensions;
mod format;
#[cfg(feature = "http")]
pub mod http;
mod hub;
mod inbox;
#[cfg(feature = "_test")]
mod internals;
mod lane;
mod link;
mod options;
mod origins;
mod out;
mod payload;
mod peer;
mod pending;
mod requests;
mod room;
mod router;
mod running;
pub mod runtime;
#[cfg(feature = "serial")]
pub mod serial;
mod server;
mod service;
#[cfg(feature = "json")]
mod subscription;
mod sync;
#[cfg(feature = "tower")]
mod tower;
mod trace;
mod until;
mod watchers;
#[cfg(feature = "ws")]
pub mod ws;

pub use address::{Address, BadAddress, Carrier, Endpoint};
pub use batch::Batch;
pub use client::{Client, Connected};
pub use context::{Caller, ConnectionId, Context, Info, RequestId};
pub use dialect::Protocol;
pub use error::{Error, FormatError, RemoteError, UnreadableReply};
pub use extensions::{Extensions, Session};
pub use flyrpc_core::fly::zip::{ZipError, ZipMode};
pub use flyrpc_core::fly::{Capabilities, Flag, RawPacket, codes};
pub use flyrpc_core::jsonrpc::{Framing, JsonRpc, codes as json_codes};
pub use flyrpc_core::{
    BadReply, CloseReason, Limits, Loss, Overload, ProtocolError, Refusal, State as Stage, Stats, WireError,
};
#[cfg(feature = "borsh")]
pub use format::Borsh;
#[cfg(feature = "json")]
pub use format::Json;
#[cfg(feature = "msgpack")]
pub use format::MsgPack;
#[cfg(feature = "postcard")]
pub use format::Postcard;
#[cfg(feature = "protobuf")]
pub use format::Protobuf;
pub use format::{Decode, Encode, WireFormat};
#[cfg(feature = "_test")]
pub use internals::Internals;
pub use options::Direction;
pub use origins::Origins;
pub use payload::{IntoPayload, Payload};
pub use peer::{Ack, Answer, Call, Peer, Ping, Pong, Response, Sending};
pub use pending::PendingCall;
pub use router::{
    Argument, Dispatched, Handler, IntoReply, Outcome, Packet, PanicReport, Request, Route, Router, State,
};
#[cfg(feature = "tower")]
pub use router::{HandlerFuture, HandlerService};
pub use server::{Server, ServerHandle};
#[cfg(feature = "service")]
#[doc(hidden)]
pub use service::__service;
#[cfg(feature = "service")]
pub use service::{Calls, ServiceCall, service};
pub use service::{RegisterError, Service};
#[cfg(feature = "json")]
pub use subscription::{Subscribed, Subscription};
#[cfg(feature = "tower")]
pub use tower::{BoxError, CallRequest};
