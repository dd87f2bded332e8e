//! Two programs whose size is published: a server with two endpoints, and a full peer

mod peer;
mod server;

pub use peer::{State, Tag};
pub use server::server;
