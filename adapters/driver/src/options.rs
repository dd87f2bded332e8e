//! What client and server can be told alike

use core::time::Duration;
use std::sync::Arc;

use flyrpc_core::fly::RawPacket;
use flyrpc_core::fly::zip::ZipMode;
use flyrpc_core::jsonrpc::{Framing, JsonRpc};
use flyrpc_core::{CloseReason, Limits, Overload};

use crate::dialect::AnyDialect;
use crate::{BadAddress, Carrier, Endpoint, Info, Origins, Peer, Protocol, WireFormat};

/// Which way a packet goes
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the peer to us
    In,
    /// From us to the peer
    Out,
}

/// Sees every packet of a connection as it is on the wire: level 1 of FlyRPC's API
pub(crate) type PacketHook = Arc<dyn Fn(&Info, Direction, &RawPacket<'_>) + Send + Sync>;
/// Sees the bytes of every message of a connection
pub(crate) type MessageHook = Arc<dyn Fn(&Info, Direction, &[u8]) + Send + Sync>;
pub(crate) type ConnectHook = Arc<dyn Fn(&Peer) + Send + Sync>;
pub(crate) type CloseHook = Arc<dyn Fn(&Peer, CloseReason) + Send + Sync>;

/// Settings of a connection
#[derive(Clone)]
pub(crate) struct Options {
    /// What is spoken where an address does not say
    pub(crate) protocol: Protocol,
    /// What connections that speak JSON-RPC start from
    pub(crate) json: JsonRpc,
    pub(crate) format: WireFormat,
    pub(crate) origins: Origins,
    pub(crate) limits: Limits,
    pub(crate) zip: ZipMode,
    pub(crate) write_timeout: Duration,
    pub(crate) send_buffer: usize,
    pub(crate) when_full: Overload,
    pub(crate) owed_buffer: usize,
    pub(crate) when_owed: Overload,
    pub(crate) keepalive: Option<(Duration, Duration)>,
    pub(crate) handler_timeout: Option<Duration>,
    pub(crate) hello: bool,
    pub(crate) on_packet: Option<PacketHook>,
    pub(crate) on_message: Option<MessageHook>,
    pub(crate) on_connect: Option<ConnectHook>,
    pub(crate) on_close: Option<CloseHook>,
}

impl Options {
    /// What connections to, or at, an endpoint speak
    pub(crate) fn dialect(&self, endpoint: &Endpoint) -> Result<AnyDialect, BadAddress> {
        let protocol = endpoint.protocol.unwrap_or(self.protocol);
        match (protocol, endpoint.carrier) {
            (Protocol::FlyRpc, Carrier::Stream | Carrier::Frames) => Ok(AnyDialect::Fly(Default::default())),
            (Protocol::FlyRpc, _) => {
                Err(endpoint.bad("FlyRPC is not carried by it, but JSON-RPC is: put jsonrpc+ in front"))
            }
            (Protocol::JsonRpc, Carrier::Frames) => {
                Err(endpoint.bad("frames carry FlyRPC alone; JSON-RPC goes with framing=plain"))
            }
            (Protocol::JsonRpc, Carrier::Stream) => Ok(self.json()),
            (Protocol::JsonRpc, Carrier::HttpConnect) => Ok(self.json_in(Framing::Lines)),
            (Protocol::JsonRpc, Carrier::WebSocket | Carrier::Http) => Ok(self.json_in(Framing::Units)),
        }
    }

    /// What is spoken over a stream that somebody else has connected
    pub(crate) fn dialect_of_streams(&self) -> AnyDialect {
        match self.protocol {
            Protocol::FlyRpc => AnyDialect::Fly(Default::default()),
            Protocol::JsonRpc => self.json(),
        }
    }

    /// JSON-RPC, framed as the carrier wants it
    pub(crate) fn json_in(&self, framing: Framing) -> AnyDialect {
        AnyDialect::Json(Box::new(self.json.clone().framing(framing)))
    }

    fn json(&self) -> AnyDialect {
        AnyDialect::Json(Box::new(self.json.clone()))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protocol: Protocol::FlyRpc,
            json: JsonRpc::new(),
            format: WireFormat::default(),
            origins: Origins::default(),
            limits: Limits::new(),
            zip: ZipMode::Off,
            write_timeout: Duration::from_secs(30),
            send_buffer: 4 << 20,
            when_full: Overload::Wait,
            owed_buffer: 64 << 20,
            when_owed: Overload::Wait,
            keepalive: None,
            handler_timeout: None,
            hello: false,
            on_packet: None,
            on_message: None,
            on_connect: None,
            on_close: None,
        }
    }
}

impl core::fmt::Debug for Options {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Options")
            .field("protocol", &self.protocol)
            .field("limits", &self.limits)
            .field("zip", &self.zip)
            .field("write_timeout", &self.write_timeout)
            .field("send_buffer", &(self.send_buffer, self.when_full))
            .field("owed_buffer", &(self.owed_buffer, self.when_owed))
            .field("keepalive", &self.keepalive)
            .field("handler_timeout", &self.handler_timeout)
            .finish_non_exhaustive()
    }
}

/// Both ends are told the same things in the same words
macro_rules! common_options {
    () => {
        /// Answers requests, and takes messages, of `code` with `handler`
        ///
        /// The last handler of a code counts. Over JSON-RPC what it gives has to be JSON: `Json<T>`, not bare text. See
        /// [`Router::handle`](crate::Router::handle).
        pub fn handle<A>(mut self, code: &str, handler: impl crate::Handler<A, crate::Peer>) -> Self {
            self.router = self.router.handle(code, handler);
            self
        }

        /// Lets peers subscribe. See [`Router::subscription`](crate::Router::subscription).
        #[cfg(feature = "json")]
        pub fn subscription<F, S>(
            mut self,
            subscribe: &str,
            notification: &str,
            unsubscribe: &str,
            serve: F,
        ) -> Self
        where
            F: Fn(crate::Subscription, crate::Request<crate::Peer>) -> S + Send + Sync + 'static,
            S: core::future::Future<Output = ()> + Send + 'static,
        {
            self.router = self.router.subscription(subscribe, notification, unsubscribe, serve);
            self
        }

        /// Lets `handler` answer what has no handler of its own; without, that is answered `NOT_FOUND`
        pub fn fallback<A>(mut self, handler: impl crate::Handler<A, crate::Peer>) -> Self {
            self.router = self.router.fallback(handler);
            self
        }

        /// Shares a value, one of each type, with all handlers. See [`Router::state`](crate::Router::state).
        pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
            self.router = self.router.state(value);
            self
        }

        /// Is told when a handler has panicked. See [`Router::on_panic`](crate::Router::on_panic).
        pub fn on_panic(mut self, hook: impl Fn(&crate::PanicReport) + Send + Sync + 'static) -> Self {
            self.router = self.router.on_panic(hook);
            self
        }

        /// Puts middleware around each handler that is here already, and around the fallback. See
        /// [`Router::layer`](crate::Router::layer).
        #[cfg(feature = "tower")]
        pub fn layer<L>(mut self, layer: L) -> Self
        where
            L: tower_layer::Layer<crate::HandlerService<crate::Peer>>,
            L::Service: tower_service::Service<
                    crate::Request<crate::Peer>,
                    Response: crate::IntoReply,
                    Error: Into<crate::BoxError>,
                    Future: Send,
                >,
            L::Service: Clone + Send + 'static,
        {
            self.router = self.router.layer(layer);
            self
        }

        /// Adds all handlers and all shared state of a router
        pub fn router(mut self, router: crate::Router<crate::Peer>) -> Self {
            self.router = self.router.merge(router);
            self
        }

        /// Limits of each connection; [`Limits::new`](crate::Limits::new) by default
        ///
        /// Bodies are always taken whole: `Limits::oversize` has no effect here. `Limits::max_unanswered` is how many handlers
        /// run at a time, and `Limits::overload` says what becomes of a request beyond that.
        pub fn limits(mut self, limits: crate::Limits) -> Self {
            self.options.limits = limits.oversize(Default::default());
            self
        }

        /// Speaks JSON-RPC 2.0, with these settings, where an address does not say what to speak; and, where one says
        /// `jsonrpc+`, with these settings
        ///
        /// FlyRPC by default, and [`JsonRpc::new`](crate::JsonRpc::new) for addresses that say `jsonrpc+`. Over WebSocket and
        /// HTTP its framing is theirs.
        pub fn json_rpc(mut self, settings: crate::JsonRpc) -> Self {
            (self.options.protocol, self.options.json) = (crate::Protocol::JsonRpc, settings);
            self
        }

        /// The format of what [`Service`](crate::Service)s take and give, where the protocol leaves it open; JSON by default
        ///
        /// Both ends must agree. JSON-RPC is always JSON.
        pub fn format(mut self, format: crate::WireFormat) -> Self {
            self.options.format = format;
            self
        }

        /// The web pages that may open a WebSocket here, besides those of this server's own host; none by default, and `*` stands for
        /// all. See [`Origins`](crate::Origins).
        pub fn origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
            self.options.origins = crate::Origins::new(origins);
            self
        }

        /// Says `$hello` as soon as a connection is there, so that both ends know what the other understands; not by default
        ///
        /// Without it, or [`Peer::hello`](crate::Peer::hello), a peer is not told of calls that are given up, and its handlers
        /// work on for nobody. Peers that don't know `$hello` answer it with an error, which harms nothing.
        pub fn hello(mut self) -> Self {
            self.options.hello = true;
            self
        }

        /// When to compress what is sent; never by default
        pub fn zip(mut self, mode: crate::ZipMode) -> Self {
            self.options.zip = mode;
            self
        }

        /// How long the peer may take nothing of what is sent before the connection counts as lost; 30 s by default
        pub fn write_timeout(mut self, timeout: core::time::Duration) -> Self {
            self.options.write_timeout = timeout;
            self
        }

        /// How many bytes may wait to be sent, beside the packet that passes it, and what a caller then does: wait, within
        /// its deadline, or be refused; 4 MiB and wait by default
        pub fn send_buffer(mut self, bytes: usize, when_full: crate::Overload) -> Self {
            (self.options.send_buffer, self.options.when_full) = (bytes.max(1), when_full);
            self
        }

        /// How many bytes of requests under way and of answers that the peer has not taken a connection may hold, beside
        /// the packet that passes it, and what it then does: read no more, or answer requests with `BUSY`; 64 MiB and read no
        /// more by default
        ///
        /// The answers of `async` handlers that are under way come on top. While calls of this side wait for answers and the
        /// peer takes nothing, requests are answered `BUSY` in either case: it may be waiting likewise.
        pub fn owed_buffer(mut self, bytes: usize, when_full: crate::Overload) -> Self {
            (self.options.owed_buffer, self.options.when_owed) = (bytes.max(1), when_full);
            self
        }

        /// Pings a peer from which nothing has come for `interval`, and takes the connection for lost when nothing comes for
        /// another `timeout`; off by default
        ///
        /// Any packet counts as a sign of life, and a peer that does not know `$ping` answers with an error, which does too.
        /// This side answers pings however many come, so the settings of the two ends can't fight.
        pub fn keepalive(mut self, interval: core::time::Duration, timeout: core::time::Duration) -> Self {
            self.options.keepalive = Some((interval, timeout));
            self
        }

        /// How long a handler may take: then it is dropped, and the request answered `TIMEOUT`; for ever by default
        ///
        /// Only a handler that awaits something can be dropped.
        pub fn handler_timeout(mut self, timeout: core::time::Duration) -> Self {
            self.options.handler_timeout = Some(timeout);
            self
        }

        /// Sees the bytes of every message, in whatever protocol, both ways: FlyRPC's packets, JSON-RPC's texts without what frames
        /// them
        ///
        /// What comes in a batch is seen element by element. While it is set, large bodies are copied on their way out. The hook
        /// must not wait.
        pub fn on_message(
            mut self,
            hook: impl Fn(&crate::Info, crate::Direction, &[u8]) + Send + Sync + 'static,
        ) -> Self {
            self.options.on_message = Some(std::sync::Arc::new(hook));
            self
        }

        /// Sees every FlyRPC packet of every connection as it is on the wire, both ways: the lowest level of the API
        ///
        /// While it is set, large bodies are copied on their way out. The hook must not wait.
        pub fn on_packet(
            mut self,
            hook: impl Fn(&crate::Info, crate::Direction, &crate::RawPacket<'_>) + Send + Sync + 'static,
        ) -> Self {
            self.options.on_packet = Some(std::sync::Arc::new(hook));
            self
        }

        /// Is told when a connection is there, before anything is read
        ///
        /// The hook must not wait; what it starts to send goes first.
        pub fn on_connect(mut self, hook: impl Fn(&crate::Peer) + Send + Sync + 'static) -> Self {
            self.options.on_connect = Some(std::sync::Arc::new(hook));
            self
        }

        /// Is told when a connection has ended, and why
        pub fn on_close(
            mut self,
            hook: impl Fn(&crate::Peer, crate::CloseReason) + Send + Sync + 'static,
        ) -> Self {
            self.options.on_close = Some(std::sync::Arc::new(hook));
            self
        }
    };
}
pub(crate) use common_options;
