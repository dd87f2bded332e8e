//! What a handler may take

use core::any::type_name;
use core::ops::Deref;
use std::sync::Arc;

use flyrpc_core::fly::codes;

use super::request::{Packet, Request};
use crate::{Caller, Context, Decode, RemoteError, format};

/// What a handler may take
///
/// | argument | what it is | in `async` handlers |
/// |---|---|---|
/// | `&Request<P>` | all of it | no |
/// | `&Context<P>`, `Context<P>` | who sent it, the deadline, shared and session data | owned |
/// | `&Packet`, `Packet` | the packet as it came | owned |
/// | `&[u8]`, `Vec<u8>`, `Bytes` | the payload; `Bytes` does not copy it | owned |
/// | `&str`, `String` | the payload as text | owned |
/// | `Json<T>` and the other formats, whatever [decodes](Decode) | the payload as that | yes |
/// | [`State<T>`] | the router's value of type `T` | yes |
/// | `Option<A>` | `None` where `A` can't be had, for whatever reason | if `A` is |
/// | `Result<A, RemoteError>` | the reason too | if `A` is |
///
/// An argument that can't be had answers the request: `BAD_PAYLOAD` if it is the payload's fault.
///
/// The parameters of a JSON-RPC request are the payload as they came, so bytes and text are raw JSON. For what decodes, an
/// array of one element is as good as the element, and absent parameters as `null`.
///
/// Implement it for a type of your own to take something else from a request:
///
/// ```
/// use flyrpc_driver::{Argument, Caller, RemoteError, Request, Router};
///
/// struct User(String);
///
/// impl<P: Caller> Argument<P> for User {
///     type Item<'r> = Self;
///
///     fn take(request: &Request<P>) -> Result<Self, RemoteError> {
///         let user = request.context().session().get::<String>().ok_or("LOG_IN_FIRST")?;
///         Ok(Self(user.to_string()))
///     }
/// }
///
/// fn router<P: Caller>() -> Router<P> {
///     Router::new()
///         .handle("log in", |request: &Request<P>| -> Result<(), RemoteError> {
///             request.context().session().insert(request.text()?.to_owned());
///             Ok(())
///         })
///         .handle("who am I", |user: User| user.0)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the argument of a handler",
    label = "not an argument",
    note = "a handler takes bytes, text, `Context`, `Packet`, `State<T>`, `&Request`, a format such as `Json<T>`, or \
            whatever implements `Decode` or `Argument`"
)]
pub trait Argument<P: Caller> {
    /// The same type, for the time of a request
    type Item<'r>;

    /// Takes it from the request
    ///
    /// # Errors
    /// What the request is answered with.
    fn take<'r>(request: &'r Request<P>) -> Result<Self::Item<'r>, RemoteError>;
}

#[diagnostic::do_not_recommend]
impl<P: Caller, T: Decode> Argument<P> for T {
    type Item<'r> = T;

    fn take(request: &Request<P>) -> Result<T, RemoteError> {
        Ok(request.decode()?)
    }
}

impl<P: Caller> Argument<P> for &Request<P> {
    type Item<'r> = &'r Request<P>;

    fn take<'r>(request: &'r Request<P>) -> Result<Self::Item<'r>, RemoteError> {
        Ok(request)
    }
}

impl<P: Caller> Argument<P> for &Context<P> {
    type Item<'r> = &'r Context<P>;

    fn take<'r>(request: &'r Request<P>) -> Result<Self::Item<'r>, RemoteError> {
        Ok(request.context())
    }
}

impl<P: Caller> Argument<P> for Context<P> {
    type Item<'r> = Self;

    fn take(request: &Request<P>) -> Result<Self, RemoteError> {
        Ok(request.context().clone())
    }
}

impl<P: Caller> Argument<P> for &Packet {
    type Item<'r> = &'r Packet;

    fn take<'r>(request: &'r Request<P>) -> Result<Self::Item<'r>, RemoteError> {
        Ok(request.packet())
    }
}

impl<P: Caller> Argument<P> for Packet {
    type Item<'r> = Self;

    fn take(request: &Request<P>) -> Result<Self, RemoteError> {
        Ok(request.packet().clone())
    }
}

impl<P: Caller> Argument<P> for &[u8] {
    type Item<'r> = &'r [u8];

    fn take<'r>(request: &'r Request<P>) -> Result<Self::Item<'r>, RemoteError> {
        Ok(request.payload())
    }
}

impl<P: Caller> Argument<P> for &str {
    type Item<'r> = &'r str;

    fn take<'r>(request: &'r Request<P>) -> Result<Self::Item<'r>, RemoteError> {
        Ok(format::text(request.payload())?)
    }
}

impl<P: Caller, A: Argument<P>> Argument<P> for Option<A> {
    type Item<'r> = Option<A::Item<'r>>;

    fn take<'r>(request: &'r Request<P>) -> Result<Self::Item<'r>, RemoteError> {
        Ok(A::take(request).ok())
    }
}

impl<P: Caller, A: Argument<P>> Argument<P> for Result<A, RemoteError> {
    type Item<'r> = Result<A::Item<'r>, RemoteError>;

    fn take<'r>(request: &'r Request<P>) -> Result<Self::Item<'r>, RemoteError> {
        Ok(A::take(request))
    }
}

/// The value of type `T` that [`Router::state`](super::Router::state) shares
///
/// A router without such a value answers the request `ERROR`, with the name of the type as details.
#[derive(Debug, Default)]
pub struct State<T>(
    /// The value
    pub Arc<T>,
);

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<P: Caller, T: Send + Sync + 'static> Argument<P> for State<T> {
    type Item<'r> = Self;

    fn take(request: &Request<P>) -> Result<Self, RemoteError> {
        request.context().state().map(Self).ok_or_else(|| {
            RemoteError::new(codes::ERROR)
                .details(format!("the router has no state of type {}", type_name::<T>()))
        })
    }
}
