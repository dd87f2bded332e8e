//! Subscriptions: one call, and then notifications until either end has had enough
//!
//! The form is that of Ethereum's and Polkadot's nodes, as jsonrpsee's clients and servers speak it: the call is answered with a
//! subscription's id; each notification has the parameters `{"subscription": id, "result": value}`; and a call with `[id]`
//! ends it.

mod receive;
mod serve;

pub use receive::Subscribed;
pub(crate) use receive::take;
pub use serve::Subscription;
