//! Middleware of tower's around handlers, and services as handlers

use core::future::poll_fn;
use core::task::{Context, Poll};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use tower_layer::Layer;
use tower_service::Service;

use super::panics::Hook;
use super::{Dispatched, IntoReply, Outcome, Request, Route, Router};
use crate::tower::BoxError;
use crate::{Caller, Error, FormatError, RemoteError};

/// A handler as a service: what a [layer](Router::layer) is put around
///
/// A cheap clone. It is always ready; its error is what the request would be answered with.
pub struct HandlerService<P> {
    route: Arc<Route<P>>,
    hook: Arc<OnceLock<Hook>>,
}

impl<P> Clone for HandlerService<P> {
    fn clone(&self) -> Self {
        Self { route: Arc::clone(&self.route), hook: Arc::clone(&self.hook) }
    }
}

impl<P: Caller> Service<Request<P>> for HandlerService<P> {
    type Response = Bytes;
    type Error = RemoteError;
    type Future = HandlerFuture<P>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RemoteError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<P>) -> HandlerFuture<P> {
        HandlerFuture { handler: self.clone(), state: State::Start(Some(request)) }
    }
}

/// What [`HandlerService`] answers with, later
#[must_use = "a handler does nothing until it is polled"]
pub struct HandlerFuture<P> {
    handler: HandlerService<P>,
    state: State<P>,
}

enum State<P> {
    Start(Option<Request<P>>),
    Pending(Dispatched),
}

impl<P: Caller> Future for HandlerFuture<P> {
    type Output = Outcome;

    fn poll(self: core::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.get_mut();
        if let State::Start(request) = &mut this.state {
            let Some(request) = request.take() else { return Poll::Pending };
            let dispatched = this.handler.route.run(request, this.handler.hook.get(), cx);
            if let Dispatched::Ready(outcome) = dispatched {
                return Poll::Ready(outcome);
            }
            this.state = State::Pending(dispatched);
            return Poll::Pending;
        }
        match &mut this.state {
            State::Pending(Dispatched::Pending(handler)) => handler.as_mut().poll(cx),
            State::Pending(Dispatched::Ready(_)) | State::Start(_) => Poll::Pending,
        }
    }
}

impl<P> Unpin for HandlerFuture<P> {}

impl<P> core::fmt::Debug for HandlerService<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("HandlerService")
    }
}

impl<P> core::fmt::Debug for HandlerFuture<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("HandlerFuture")
    }
}

impl<P: Caller> Router<P> {
    /// Puts middleware around each handler that is here already, and around the fallback
    ///
    /// Each handler is layered by itself: a concurrency limit counts per code; for one over all of them take tower's
    /// `GlobalConcurrencyLimitLayer`. A code that is not known is answered without. Each request has a clone of the service,
    /// which is asked first whether it is ready.
    ///
    /// An error of the middleware's is answered as what it is: a [`RemoteError`], or an [`Error`](crate::Error) or
    /// [`FormatError`], itself or as a [`source`](core::error::Error::source); with the `tower` feature of `flyrpc-tokio`
    /// tower's `Elapsed` is answered `TIMEOUT` and its `Overloaded` `BUSY`; any other `ERROR`, and the peer learns no more.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<HandlerService<P>>,
        L::Service: Service<Request<P>, Response: IntoReply, Error: Into<BoxError>, Future: Send>,
        L::Service: Clone + Send + 'static,
    {
        let wrap = |route: Route<P>| {
            let hook = Arc::new(OnceLock::new());
            let handler = HandlerService { route: Arc::new(route), hook: Arc::clone(&hook) };
            of_service(layer.layer(handler)).shows_hook(hook)
        };
        self.routes = self.routes.into_iter().map(|(code, route)| (code, wrap(route))).collect();
        self.fallback = self.fallback.map(wrap);
        self
    }

    /// Lets a service answer what is sent under `code`; see [`layer`](Self::layer) for its errors
    #[must_use]
    pub fn handle_service<S>(mut self, code: &str, service: S) -> Self
    where
        S: Service<Request<P>, Response: IntoReply, Error: Into<BoxError>, Future: Send>,
        S: Clone + Send + 'static,
    {
        self.insert(code, of_service(service));
        self
    }

    /// Lets a service answer what has no handler of its own; see [`layer`](Self::layer) for its errors
    #[must_use]
    pub fn fallback_service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<P>, Response: IntoReply, Error: Into<BoxError>, Future: Send>,
        S: Clone + Send + 'static,
    {
        self.fallback = Some(of_service(service));
        self
    }
}

/// A service as a handler
fn of_service<P, S>(service: S) -> Route<P>
where
    P: Caller,
    S: Service<Request<P>, Response: IntoReply, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
{
    // Only to be cloned: many a service can't be shared.
    let service = Mutex::new(service);
    Route::later(move |request: &Request<P>| {
        let mut service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let request = request.clone();
        Ok(async move {
            let peer = request.peer().clone();
            // Turned at once: a service's own error need not be `Send`.
            let told = |error: S::Error| answer_to(&peer, error.into());
            poll_fn(|cx| service.poll_ready(cx).map_err(told)).await?;
            service.call(request).await.map_err(told)?.into_reply()
        })
    })
}

/// What the peer is told of a service's error
fn answer_to<P: Caller>(peer: &P, error: BoxError) -> RemoteError {
    let mut cause: Option<&(dyn core::error::Error + 'static)> = Some(&*error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<RemoteError>() {
            return error.clone();
        }
        if let Some(error) = error.downcast_ref::<Error>() {
            return error.clone().into();
        }
        if let Some(error) = error.downcast_ref::<FormatError>() {
            return error.clone().into();
        }
        if let Some(code) = peer.error_code(error) {
            return RemoteError::new(code);
        }
        cause = error.source();
    }
    RemoteError::new(flyrpc_core::fly::codes::ERROR)
}
