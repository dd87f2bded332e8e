//! The promises at the socket, on every runtime, protocol and transport alike
//!
//! Each body is written once, against [`rig::Rig`], and becomes a test of its own on every stack: a runtime, and a
//! [`wire`](wire::Wire), which is a protocol and what carries it; some also over a transport that reads and writes one byte at a time.
//!
//! A body runs on a thread of its own, beside the runtime, so it may block on raw sockets and channels. Nothing sleeps
//! to let others come first; times are upper limits only.

/// Makes a test of each body on each stack that has what the body is about
///
/// | class | what its bodies need | wires |
/// |---|---|---|
/// | `everywhere` | a client that calls | all |
/// | `both_ways` | that the server calls its clients too, a connection that lasts, or messages in order | all but HTTP POST: an exchange has no way back and is a connection of its own, and exchanges have no order |
/// | `raw` | a peer that is nothing but a socket | FlyRPC; JSON-RPC over TCP, by lines and with headers, and behind `CONNECT` |
/// | `fly` | what only FlyRPC has: codes, `$hello`, compression, packets | FlyRPC |
/// | `texts` | a client that is nothing but a socket, and asks | all of JSON-RPC |
/// | `json` | a raw peer that speaks JSON-RPC | those of `raw`, without FlyRPC |
///
/// Of each: `_at_speed`, not byte by byte, where it would take hours to fill a buffer, and of JSON-RPC over one wire; `_unproxied`, not where
/// a proxy stands between the ends, whose sockets take much before they are full; `_futures`, not on threads, which can't drop a call's
/// future.
///
/// What does not exist: blocking by HTTP POST, which flyrpc-blocking does not offer. JSON-RPC byte by byte and on one thread is tested
/// over TCP by lines alone.
macro_rules! on_all_stacks {
    (
        $(everywhere: $($everywhere:ident)*;)?
        $(both_ways: $($both_ways:ident)*;)?
        $(raw: $($raw:ident)*;)?
        $(raw_at_speed: $($raw_at_speed:ident)*;)?
        $(raw_unproxied: $($raw_unproxied:ident)*;)?
        $(fly: $($fly:ident)*;)?
        $(fly_futures: $($fly_futures:ident)*;)?
        $(texts: $($texts:ident)*;)?
        $(json: $($json:ident)*;)?
        $(json_at_speed: $($json_at_speed:ident)*;)?
        $(json_futures: $($json_futures:ident)*;)?
    ) => {
        on_stacks! {
            (on_tokio stacks::tokio Fly)
            (on_tokio_one_thread stacks::tokio_one_thread Fly)
            (on_smol stacks::smol Fly):
            {
                $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($raw_at_speed)*)? $($($raw_unproxied)*)?
                $($($fly)*)? $($($fly_futures)*)?
            }
        }
        on_stacks! {
            (on_tokio_bytewise stacks::tokio_bytewise Fly)
            (on_tokio_one_thread_bytewise stacks::tokio_one_thread_bytewise Fly)
            (on_smol_bytewise stacks::smol_bytewise Fly):
            {
                $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($raw_unproxied)*)? $($($fly)*)?
                $($($fly_futures)*)?
            }
        }
        on_stacks! {
            (on_blocking threads::blocking Fly):
            {
                $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($raw_at_speed)*)? $($($raw_unproxied)*)?
                $($($fly)*)?
            }
        }
        on_stacks! {
            (on_blocking_bytewise threads::blocking_bytewise Fly):
            { $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($fly)*)? }
        }
        on_stacks! {
            (on_tokio_json_lines stacks::tokio Lines)
            (on_smol_json_lines stacks::smol Lines):
            {
                $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($raw_at_speed)*)? $($($raw_unproxied)*)?
                $($($texts)*)? $($($json)*)? $($($json_at_speed)*)? $($($json_futures)*)?
            }
        }
        on_stacks! {
            (on_tokio_json_lines_bytewise stacks::tokio_bytewise Lines)
            (on_tokio_one_thread_json_lines stacks::tokio_one_thread Lines)
            (on_tokio_json_headers stacks::tokio Headers)
            (on_tokio_json_connect stacks::tokio Connect)
            (on_smol_json_lines_bytewise stacks::smol_bytewise Lines)
            (on_smol_json_headers stacks::smol Headers)
            (on_smol_json_connect stacks::smol Connect):
            {
                $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($texts)*)? $($($json)*)?
                $($($json_futures)*)?
            }
        }
        on_stacks! {
            (on_tokio_json_unix stacks::tokio Unix)
            (on_tokio_json_websocket stacks::tokio WebSocket)
            (on_smol_json_unix stacks::smol Unix)
            (on_smol_json_websocket stacks::smol WebSocket)
            (on_blocking_json_unix threads::blocking Unix)
            (on_blocking_json_websocket threads::blocking WebSocket):
            { $($($everywhere)*)? $($($both_ways)*)? $($($texts)*)? }
        }
        on_stacks! {
            (on_tokio_json_post stacks::tokio Post)
            (on_smol_json_post stacks::smol Post):
            { $($($everywhere)*)? $($($texts)*)? }
        }
        on_stacks! {
            (on_blocking_json_lines threads::blocking Lines):
            {
                $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($raw_at_speed)*)? $($($raw_unproxied)*)?
                $($($texts)*)? $($($json)*)? $($($json_at_speed)*)?
            }
        }
        on_stacks! {
            (on_blocking_json_lines_bytewise threads::blocking_bytewise Lines)
            (on_blocking_json_headers threads::blocking Headers)
            (on_blocking_json_connect threads::blocking Connect):
            { $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($texts)*)? $($($json)*)? }
        }
    };
}

macro_rules! on_stacks {
    ($(($stack:ident $module:ident::$run:ident $wire:ident))*: $bodies:tt) => {
        $( on_stack! { $stack $module $run $wire $bodies } )*
    };
}

macro_rules! on_stack {
    // No body of this file's runs on it.
    ($stack:ident $module:ident $run:ident $wire:ident {}) => {};
    ($stack:ident $module:ident $run:ident $wire:ident { $($body:ident)* }) => {
        mod $stack {
            $(
                #[test]
                fn $body() {
                    let name = concat!(stringify!($stack), "::", stringify!($body));
                    crate::$module::$run(name, |rig| Box::pin(super::$body(rig)), crate::wire::Wire::$wire);
                }
            )*
        }
    };
}

mod batches;
mod bytes;
mod cuts;
mod drain;
mod ends;
mod handlers;
mod keepalive;
mod life;
mod nest;
mod order;
mod pressure;
mod raw;
mod replies;
mod requests;
mod rig;
mod secrecy;
mod server;
mod stacks;
mod texts;
mod threads;
mod trickle;
mod wire;
