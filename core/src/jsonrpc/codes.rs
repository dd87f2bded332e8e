//! Error codes with their messages

/// The text is not JSON, or passes a limit that makes it unreadable
pub const PARSE_ERROR: i64 = -32700;

/// JSON, but not a request
pub const INVALID_REQUEST: i64 = -32600;

/// There is no such method
pub const METHOD_NOT_FOUND: i64 = -32601;

/// The parameters are not what the method takes
pub const INVALID_PARAMS: i64 = -32602;

/// The method failed without saying how; a panic, for one
pub const INTERNAL_ERROR: i64 = -32603;

/// As many requests wait as the receiver takes (ours, from the range that is left to servers)
pub const BUSY: i64 = -32000;

/// A handler's error that has no code of its own (net/rpc)
pub const SERVER_ERROR: i64 = -32001;

/// There is no service of that name (net/rpc)
pub const SERVICE_NOT_FOUND: i64 = -32002;

/// The caller no longer wanted the answer (Language Server Protocol, `RequestCancelled`)
pub const CANCELLED: i64 = -32800;

/// The message that goes with a code; `Server error` for one that has none of its own
#[must_use]
pub const fn message(code: i64) -> &'static str {
    match code {
        PARSE_ERROR => "Parse error",
        INVALID_REQUEST => "Invalid Request",
        METHOD_NOT_FOUND => "Method not found",
        INVALID_PARAMS => "Invalid params",
        INTERNAL_ERROR => "Internal error",
        BUSY => "Busy",
        SERVICE_NOT_FOUND => "Service not found",
        CANCELLED => "Request cancelled",
        _ => "Server error",
    }
}

/// What a peer that drains answers new requests with; its code is [`BUSY`]
pub const DRAINING_MESSAGE: &str = "Draining";

/// A request for this is answered with `null` by the dialect itself; the specification leaves names with `rpc.` to
/// extensions
pub const PING: &str = "rpc.ping";

/// The usual name of the notification that takes a request back (Language Server Protocol)
pub const CANCEL_REQUEST: &str = "$/cancelRequest";
