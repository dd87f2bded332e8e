//! Handlers of every shape, on a peer that is none

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

#[allow(dead_code, unreachable_pub, reason = "shared by two test binaries, which use different parts")]
mod common;
mod context;
mod errors;
#[cfg(all(
    feature = "json",
    feature = "msgpack",
    feature = "protobuf",
    feature = "borsh",
    feature = "postcard"
))]
mod formats;
mod panics;
mod payloads;
mod routes;
mod shapes;
