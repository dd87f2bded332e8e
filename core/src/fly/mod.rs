//! The FlyRPC dialect: packets with a flag, a sequence, a code and a payload
//!
//! FlyRPC's own API has levels; this is where each of them is:
//!
//! | level | what it shows | here |
//! |---|---|---|
//! | 1 | packets as they are on the wire | [`RawPacket`] |
//! | 2 | packets with code and payload inflated | [`zip`] on top of it |
//! | 3 | requests, responses, messages | [`Connection<Fly, _>`](crate::Connection) |
//! | 4 | calls and handlers | the adapters |

pub mod codes;
mod control;
mod dialect;
mod hello;
mod utf8;
mod wire;
pub mod zip;

pub use control::Control;
pub use dialect::{Base, Fly, Grammar, Raw};
pub use hello::Capabilities;
pub use wire::{Flag, Head, RawPacket, Zip, decode_head, encode_head};
