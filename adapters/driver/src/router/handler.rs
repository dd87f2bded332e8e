//! Functions as handlers

use super::route::Route;
use super::{Argument, IntoReply};
use crate::Caller;

/// A function or closure that answers requests
///
/// It takes up to six [arguments](Argument), in any order, and gives a [reply](IntoReply) or, as an `async` function or
/// a closure with an `async` block, a `Send` future of one. `A` tells these shapes apart; the compiler finds it.
///
/// A handler that is not `async` may borrow from the request for as long as it runs (`&str`, `&[u8]`, `&Request<P>`).
/// It runs where the connection's bytes are read, so it should not block. An `async` one owns its arguments. What a
/// function gives back as `impl Fn(..)` is no handler itself; a closure around it is: `move |payload: Bytes| made(payload)`.
///
/// ```
/// use flyrpc_driver::{Caller, Context, Packet, Router};
///
/// fn count(text: &str) -> String {
///     text.chars().count().to_string()
/// }
///
/// async fn greet<P: Caller>(name: String, context: Context<P>) -> String {
///     format!("hello, {name} at {}", context.remote())
/// }
///
/// fn router<P: Caller>() -> Router<P> {
///     Router::new()
///         .handle("count", count)
///         .handle("greet", greet)
///         .handle("version", || "1.0")
///         .handle("both", |payload: &[u8], packet: &Packet| format!("{}: {payload:?}", packet.sequence))
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't handle requests",
    label = "not a handler",
    note = "a handler is a function or a closure, `async` or not, with up to six arguments that implement `Argument` and a \
            result that implements `IntoReply`",
    note = "closures need the types of their arguments written down; `async` handlers can't borrow from the request, and \
            their futures are `Send`"
)]
pub trait Handler<A, P>: Sized {
    /// The handler, whatever its shape
    fn into_route(self) -> Route<P>;
}

/// Marks functions that have their reply when they return
#[doc(hidden)]
pub enum Sync {}

/// Marks functions that give a future
#[doc(hidden)]
pub enum Async {}

macro_rules! handler {
    ($($arg:ident $name:ident),*) => {
        #[diagnostic::do_not_recommend]
        impl<P, F, R, $($arg),*> Handler<(Sync, fn($($arg),*) -> R), P> for F
        where
            P: Caller,
            $($arg: Argument<P> + 'static,)*
            // The first bound lets the compiler find the arguments, the second takes them for any time.
            F: Fn($($arg),*) -> R + for<'r> Fn($($arg::Item<'r>),*) -> R + Send + core::marker::Sync + 'static,
            R: IntoReply + 'static,
        {
            fn into_route(self) -> Route<P> {
                /// With one bound only, so that it is clear which is called
                fn call<R, $($arg),*>(function: impl Fn($($arg),*) -> R, $($name: $arg),*) -> R {
                    function($($name),*)
                }
                Route::sync(move |_request| {
                    $(let $name = $arg::take(_request)?;)*
                    call(&self, $($name),*).into_reply()
                })
            }
        }

        #[diagnostic::do_not_recommend]
        impl<P, F, R, $($arg),*> Handler<(Async, fn($($arg),*) -> R), P> for F
        where
            P: Caller,
            $($arg: for<'r> Argument<P, Item<'r> = $arg> + 'static,)*
            F: Fn($($arg),*) -> R + Send + core::marker::Sync + 'static,
            R: Future<Output: IntoReply> + Send + 'static,
        {
            fn into_route(self) -> Route<P> {
                Route::later(move |_request| {
                    $(let $name = $arg::take(_request)?;)*
                    Ok(self($($name),*))
                })
            }
        }
    };
}

handler!();
handler!(A1 a1);
handler!(A1 a1, A2 a2);
handler!(A1 a1, A2 a2, A3 a3);
handler!(A1 a1, A2 a2, A3 a3, A4 a4);
handler!(A1 a1, A2 a2, A3 a3, A4 a4, A5 a5);
handler!(A1 a1, A2 a2, A3 a3, A4 a4, A5 a5, A6 a6);
