//! HTTP connections: each exchange is a connection to the driver, which ends with its answer

use core::marker::PhantomData;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use flyrpc_core::jsonrpc::Framing;

use super::{Door, max_message};
use crate::dialect::AnyDialect;
use crate::http::{
    Answer, Exchange, Host, HttpClient, HttpOptions, Options, Prefixed, connect_handshake, serve,
};
use crate::hub::{Guest, Hub};
use crate::runtime::{Runtime, Transport};
use crate::until::until;
use crate::{Carrier, Endpoint, Peer, ServerHandle};

/// How long the handlers of an exchange may take: until its client goes away, or `handler_timeout`
const EXCHANGE: Duration = Duration::from_secs(24 * 3600);

/// How long a client's exchange may take: nobody waits for longer, unless a call's own deadline says so
const SHORTEST_PATIENCE: Duration = Duration::from_secs(600);

impl Door {
    pub(super) fn admit_http<R: Runtime, T: Transport>(self: &Arc<Self>, stream: T) {
        let Some(guest) = self.hub.greet() else { return };
        let options = &self.hub.options;
        let http = Options::new().max_message(max_message(&self.hub)).write_timeout(options.write_timeout);
        let http = http.origins(options.origins.clone());
        let visit = Arc::new(Visit::<R> { door: Arc::clone(self), guest, runtime: PhantomData });
        R::spawn(Box::pin(async move {
            let host: Arc<dyn Host<T>> = Arc::<Visit<R>>::clone(&visit);
            let served = serve::<R, T>(stream, host, &http);
            until(|cx| visit.guest.poll_overdue(cx), served).await;
        }));
    }
}

/// One HTTP connection
struct Visit<R> {
    door: Arc<Door>,
    guest: Guest,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, T: Transport> Host<T> for Visit<R> {
    fn exchange(&self, exchange: Exchange) -> bool {
        take::<R>(&self.door.hub, exchange)
    }

    fn connected(&self, stream: Prefixed<T>) {
        self.join(stream, Framing::Lines);
    }

    #[cfg(feature = "ws")]
    fn upgraded(&self, stream: Prefixed<T>) {
        let options = super::websocket_options(&self.door.hub);
        self.join(crate::ws::WebSocket::upgraded(stream, &options), Framing::Units);
    }

    fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.guest.poll_stopping(cx)
    }
}

impl<R: Runtime> ServerHandle<R> {
    /// Answers one JSON-RPC text, a message or a batch, as if it had come by HTTP POST; `None` when nothing is owed
    ///
    /// For texts that come over transports of the application's own: net/rpc's `ServeRequest`. Handlers can't call back. Dropping
    /// the future is the caller going away: handlers are dropped where they wait.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use flyrpc_driver::{Server, runtime::Runtime};
    ///
    /// async fn once<R: Runtime>() {
    ///     let server = Server::<R>::new().handle("echo", |params: Bytes| params).start();
    ///     let answer = server.serve_request(r#"{"jsonrpc":"2.0","method":"echo","params":[7],"id":1}"#).await;
    ///     assert_eq!(answer.unwrap(), r#"{"jsonrpc":"2.0","id":1,"result":[7]}"#);
    /// }
    /// ```
    pub async fn serve_request(&self, text: impl AsRef<[u8]>) -> Option<Bytes> {
        let text = text.as_ref();
        let len = u32::try_from(text.len()).ok()?;
        let unit = Bytes::from([&len.to_be_bytes(), text].concat());
        let (exchange, answering) = Exchange::new(unit, "request".to_owned());
        let _guest = self.hub().greet()?;
        if !take::<R>(self.hub(), exchange) {
            return None;
        }
        match answering.await {
            Answer::Message(answer) => Some(answer),
            Answer::Nothing | Answer::Dropped => None,
        }
    }
}

/// Takes an exchange as a connection, which ends with its answer
fn take<R: Runtime>(hub: &Arc<Hub>, exchange: Exchange) -> bool {
    let departure = exchange.departure();
    // Calls of ours can't be answered here, so this is only for its handlers.
    let limits = hub.options.limits.clone().call_timeout(EXCHANGE);
    let dialect = hub.options.json_in(Framing::Units);
    let Some(peer) = hub.enter::<R, _>(exchange, dialect, limits, None) else { return false };
    departure.then(move || peer.close());
    true
}

impl<R: Runtime> Visit<R> {
    fn join<S: Transport>(&self, stream: S, framing: Framing) {
        let hub = &self.door.hub;
        let (dialect, limits) = (hub.options.json_in(framing), hub.options.limits.clone());
        drop(hub.enter::<R, _>(stream, dialect, limits, self.guest.take_place()));
    }
}

/// Connects to an HTTP server: for CONNECT; else to see that it is there, and again when there is something to post
pub(super) async fn connect<R: Runtime>(
    hub: &Arc<Hub>,
    dialect: AnyDialect,
    endpoint: &Endpoint,
) -> io::Result<Peer> {
    let Endpoint { carrier, address, path, .. } = endpoint;
    if *carrier == Carrier::HttpConnect {
        let stream = connect_handshake(R::connect(address).await?, path).await?;
        return Ok(hub.open::<R, _>(stream, dialect));
    }
    let patience = hub.options.limits.get_call_timeout().max(SHORTEST_PATIENCE);
    let options = HttpOptions::new().max_message(max_message(hub)).exchange_timeout(patience);
    // So that an address where nobody listens is told now, as for every other carrier, and not call by call.
    drop(R::connect(address).await?);
    let client = HttpClient::<R>::new(address.clone(), &address.to_string(), path, options)?;
    Ok(hub.open::<R, _>(client, dialect))
}
