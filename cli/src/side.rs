//! The runtimes alike, as far as the handlers of `serve` and the steps of `demo` need them

use core::future::poll_fn;
use core::marker::PhantomData;
use core::ops::Deref;
use core::pin::pin;
use core::task::{self, Poll, Waker};
use core::time::Duration;
use std::io;

use bytes::Bytes;
use flyrpc_blocking as blocking;
use flyrpc_driver::runtime::{Runtime, Task, Timer};
use flyrpc_driver::{
    Caller, Capabilities, Client, CloseReason, Connected, Context, Error, Peer, Pong, RemoteError, Router,
    Server, ServerHandle, Stats, ZipMode, codes,
};

/// A kind of program: one on tokio, one with threads
pub(crate) trait Kind: Sized + 'static {
    /// The other end of a connection
    type Peer: Side;
    /// A client's connection
    type Client: Deref<Target = Self::Peer>;
    /// A running server
    type Server;

    async fn listen(router: Router<Self::Peer>, zip: ZipMode) -> io::Result<Self::Server>;
    fn address(server: &Self::Server) -> String;
    fn peers(server: &Self::Server) -> Vec<Self::Peer>;
    async fn shutdown(server: Self::Server, timeout: Duration);
    async fn connect(address: &str, router: Router<Self::Peer>, zip: ZipMode) -> io::Result<Self::Client>;

    /// Runs a task beside others
    fn spawn(task: Task);

    /// Lets a handler wait, no longer than somebody waits for its answer
    fn sleep(
        context: &Context<Self::Peer>,
        time: Duration,
    ) -> impl Future<Output = Result<(), RemoteError>> + Send;
}

/// The other end of a connection, of any runtime
pub(crate) trait Side: Caller {
    fn call(
        &self,
        code: &str,
        payload: &[u8],
        within: Duration,
    ) -> impl Future<Output = Result<Bytes, Error>> + Send;
    fn send_acked(&self, code: &str, payload: &[u8]) -> impl Future<Output = Result<(), Error>> + Send;
    fn send(&self, code: &str, payload: &[u8]) -> impl Future<Output = Result<(), Error>> + Send;
    fn ping(&self, len: usize, timeout: Duration) -> impl Future<Output = Result<Pong, Error>> + Send;
    fn hello(&self) -> impl Future<Output = Result<Capabilities, Error>> + Send;
    fn drain(&self, timeout: Duration) -> impl Future<Output = CloseReason> + Send;
    fn stats(&self) -> Stats;

    /// Sends a request and cancels it at once
    fn give_up(&self, code: &str, payload: &[u8]) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Programs on an async runtime
pub(crate) struct On<R>(PhantomData<R>);

impl<R: Runtime> Kind for On<R> {
    type Peer = Peer;
    type Client = Connected;
    type Server = ServerHandle<R>;

    async fn listen(router: Router<Peer>, zip: ZipMode) -> io::Result<ServerHandle<R>> {
        Server::new().router(router).zip(zip).listen("127.0.0.1:0").await
    }

    fn address(server: &ServerHandle<R>) -> String {
        server.address()
    }

    fn peers(server: &ServerHandle<R>) -> Vec<Peer> {
        server.peers()
    }

    async fn shutdown(server: ServerHandle<R>, timeout: Duration) {
        server.shutdown(timeout).await;
    }

    async fn connect(address: &str, router: Router<Peer>, zip: ZipMode) -> io::Result<Connected> {
        Client::<R>::new().router(router).zip(zip).connect(address).await
    }

    fn spawn(task: Task) {
        R::spawn(task);
    }

    /// A handler that is cancelled is dropped
    async fn sleep(_: &Context<Peer>, time: Duration) -> Result<(), RemoteError> {
        let mut timer = R::timer();
        timer.set(time);
        poll_fn(|cx| timer.poll_expired(cx)).await;
        Ok(())
    }
}

impl Side for Peer {
    async fn call(&self, code: &str, payload: &[u8], within: Duration) -> Result<Bytes, Error> {
        self.call(code, payload).within(within).await
    }

    async fn send_acked(&self, code: &str, payload: &[u8]) -> Result<(), Error> {
        self.send_acked(code, payload).await.map(drop)
    }

    async fn send(&self, code: &str, payload: &[u8]) -> Result<(), Error> {
        self.send(code, payload).await
    }

    async fn ping(&self, len: usize, timeout: Duration) -> Result<Pong, Error> {
        self.ping(len, timeout).await
    }

    async fn hello(&self) -> Result<Capabilities, Error> {
        self.hello().await
    }

    async fn drain(&self, timeout: Duration) -> CloseReason {
        self.drain(timeout).await
    }

    fn stats(&self) -> Stats {
        self.stats()
    }

    async fn give_up(&self, code: &str, payload: &[u8]) -> Result<(), Error> {
        let mut call = pin!(self.call(code, payload));
        poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer.map(drop)),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }
}

/// Programs of threads and blocking sockets: their futures are ready when they are polled for the first time
pub(crate) struct Threads;

impl Kind for Threads {
    type Peer = blocking::Peer;
    type Client = blocking::Connected;
    type Server = blocking::ServerHandle;

    async fn listen(router: Router<blocking::Peer>, zip: ZipMode) -> io::Result<blocking::ServerHandle> {
        blocking::Server::new().router(router).zip(zip).listen("127.0.0.1:0")
    }

    fn address(server: &blocking::ServerHandle) -> String {
        server.address().to_string()
    }

    fn peers(server: &blocking::ServerHandle) -> Vec<blocking::Peer> {
        server.peers()
    }

    async fn shutdown(server: blocking::ServerHandle, timeout: Duration) {
        server.shutdown(timeout);
    }

    async fn connect(
        address: &str,
        router: Router<blocking::Peer>,
        zip: ZipMode,
    ) -> io::Result<blocking::Connected> {
        blocking::Client::new().router(router).zip(zip).connect(address)
    }

    fn spawn(mut task: Task) {
        std::thread::spawn(move || {
            let polled = task.as_mut().poll(&mut task::Context::from_waker(Waker::noop()));
            debug_assert!(polled.is_ready(), "it waits for something other than blocking calls");
        });
    }

    async fn sleep(context: &Context<blocking::Peer>, time: Duration) -> Result<(), RemoteError> {
        let mut left = time;
        while !left.is_zero() {
            let nap = left.min(Duration::from_millis(20));
            std::thread::sleep(nap);
            left -= nap;
            if context.is_cancelled() {
                return Err(RemoteError::new(codes::CANCELLED));
            }
        }
        Ok(())
    }
}

impl Side for blocking::Peer {
    async fn call(&self, code: &str, payload: &[u8], within: Duration) -> Result<Bytes, Error> {
        self.call_within(code, payload, within)
    }

    async fn send_acked(&self, code: &str, payload: &[u8]) -> Result<(), Error> {
        self.send_acked(code, payload).map(drop)
    }

    async fn send(&self, code: &str, payload: &[u8]) -> Result<(), Error> {
        self.send(code, payload)
    }

    async fn ping(&self, len: usize, timeout: Duration) -> Result<Pong, Error> {
        self.ping(len, timeout)
    }

    async fn hello(&self) -> Result<Capabilities, Error> {
        self.hello()
    }

    async fn drain(&self, timeout: Duration) -> CloseReason {
        self.drain(timeout)
    }

    fn stats(&self) -> Stats {
        self.stats()
    }

    async fn give_up(&self, code: &str, payload: &[u8]) -> Result<(), Error> {
        self.start(code, payload, Duration::from_secs(10))?.cancel();
        Ok(())
    }
}
