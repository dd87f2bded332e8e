//! What client and server can be told alike

use core::time::Duration;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use flyrpc_core::fly::Fly;
use flyrpc_driver::dialect::AnyDialect;
use flyrpc_driver::{
    Carrier, CloseReason, Direction, Endpoint, Framing, Info, JsonRpc, Limits, Overload, Protocol, RawPacket,
    WireFormat, ZipMode,
};

use crate::Peer;

/// Sees every packet of a connection as it is on the wire: level 1 of FlyRPC's API
pub(crate) type PacketHook = Arc<dyn Fn(&Info, Direction, &RawPacket<'_>) + Send + Sync>;
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
    #[cfg_attr(not(feature = "ws"), allow(dead_code, reason = "there are no WebSockets"))]
    pub(crate) origins: flyrpc_driver::Origins,
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
    pub(crate) on_connect: Option<ConnectHook>,
    pub(crate) on_close: Option<CloseHook>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protocol: Protocol::FlyRpc,
            json: JsonRpc::new(),
            format: WireFormat::default(),
            origins: flyrpc_driver::Origins::default(),
            limits: Limits::new().max_unanswered(64),
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
            on_connect: None,
            on_close: None,
        }
    }
}

impl Options {
    /// What connections to, or at, an endpoint speak
    pub(crate) fn dialect(&self, endpoint: &Endpoint) -> io::Result<AnyDialect> {
        let bad = |kind, why| Err(io::Error::new(kind, format!("{endpoint}: {why}")));
        let not_here = |why| bad(ErrorKind::InvalidInput, why);
        match (endpoint.protocol.unwrap_or(self.protocol), endpoint.carrier) {
            (Protocol::FlyRpc, Carrier::Stream) => Ok(AnyDialect::Fly(Fly::default())),
            (Protocol::FlyRpc, Carrier::Frames) => {
                let why = "frames on serial lines are offered by flyrpc-tokio and flyrpc-smol; here goes framing=plain";
                bad(ErrorKind::Unsupported, why)
            }
            (Protocol::FlyRpc, _) => not_here("FlyRPC is not carried by it"),
            (_, Carrier::Stream) => Ok(self.json_in(self.json.get_framing())),
            (_, Carrier::HttpConnect) => Ok(self.json_in(Framing::Lines)),
            (_, Carrier::WebSocket) if cfg!(feature = "ws") => Ok(self.json_in(Framing::Units)),
            (_, Carrier::WebSocket) => not_here("it needs feature 'ws'"),
            (_, Carrier::Http) => {
                bad(ErrorKind::Unsupported, "HTTP POST is offered by flyrpc-tokio or flyrpc-smol, not here")
            }
            (_, _) => not_here("it is not carried here"),
        }
    }

    /// What is spoken over a stream that somebody else has connected
    pub(crate) fn dialect_of_streams(&self) -> AnyDialect {
        match self.protocol {
            Protocol::FlyRpc => AnyDialect::Fly(Fly::default()),
            Protocol::JsonRpc | _ => self.json_in(self.json.get_framing()),
        }
    }

    fn json_in(&self, framing: Framing) -> AnyDialect {
        AnyDialect::Json(Box::new(self.json.clone().framing(framing)))
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

/// The shortest time that a socket can be told to wait
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);

/// Both ends are told the same things in the same words
macro_rules! common_options {
    () => {
        /// Answers requests, and takes messages, of `code` with `handler`
        ///
        /// The last handler of a code counts. It may block. See `Router::handle` of [`Router`](crate::Router).
        pub fn handle<A>(mut self, code: &str, handler: impl crate::Handler<A, crate::Peer>) -> Self {
            self.router = self.router.handle(code, handler);
            self
        }

        /// Answers requests, and takes messages, of all other codes; `NOT_FOUND` without it
        pub fn fallback<A>(mut self, handler: impl crate::Handler<A, crate::Peer>) -> Self {
            self.router = self.router.fallback(handler);
            self
        }

        /// Shares a value, one of each type, with all handlers: [`State`](crate::State)
        pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
            self.router = self.router.state(value);
            self
        }

        /// Adds all handlers and all shared state of a router
        pub fn router(mut self, router: crate::Router) -> Self {
            self.router = self.router.merge(router);
            self
        }

        /// Is told when a handler has panicked, on the thread it panicked on; the last hook counts
        pub fn on_panic(mut self, hook: impl Fn(&crate::PanicReport) + Send + Sync + 'static) -> Self {
            self.router = self.router.on_panic(hook);
            self
        }

        /// Limits of each connection; [`Limits::new`](crate::Limits::new) with 64 requests handled at a time by default
        ///
        /// Bodies are always taken whole: `Limits::oversize` has no effect here. `Limits::max_unanswered` is how many
        /// handlers run at a time, a thread each, and `Limits::overload` says what becomes of a request beyond that.
        pub fn limits(mut self, limits: crate::Limits) -> Self {
            self.options.limits = limits.oversize(Default::default());
            self
        }

        /// Speaks JSON-RPC 2.0, with these settings, where an address does not say what to speak; and, where one says
        /// `jsonrpc+`, with these settings
        ///
        /// FlyRPC by default, and [`JsonRpc::new`](crate::JsonRpc::new) for addresses that say `jsonrpc+`. Over WebSocket its
        /// framing is the WebSocket's, and behind CONNECT it is lines.
        pub fn json_rpc(mut self, settings: crate::JsonRpc) -> Self {
            (self.options.protocol, self.options.json) = (crate::Protocol::JsonRpc, settings);
            self
        }

        /// The web pages that may open a WebSocket here, besides those of this server's own host; none by default, and `*` stands for
        /// all. See [`Origins`](crate::Origins).
        pub fn origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
            self.options.origins = crate::Origins::new(origins);
            self
        }

        /// The format of what [`Service`](crate::Service)s take and give, where the protocol leaves it open; JSON by default
        ///
        /// Both ends must agree. JSON-RPC is always JSON.
        pub fn format(mut self, format: crate::WireFormat) -> Self {
            self.options.format = format;
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

        /// How long the peer may take nothing of what is sent before the connection counts as lost; 30 s by default, 1 ms at
        /// the least
        pub fn write_timeout(mut self, timeout: core::time::Duration) -> Self {
            self.options.write_timeout = timeout.max(crate::options::SHORTEST);
            self
        }

        /// How many bytes may wait to be sent, beside the packet that passes it, and what a caller then does: wait, within
        /// its deadline, or be refused; 4 MiB and wait by default
        pub fn send_buffer(mut self, bytes: usize, when_full: crate::Overload) -> Self {
            (self.options.send_buffer, self.options.when_full) = (bytes.max(1), when_full);
            self
        }

        /// How many bytes of requests under way a connection may hold, beside the request that passes it, and what it then
        /// does: read no more, or answer requests with `BUSY`; 64 MiB and read no more by default
        ///
        /// Answers that the peer does not take are bounded by [`send_buffer`](Self::send_buffer): handlers wait.
        pub fn owed_buffer(mut self, bytes: usize, when_full: crate::Overload) -> Self {
            (self.options.owed_buffer, self.options.when_owed) = (bytes.max(1), when_full);
            self
        }

        /// Pings a peer from which nothing has come for `interval`, and takes the connection for lost when nothing comes for
        /// another `timeout`; off by default, each 1 ms at the least
        ///
        /// Any packet counts as a sign of life, and a peer that does not know `$ping` answers with an error, which does too.
        /// This side answers pings however many come, so the settings of the two ends can't fight.
        pub fn keepalive(mut self, interval: core::time::Duration, timeout: core::time::Duration) -> Self {
            let shortest = crate::options::SHORTEST;
            self.options.keepalive = Some((interval.max(shortest), timeout.max(shortest)));
            self
        }

        /// How long an `async` handler may take: then it is dropped, and the request answered `TIMEOUT`; for ever by default
        ///
        /// Nothing stops a handler that is not `async`; its [`Context::deadline`](crate::Context) tells it when it is late.
        pub fn handler_timeout(mut self, timeout: core::time::Duration) -> Self {
            self.options.handler_timeout = Some(timeout);
            self
        }

        /// Sees every packet of every connection that speaks FlyRPC as it is on the wire, both ways: the lowest level of the
        /// API
        ///
        /// The hook must not wait.
        pub fn on_packet(
            mut self,
            hook: impl Fn(&crate::Info, crate::Direction, &crate::RawPacket<'_>) + Send + Sync + 'static,
        ) -> Self {
            self.options.on_packet = Some(std::sync::Arc::new(hook));
            self
        }

        /// Is told when a connection is there, before anything is read
        ///
        /// The hook may send, and start calls, but must not wait for answers; what it sends goes first.
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
