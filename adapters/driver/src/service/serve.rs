//! Methods of a trait as handlers

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use bytes::Bytes;
use pin_project_lite::pin_project;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::params::{self, Method, Params};
use crate::{Argument, Caller, FormatError, Handler, Outcome, RemoteError, Request, Service, WireFormat};

/// What can be a parameter or the result of a service's method
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a parameter or result of a service",
    label = "is not sent or not read by serde",
    note = "it needs `#[derive(serde::Serialize, serde::Deserialize)]`, and to be `Send` and without borrowed data"
)]
pub trait Value: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Value for T {}

/// What can be the error of a service's method
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the error of a service's method",
    label = "does not become a `RemoteError`",
    note = "implement `From<{Self}> for RemoteError`"
)]
pub trait Failure: Into<RemoteError> {}

#[diagnostic::do_not_recommend]
impl<E: Into<RemoteError>> Failure for E {}

/// Compiles where a type can be a parameter or result
pub const fn value<T: Value>() {}

/// Compiles where a type can be an error
pub const fn failure<E: Failure>() {}

/// Adds a method that has its result when it returns
pub fn now<P, A, T>(
    service: Service<P>,
    method: &'static Method,
    answer: impl Fn(&Request<P>, A) -> Result<T, RemoteError> + Send + Sync + 'static,
) -> Service<P>
where
    P: Caller,
    A: Params + 'static,
    T: Value,
{
    add(service, method, move |request: &Request<P>| -> Outcome {
        let format = request.peer().format();
        let arguments = params::read(method, format, request.payload())?;
        let result = answer(request, arguments)?;
        Ok(write(method, format, &result)?)
    })
}

/// Adds a method that has its result later
pub fn later<P, A, T, F>(
    service: Service<P>,
    method: &'static Method,
    start: impl Fn(&Request<P>, A) -> Result<F, RemoteError> + Send + Sync + 'static,
) -> Service<P>
where
    P: Caller,
    A: Params + 'static,
    T: Value,
    F: Future<Output = Result<T, RemoteError>> + Send + 'static,
{
    add(service, method, move |Taken(request): Taken<P>| {
        let format = request.peer().format();
        let arguments = params::read::<A>(method, format, request.payload());
        match arguments.map_err(RemoteError::from).and_then(|arguments| start(&request, arguments)) {
            Ok(result) => Answering::Running { result, method, format },
            Err(error) => Answering::Failed { error: Some(error) },
        }
    })
}

fn add<A, P: Caller>(
    service: Service<P>,
    method: &'static Method,
    handler: impl Handler<A, P>,
) -> Service<P> {
    if method.full { service.method_as(method.code, handler) } else { service.method(method.name, handler) }
}

fn write<T: Serialize>(method: &Method, format: WireFormat, result: &T) -> Result<Bytes, FormatError> {
    if method.returns_nothing { Ok(Bytes::new()) } else { format.encode(result) }
}

/// A request that an `async` handler keeps
struct Taken<P>(Request<P>);

impl<P: Caller> Argument<P> for Taken<P> {
    type Item<'r> = Self;

    fn take(request: &Request<P>) -> Result<Self, RemoteError> {
        Ok(Self(request.clone()))
    }
}

pin_project! {
    /// A method under way
    #[project = AnsweringNow]
    enum Answering<F> {
        Running { #[pin] result: F, method: &'static Method, format: WireFormat },
        Failed { error: Option<RemoteError> },
    }
}

impl<T, F> Future for Answering<F>
where
    T: Value,
    F: Future<Output = Result<T, RemoteError>>,
{
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.project() {
            AnsweringNow::Running { result, method, format } => {
                let result = ready!(result.poll(cx));
                Poll::Ready(result.and_then(|result| Ok(write(method, *format, &result)?)))
            }
            AnsweringNow::Failed { error } => {
                error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
            }
        }
    }
}
