//! The promises at the socket, on every runtime alike
//!
//! Each body is written once, against [`rig::Rig`], and becomes a test of its own on every stack: a runtime over TCP, and the
//! same over a transport that reads and writes one byte at a time.
//!
//! A body runs on a thread of its own, beside the runtime, so it may block on raw sockets and channels. Nothing sleeps
//! to let others come first; times are upper limits only.

/// Makes a test of each body on each stack
///
/// `at_speed`: not byte by byte, where it would take hours to fill a buffer; `unproxied`: not where a proxy stands between the
/// ends, whose sockets take much before they are full; `futures`: not on threads, which can't drop a call's future
macro_rules! on_all_stacks {
    (
        $($body:ident)*
        $(; at_speed: $($fast_body:ident)*)?
        $(; unproxied: $($direct_body:ident)*)?
        $(; futures: $($async_body:ident)*)?
    ) => {
        on_stack! {
            on_tokio: crate::stacks::tokio;
            $($body)* $($($fast_body)*)? $($($direct_body)*)? $($($async_body)*)?
        }
        on_stack! {
            on_tokio_bytewise: crate::stacks::tokio_bytewise;
            $($body)* $($($direct_body)*)? $($($async_body)*)?
        }
        on_stack! {
            on_tokio_one_thread: crate::stacks::tokio_one_thread;
            $($body)* $($($fast_body)*)? $($($direct_body)*)? $($($async_body)*)?
        }
        on_stack! {
            on_tokio_one_thread_bytewise: crate::stacks::tokio_one_thread_bytewise;
            $($body)* $($($direct_body)*)? $($($async_body)*)?
        }
        on_stack! {
            on_smol: crate::stacks::smol;
            $($body)* $($($fast_body)*)? $($($direct_body)*)? $($($async_body)*)?
        }
        on_stack! {
            on_smol_bytewise: crate::stacks::smol_bytewise;
            $($body)* $($($direct_body)*)? $($($async_body)*)?
        }
        on_stack! {
            on_blocking: crate::threads::blocking;
            $($body)* $($($fast_body)*)? $($($direct_body)*)?
        }
        on_stack! { on_blocking_bytewise: crate::threads::blocking_bytewise; $($body)* }
    };
}

macro_rules! on_stack {
    ($stack:ident: $run:path; $($body:ident)*) => {
        mod $stack {
            $(
                #[test]
                fn $body() {
                    $run(concat!(stringify!($stack), "::", stringify!($body)), super::$body);
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
