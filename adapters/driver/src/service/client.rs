//! What typed clients are made of

use core::time::Duration;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::join;
use super::params::{self, Arguments, Method};
use crate::{FormatError, Payload, WireFormat};

/// What a typed client can call through: the `Peer` of each adapter
///
/// What its calls become is the adapter's: a future on async runtimes, a `Result` where calls block.
#[diagnostic::on_unimplemented(
    message = "a service can't be called through `{Self}`",
    note = "a typed client takes the `Peer` of an adapter: `Connected::peer` and `Context::peer` give one"
)]
pub trait Calls {
    /// A call
    type Call<'a, T: DeserializeOwned>
    where
        Self: 'a;

    /// A message
    type Sending<'a>
    where
        Self: 'a;

    /// The format of arguments and results
    fn wire_format(&self) -> WireFormat;

    /// Calls `code`, for `within` at the longest, or as long as the connection says; a payload that is an error fails the call
    fn call_service<'a, T: DeserializeOwned>(
        &'a self,
        code: &'a str,
        payload: Result<Payload<'static>, FormatError>,
        within: Option<Duration>,
    ) -> Self::Call<'a, T>;

    /// Sends a message; a payload that is an error fails it
    fn notify_service<'a>(
        &'a self,
        code: &'a str,
        payload: Result<Payload<'static>, FormatError>,
    ) -> Self::Sending<'a>;
}

/// A typed client without its methods
#[derive(Clone, Debug)]
pub struct ClientCore<P> {
    peer: P,
    within: Option<Duration>,
    /// The methods' codes where the service has another name than the trait says
    codes: Option<Arc<[String]>>,
}

impl<P> ClientCore<P> {
    /// Of a service under its own name
    pub const fn new(peer: P) -> Self {
        Self { peer, within: None, codes: None }
    }

    /// Of a service that was registered under another name
    pub fn named(peer: P, name: &str, separator: &str, methods: &[Method]) -> Self {
        let code = |method: &Method| match method.full {
            true => method.code.to_owned(),
            false => join(name, separator, method.name),
        };
        Self { peer, within: None, codes: Some(methods.iter().map(code).collect()) }
    }

    /// With a time for each call
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.within = Some(timeout);
        self
    }

    /// Who is called
    pub const fn peer(&self) -> &P {
        &self.peer
    }

    fn code(&self, methods: &'static [Method], at: usize) -> &str {
        match &self.codes {
            None => methods[at].code,
            Some(codes) => &codes[at],
        }
    }
}

impl<P: Calls> ClientCore<P> {
    /// Calls the method at this place of the table
    pub fn call<'a, A: Arguments, T: DeserializeOwned>(
        &'a self,
        methods: &'static [Method],
        at: usize,
        arguments: &A,
    ) -> P::Call<'a, T> {
        let payload = params::write(&methods[at], self.peer.wire_format(), arguments);
        self.peer.call_service(self.code(methods, at), payload.map(Payload::Shared), self.within)
    }

    /// Sends the method at this place of the table as a message
    pub fn notify<'a, A: Arguments>(
        &'a self,
        methods: &'static [Method],
        at: usize,
        arguments: &A,
    ) -> P::Sending<'a> {
        let payload = params::write(&methods[at], self.peer.wire_format(), arguments);
        self.peer.notify_service(self.code(methods, at), payload.map(Payload::Shared))
    }
}
