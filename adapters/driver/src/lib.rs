//! FlyRPC for any async runtime: peers, routers, formats and the connection driver

#![forbid(unsafe_code)]

mod address;
mod calls;
mod client;
mod context;
mod driver;
mod error;
mod extensions;
mod format;
mod hub;
mod inbox;
#[cfg(feature = "_test")]
mod internals;
mod lane;
mod link;
mod options;
mod out;
mod payload;
mod peer;
mod requests;
mod router;
mod running;
pub mod runtime;
mod server;
mod sync;
#[cfg(feature = "tower")]
mod tower;
mod watchers;

pub use address::{Address, BadAddress};
pub use client::{Client, Connected};
pub use context::{Caller, ConnectionId, Context, Info, RequestId};
pub use driver::Driver;
pub use error::{Error, FormatError, RemoteError, UnreadableReply};
pub use extensions::{Extensions, Session};
pub use flyrpc_core::fly::zip::{ZipError, ZipMode};
pub use flyrpc_core::fly::{Capabilities, RawPacket, codes};
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
pub use format::{Decode, Encode};
#[cfg(feature = "_test")]
pub use internals::Internals;
pub use options::Direction;
pub use payload::{IntoPayload, Payload};
pub use peer::{Ack, Answer, Call, Peer, Ping, Pong, Response, Sending};
pub use router::{
    Argument, Dispatched, Handler, IntoReply, Outcome, Packet, PanicReport, Request, Route, Router, State,
};
#[cfg(feature = "tower")]
pub use router::{HandlerFuture, HandlerService};
pub use server::{Server, ServerHandle};
#[cfg(feature = "tower")]
pub use tower::{BoxError, CallRequest};
