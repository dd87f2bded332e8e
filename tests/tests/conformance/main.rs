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
/// | `both_ways` | that the server calls its clients too, or messages in order: HTTP POST has no way back, and no order | all but POST |
/// | `raw` | a peer that is nothing but a socket | FlyRPC; JSON-RPC over TCP, as lines and with headers, and behind `CONNECT` |
/// | `fly` | what only FlyRPC has: codes, `$hello`, compression, packets | FlyRPC |
/// | `json` | what only JSON-RPC has | those of `raw`, without FlyRPC |
///
/// Of each: `_at_speed`, not byte by byte, where it would take hours to fill a buffer; `_unproxied`, not where a proxy stands between
/// the ends, whose sockets take much before they are full; `_futures`, not on threads, which can't drop a call's future.
macro_rules! on_all_stacks {
    (
        $(everywhere: $($everywhere:ident)*;)?
        $(both_ways: $($both_ways:ident)*;)?
        $(raw: $($raw:ident)*;)?
        $(raw_at_speed: $($raw_at_speed:ident)*;)?
        $(raw_unproxied: $($raw_unproxied:ident)*;)?
        $(fly: $($fly:ident)*;)?
        $(fly_futures: $($fly_futures:ident)*;)?
        $(json: $($json:ident)*;)?
        $(json_futures: $($json_futures:ident)*;)?
    ) => {
        on_stacks! {
            (on_tokio tokio) (on_tokio_one_thread tokio_one_thread) (on_smol smol): Fly
            {
                $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($raw_at_speed)*)? $($($raw_unproxied)*)?
                $($($fly)*)? $($($fly_futures)*)?
            }
        }
        on_stacks! {
            (on_tokio_bytewise tokio_bytewise) (on_tokio_one_thread_bytewise tokio_one_thread_bytewise)
            (on_smol_bytewise smol_bytewise): Fly
            {
                $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($raw_unproxied)*)?
                $($($fly)*)? $($($fly_futures)*)?
            }
        }
        on_stacks! {
            (on_blocking blocking): Fly
            {
                $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($raw_at_speed)*)? $($($raw_unproxied)*)?
                $($($fly)*)?
            }
        }
        on_stacks! {
            (on_blocking_bytewise blocking_bytewise): Fly
            { $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($fly)*)? }
        }
        on_stacks! {
            (on_tokio_json_lines tokio) (on_smol_json_lines smol): Lines
            {
                $($($everywhere)*)? $($($both_ways)*)? $($($raw)*)? $($($raw_at_speed)*)? $($($raw_unproxied)*)?
                $($($json)*)? $($($json_futures)*)?
            }
        }
    };
}

macro_rules! on_stacks {
    ($(($stack:ident $run:ident))*: $wire:ident $bodies:tt) => { $( on_stack! { $stack $run $wire $bodies } )* };
}

macro_rules! on_stack {
    ($stack:ident $run:ident $wire:ident { $($body:ident)* }) => {
        mod $stack {
            $(
                #[test]
                fn $body() {
                    let name = concat!(stringify!($stack), "::", stringify!($body));
                    crate::stacks::$run(name, super::$body, crate::wire::Wire::$wire);
                }
            )*
        }
    };
}

mod bytes;
mod drain;
mod ends;
mod handlers;
mod keepalive;
mod life;
mod nest;
mod order;
mod pressure;
mod raw;
mod rig;
mod secrecy;
mod server;
mod stacks;
mod threads;
mod trickle;
mod wire;
