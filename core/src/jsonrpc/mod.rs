//! The JSON-RPC 2.0 dialect: requests, notifications and replies as JSON objects, single or in batches
//!
//! | message | members | how it is told from the others |
//! |---|---|---|
//! | request | `jsonrpc`, `method`, `params`, `id` | a `method`, and an `id`, which may be `null` |
//! | notification | `jsonrpc`, `method`, `params` | a `method`, and no `id` |
//! | reply | `jsonrpc`, `id`, `result` or `error` | `result` or `error`, and no `method` |
//! | batch | an array of these | |
//!
//! Only members of the outermost object count, the last where there are several of one name; names are compared after their
//! escapes are undone, and other members are passed over. Payloads (`params`, `result`, the error's `data`) are raw JSON in and out: no tree is
//! built. A value is read to its end before anything of it is handed out.
//!
//! Where the specification is silent, or contradicts itself:
//!
//! * Not JSON: -32700 with id `null`, and the rest of the line ([`Framing::Lines`]) or the frame is passed over; the connection goes on.
//!   So is text that is nested deeper than [`JsonRpc::max_depth`] or holds a number of more than 1,024 characters.
//! * JSON but no request: -32600 with the id where it is a string, a number or `null` of at most 1,024 bytes, else with `null`. That is a wrong
//!   `jsonrpc`, a `method` that is no string or is longer than [`Limits::max_method`](crate::Limits::max_method), and `params` that are neither array, object
//!   nor `null` (which is as good as none).
//! * What has a text as `method` and no `id` is a notification, and never answered, whatever else is wrong with it.
//! * `id: null` is a request, and answered with `null`. Ids go back as they came, digit by digit.
//! * A message longer than [`Limits::max_payload`](crate::Limits::max_payload), its method and 1,024 bytes: -32600 with the id, if that came soon enough, and it is passed over
//!   as it comes, in constant memory.
//! * A reply is never answered. One that can't be used ends the call that it names with an error, and touches no other.
//!   Of `result` and `error` that are both there the error counts, unless it is `null`.
//! * Answers to a batch go out as one array as soon as the last is there, in the order of completion; a batch that is owed nothing gets nothing.
//!   The refusals of a connection that is busy or drains are among them. While more bytes of answers than
//!   [`Limits::max_payload`](crate::Limits::max_payload) wait for their batch, new batches are refused.
//! * `rpc.ping` is answered with `null` by the dialect itself. Our pings are requests for it; an error for an answer proves life as well.

mod batches;
pub mod codes;
mod dialect;
mod envelope;
mod framing;
mod owed;
mod scan;
mod text;
mod value;
mod write;

pub use dialect::{Control, JsonRpc, Own};
pub use framing::Framing;
pub use text::{member, unescape};
pub use value::{is_json, only_element, quote};

/// What is said about a message beside its method and payload
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Notes {
    /// The method, or the message of an error, is as it stands between the quotes and holds escapes: [`unescape`] undoes
    /// them; no meaning for what is sent
    pub escaped: bool,
    /// The code of an error; [`codes::SERVER_ERROR`] where an error is sent without
    pub error: Option<i64>,
}

/// Ids of our calls are numbers from 1 to this
const SEQUENCES: u32 = 0x7fff_ffff;
