//! What the fuzz targets do, as functions that the ordinary tests can call too
//!
//! Each takes arbitrary bytes and panics when a promise is broken. `fuzz/` wraps them for libFuzzer; `tests/corpora.rs` replays
//! the committed corpora through them. The fourth, `model`, is [`crate::model::fuzz`].

mod connection;
mod jsonrpc_model;
mod jsonrpc_wire;
mod serial_line;
mod wire;
mod zip;

pub use crate::model::fuzz as model;
pub use connection::connection;
pub use jsonrpc_model::jsonrpc_model;
pub use jsonrpc_wire::jsonrpc_wire;
pub use serial_line::serial_line;
pub use wire::wire;
pub use zip::zip;
