//! What a body needs of a stack

use core::any::Any;
use core::future::Future;
use core::ops::Deref;
use core::pin::{Pin, pin};
use core::task::{Context as Poller, Poll, Waker};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::task::Wake;
use std::thread::Thread;
use std::time::Instant;

use bytes::Bytes;
use flyrpc_driver::{
    Answer, Caller, Capabilities, CloseReason, ConnectionId, Direction, Error, Handler, Info, JsonRpc,
    Limits, Overload, Pong, RawPacket, Response, Router, Stage, Stats, ZipMode,
};
use tokio::sync::{Semaphore, oneshot};

use crate::wire::Wire;

/// A future in a box
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Longest that anything may take which should come at once; far above what a loaded machine needs
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A runtime's peer, with its methods as futures that may block; payloads are texts, see [`wire`](crate::wire)
pub(crate) trait End: Caller {
    /// A call whose payload and result are JSON, as they are
    fn call_json<'a>(&'a self, code: &'a str, params: impl Into<Bytes>) -> Later<'a, Result<Bytes, Error>>;
    fn call<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<Bytes, Error>>;
    fn call_within<'a>(
        &'a self,
        code: &'a str,
        payload: impl Into<Bytes>,
        within: Duration,
    ) -> Later<'a, Result<Bytes, Error>>;
    fn call_as<'a, T: Answer + Send + 'static>(
        &'a self,
        code: &'a str,
        payload: impl Into<Bytes>,
    ) -> Later<'a, Result<T, Error>>;
    fn request<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<Response, Error>>;
    fn send_acked<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<(), Error>>;
    fn send<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<(), Error>>;
    fn try_send(&self, code: &str, payload: impl Into<Bytes>) -> Result<(), Error>;
    fn ping(&self, len: usize, timeout: Duration) -> Later<'_, Result<Pong, Error>>;
    fn hello(&self) -> Later<'_, Result<Capabilities, Error>>;
    /// Draining has begun when this returns, whatever becomes of the future
    fn drain(&self, timeout: Duration) -> Later<'static, CloseReason>;
    fn close(&self);
    fn closed(&self) -> Later<'static, CloseReason>;
    fn stage(&self) -> Stage;
    fn stats(&self) -> Stats;
    fn in_flight(&self) -> u32;
    fn capabilities(&self) -> Capabilities;
    fn id(&self) -> ConnectionId {
        self.info().id
    }
}

type PacketHook = dyn Fn(&Info, Direction, &RawPacket<'_>) + Send + Sync;
type ConnectHook<P> = dyn Fn(&P) + Send + Sync;
type CloseHook<P> = dyn Fn(&P, CloseReason) + Send + Sync;

/// What a server or a client is told before it starts
pub(crate) struct Setup<P> {
    pub(crate) router: Router<P>,
    pub(crate) limits: Option<Limits>,
    pub(crate) zip: ZipMode,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) send_buffer: Option<(usize, Overload)>,
    pub(crate) owed_buffer: Option<(usize, Overload)>,
    pub(crate) keepalive: Option<(Duration, Duration)>,
    pub(crate) handler_timeout: Option<Duration>,
    pub(crate) max_connections: Option<(usize, Overload)>,
    pub(crate) on_packet: Option<Box<PacketHook>>,
    pub(crate) on_connect: Option<Box<ConnectHook<P>>>,
    pub(crate) on_close: Option<Box<CloseHook<P>>>,
    /// Changes to the settings of JSON-RPC
    pub(crate) json: fn(JsonRpc) -> JsonRpc,
}

/// Nothing but the defaults
pub(crate) fn plain<P: End>() -> Setup<P> {
    Setup {
        router: Router::new(),
        limits: None,
        zip: ZipMode::Off,
        write_timeout: None,
        send_buffer: None,
        owed_buffer: None,
        keepalive: None,
        handler_timeout: None,
        max_connections: None,
        on_packet: None,
        on_connect: None,
        on_close: None,
        json: |settings| settings,
    }
}

/// One that echoes
pub(crate) fn echo<P: End>() -> Setup<P> {
    plain().handle("echo", |payload: Bytes| payload)
}

impl<P: End> Setup<P> {
    pub(crate) fn handle<A>(mut self, code: &str, handler: impl Handler<A, P>) -> Self {
        self.router = self.router.handle(code, handler);
        self
    }

    pub(crate) fn router(mut self, change: impl FnOnce(Router<P>) -> Router<P>) -> Self {
        self.router = change(self.router);
        self
    }

    pub(crate) fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    pub(crate) fn json(mut self, change: fn(JsonRpc) -> JsonRpc) -> Self {
        self.json = change;
        self
    }

    pub(crate) fn zip(mut self, mode: ZipMode) -> Self {
        self.zip = mode;
        self
    }

    pub(crate) fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = Some(timeout);
        self
    }

    pub(crate) fn send_buffer(mut self, bytes: usize, when_full: Overload) -> Self {
        self.send_buffer = Some((bytes, when_full));
        self
    }

    pub(crate) fn owed_buffer(mut self, bytes: usize, when_full: Overload) -> Self {
        self.owed_buffer = Some((bytes, when_full));
        self
    }

    pub(crate) fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keepalive = Some((interval, timeout));
        self
    }

    pub(crate) fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.handler_timeout = Some(timeout);
        self
    }

    pub(crate) fn max_connections(mut self, connections: usize, when_full: Overload) -> Self {
        self.max_connections = Some((connections, when_full));
        self
    }

    pub(crate) fn on_packet(
        mut self,
        hook: impl Fn(&Info, Direction, &RawPacket<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.on_packet = Some(Box::new(hook));
        self
    }

    pub(crate) fn on_connect(mut self, hook: impl Fn(&P) + Send + Sync + 'static) -> Self {
        self.on_connect = Some(Box::new(hook));
        self
    }

    pub(crate) fn on_close(mut self, hook: impl Fn(&P, CloseReason) + Send + Sync + 'static) -> Self {
        self.on_close = Some(Box::new(hook));
        self
    }
}

/// A running server; it stops when this is dropped
pub(crate) trait Serving<P>: Send + Sync {
    fn address(&self) -> String;
    fn peers(&self) -> Vec<P>;
    fn peer(&self, id: ConnectionId) -> Option<P>;
    fn connections(&self) -> usize;
    fn broadcast(&self, code: &str, payload: Bytes) -> usize;
    fn broadcast_to(&self, ids: &[ConnectionId], code: &str, payload: Bytes) -> usize;
    fn shutdown(self: Box<Self>, timeout: Duration) -> Later<'static, ()>;
}

pub(crate) type Server<P> = Box<dyn Serving<P>>;

/// A client's connection; it closes when this is dropped
pub(crate) struct Connected<P> {
    pub(crate) peer: P,
    pub(crate) _open: Box<dyn Any + Send + Sync>,
}

impl<P> Deref for Connected<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.peer
    }
}

/// A runtime, and what its connections run over
pub(crate) trait Stack<P: End>: Send + Sync {
    fn listen(&self, setup: Setup<P>, address: String) -> Later<'_, io::Result<Server<P>>>;
    fn connect(&self, setup: Setup<P>, address: String) -> Later<'_, io::Result<Connected<P>>>;
    fn spawn(&self, task: Later<'static, ()>);
    /// One byte at a time?
    fn is_bytewise(&self) -> bool;
    /// Does a task take a thread?
    fn is_blocking(&self) -> bool;
    /// What its connections speak
    fn wire(&self) -> Wire;
}

/// The stack that a body runs on
pub(crate) struct Rig<P>(pub(crate) Arc<dyn Stack<P>>);

impl<P> Clone for Rig<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: End> Rig<P> {
    /// A server on a free port
    pub(crate) async fn serve(&self, setup: Setup<P>) -> Server<P> {
        self.0.listen(setup, self.wire().new_address()).await.expect("a server")
    }

    pub(crate) async fn client(&self, setup: Setup<P>, server: &Server<P>) -> Connected<P> {
        self.0.connect(setup, server.address()).await.expect("a client")
    }

    /// A server and a client
    pub(crate) async fn pair(&self, server: Setup<P>, client: Setup<P>) -> (Server<P>, Connected<P>) {
        let server = self.serve(server).await;
        let client = self.client(client, &server).await;
        (server, client)
    }

    /// The server's end of a client's connection
    pub(crate) async fn other_end(&self, server: &Server<P>) -> P {
        let mut found = None;
        until("the server knows its client", || {
            found = server.peers().pop();
            found.is_some()
        });
        found.expect("a peer")
    }

    /// Runs it beside the test; the result is the task's, and so is a panic
    pub(crate) fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Join<T> {
        let (tell, result) = oneshot::channel();
        self.0.spawn(Box::pin(async move {
            let _ = tell.send(task.await);
        }));
        Join(result)
    }

    /// `all`, or `fewer` where each byte, task or message is dear
    pub(crate) fn many(&self, all: usize, fewer: usize) -> usize {
        let quick = matches!(self.wire(), Wire::Fly | Wire::Lines);
        if self.0.is_bytewise() || self.0.is_blocking() || !quick { fewer } else { all }
    }

    pub(crate) fn is_bytewise(&self) -> bool {
        self.0.is_bytewise()
    }

    pub(crate) fn wire(&self) -> Wire {
        self.0.wire()
    }
}

/// The result of a task
pub(crate) struct Join<T>(oneshot::Receiver<T>);

impl<T> Future for Join<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|result| result.expect("a task panicked, or was dropped"))
    }
}

/// Holds those who want to pass
#[derive(Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn shut() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets all pass from now on
    pub(crate) fn open(&self) {
        self.0.close();
    }

    /// Lets `n` pass
    pub(crate) fn admit(&self, n: usize) {
        self.0.add_permits(n);
    }

    pub(crate) async fn pass(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// The clock of the tests
#[expect(clippy::disallowed_methods, reason = "tests on real sockets measure real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until `condition` holds; for what gives no event, such as counters
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = now();
    while !condition() {
        assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// `len` bytes that a wrong offset would change
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32 ^ len as u32;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

/// Polls a future on this thread to its end
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Poller::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Runs a body that must not hang: then the process ends, since nothing else would end the body's threads
pub(crate) fn bounded(name: &'static str, body: impl FnOnce()) {
    let (ended, wait) = channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if wait.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            eprintln!("\n{name} hangs: no end within 60 s");
            std::process::abort();
        }
    });
    body();
    drop(ended);
    watchdog.join().expect("the watchdog");
}
