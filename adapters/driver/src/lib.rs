//! FlyRPC for any async runtime: peers, routers, formats and the connection driver

#![forbid(unsafe_code)]

mod address;
mod context;
mod error;
mod extensions;
mod format;
mod payload;
mod router;

pub use address::{Address, BadAddress};
pub use context::{Caller, ConnectionId, Context, Info, RequestId};
pub use error::{Error, FormatError, RemoteError, UnreadableReply};
pub use extensions::{Extensions, Session};
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
pub use payload::{IntoPayload, Payload};
pub use router::{
    Argument, Dispatched, Handler, IntoReply, Outcome, Packet, PanicReport, Request, Route, Router, State,
};
