//! Codes with a meaning of their own
//!
//! A response with an empty code is a success; any other code is an error. Those here are sent by FlyRPC programs
//! themselves; applications choose theirs freely, except that a code can't hold a 0x00 byte and that those beginning
//! with `$` are reserved.

/// The handler took too long (Go; local to the caller there)
pub const TIMEOUT: &str = "TIMEOUT";
/// No handler for the code (Go)
pub const NOT_FOUND: &str = "NOT_FOUND";
/// The handler panicked (Go)
pub const HANDLER_PANIC: &str = "HANDLER_PANIC";
/// The code is not UTF-8 (ours)
pub const BAD_CODE: &str = "BAD_CODE";
/// The payload is not what the handler takes (ours)
pub const BAD_PAYLOAD: &str = "BAD_PAYLOAD";
/// Code or payload do not inflate (ours)
pub const BAD_ZIP: &str = "BAD_ZIP";
/// The payload, as sent or inflated, is longer than the receiver takes (ours)
pub const TOO_LARGE: &str = "TOO_LARGE";
/// Too many requests wait for an answer (ours)
pub const BUSY: &str = "BUSY";
/// The caller cancelled the request (ours)
pub const CANCELLED: &str = "CANCELLED";
/// The receiver takes no new requests (ours)
pub const DRAINING: &str = "DRAINING";
/// An error without a code of its own (ours): an empty code would mean success
pub const ERROR: &str = "ERROR";

/// A request whose payload comes back as it went (ours)
pub const PING: &str = "$ping";
/// A message: the sender no longer waits for the answer to the request whose sequence (u16 BE) is the payload (ours)
pub const CANCEL: &str = "$cancel";
/// A request with, and answered by, a list of capabilities (ours)
pub const HELLO: &str = "$hello";
