//! Services: handlers under a common name, and typed calls of them

#[cfg(feature = "service")]
mod call;
#[cfg(feature = "service")]
mod client;
#[cfg(feature = "service")]
mod params;
#[cfg(feature = "service")]
mod serve;

use core::any::type_name;
use core::fmt;
use std::borrow::Cow;

use crate::router::Route;
use crate::{Caller, Handler, Router};

#[cfg(feature = "service")]
pub use call::ServiceCall;
#[cfg(feature = "service")]
pub use client::Calls;
#[cfg(feature = "service")]
pub use flyrpc_macros::service;

/// What the code that `#[service]` writes is made of; not part of the API
#[cfg(feature = "service")]
#[doc(hidden)]
pub mod __service {
    pub use super::client::{Calls, ClientCore};
    pub use super::params::{Method, Style};
    pub use super::serve::{Failure, Value, failure, later, now, value};
    pub use crate::{Argument, Caller, RemoteError, Request, Service};
}

/// Handlers under a common name: `Arith.Multiply` is the method `Multiply` of the service `Arith`
///
/// [`Router::register`] takes it. `#[service]`, with the feature of that name, makes one of a trait; this is the way by hand:
///
/// ```
/// use flyrpc_driver::{Caller, RegisterError, Router, Service};
///
/// fn router<P: Caller>() -> Result<Router<P>, RegisterError> {
///     let text = Service::named("Text")
///         .method("Upper", |text: &str| text.to_uppercase())
///         .method("Count", |text: &str| text.chars().count().to_string());
///     Router::new().register(text)
/// }
/// ```
pub struct Service<P> {
    name: Cow<'static, str>,
    separator: Cow<'static, str>,
    methods: Vec<(MethodName, Route<P>)>,
}

enum MethodName {
    /// Behind the service's name
    Own(Cow<'static, str>),
    /// The whole code
    Full(Cow<'static, str>),
}

impl<P: Caller> Service<P> {
    /// Without methods yet; with an empty name, methods go by their own names alone
    #[must_use]
    pub fn named(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), separator: Cow::Borrowed("."), methods: Vec::new() }
    }

    /// Named after a type, without its path and parameters: `Service::of::<geometry::Arith>()` is `Arith`
    #[must_use]
    pub fn of<T: ?Sized>() -> Self {
        let name = type_name::<T>();
        let name = name.split('<').next().unwrap_or(name);
        Self::named(name.rsplit("::").next().unwrap_or(name))
    }

    /// What stands between the service's name and a method's; a dot by default
    #[must_use]
    pub fn separator(mut self, separator: impl Into<Cow<'static, str>>) -> Self {
        self.separator = separator.into();
        self
    }

    /// Another name; methods that have a full name keep it
    #[must_use]
    pub fn rename(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Lets `handler` answer `name` of this service
    #[must_use]
    pub fn method<A>(mut self, name: impl Into<Cow<'static, str>>, handler: impl Handler<A, P>) -> Self {
        self.methods.push((MethodName::Own(name.into()), handler.into_route()));
        self
    }

    /// Lets `handler` answer what is sent under `code`, which has nothing of the service's name in it
    #[must_use]
    pub fn method_as<A>(mut self, code: impl Into<Cow<'static, str>>, handler: impl Handler<A, P>) -> Self {
        self.methods.push((MethodName::Full(code.into()), handler.into_route()));
        self
    }

    /// Its name
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its methods are called under, in the order they were added
    pub fn codes(&self) -> impl Iterator<Item = String> {
        self.methods.iter().map(|(method, _)| self.code(method))
    }

    fn code(&self, method: &MethodName) -> String {
        match method {
            MethodName::Own(method) => join(&self.name, &self.separator, method),
            MethodName::Full(code) => code.to_string(),
        }
    }
}

/// What a method is called under
fn join(service: &str, separator: &str, method: &str) -> String {
    if service.is_empty() { method.to_owned() } else { format!("{service}{separator}{method}") }
}

impl<P: Caller> Router<P> {
    /// Lets a service's handlers answer its methods
    ///
    /// # Errors
    /// It has no methods, or one of its name, or a handler for a method of it, is there already.
    pub fn register(self, service: impl Into<Service<P>>) -> Result<Self, RegisterError> {
        let service = service.into();
        let failed = |why| RegisterError { service: service.name.to_string(), why };
        if service.methods.is_empty() {
            return Err(failed(Why::NoMethods));
        }
        let known = self.codes();
        // net/rpc's rule, for its names; with another separator the start of a code does not tell its service.
        let prefix = join(&service.name, &service.separator, "");
        let is_dotted = service.separator == "." && !service.name.is_empty();
        if is_dotted && known.iter().any(|code| code.starts_with(&prefix)) {
            return Err(failed(Why::ServiceTaken));
        }
        let codes: Vec<String> = service.codes().collect();
        let is_twice =
            |(at, code): (usize, &String)| known.contains(&code.as_str()) || codes[..at].contains(code);
        if let Some(at) = codes.iter().enumerate().position(is_twice) {
            return Err(failed(Why::MethodTaken(codes[at].clone())));
        }
        let routes = service.methods.into_iter().map(|(_, route)| route);
        Ok(codes.iter().zip(routes).fold(self, |router, (code, route)| router.handle(code, route)))
    }

    /// The same under another name
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_name(
        self,
        name: impl Into<Cow<'static, str>>,
        service: impl Into<Service<P>>,
    ) -> Result<Self, RegisterError> {
        self.register(service.into().rename(name))
    }
}

/// Marks what is a route already
#[doc(hidden)]
pub enum Made {}

#[diagnostic::do_not_recommend]
impl<P: Caller> Handler<Made, P> for Route<P> {
    fn into_route(self) -> Self {
        self
    }
}

/// A service can't be registered
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterError {
    service: String,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    ServiceTaken,
    MethodTaken(String),
    NoMethods,
}

impl RegisterError {
    /// The service's name
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = &self.service;
        match &self.why {
            Why::ServiceTaken => write!(f, "service {service} is registered already"),
            Why::MethodTaken(code) => write!(f, "method {code} is registered already"),
            Why::NoMethods => write!(f, "service {service} has no methods"),
        }
    }
}

impl core::error::Error for RegisterError {}

impl<P: Caller> fmt::Debug for Service<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("codes", &self.codes().collect::<Vec<_>>())
            .finish()
    }
}
