//! The stacks of the driver's runtimes

use core::future::Future;
use core::marker::PhantomData;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use flyrpc_driver::runtime::Runtime;
use flyrpc_driver::{
    Answer, Capabilities, Client, CloseReason, ConnectionId, Error, Peer, Pong, Response, ServerHandle,
    Stage, Stats,
};
use flyrpc_smol::Smol;
use flyrpc_tokio::Tokio;

use crate::rig::{Connected, End, Later, Rig, Server, Serving, Setup, Stack, block_on, bounded};
use crate::trickle::Trickle;

/// Tells a server or client what the setup says
macro_rules! apply {
    ($setup:ident, $end:expr) => {{
        let mut end = $end.router($setup.router).zip($setup.zip);
        if let Some(limits) = $setup.limits {
            end = end.limits(limits);
        }
        if let Some(timeout) = $setup.write_timeout {
            end = end.write_timeout(timeout);
        }
        if let Some((bytes, when_full)) = $setup.send_buffer {
            end = end.send_buffer(bytes, when_full);
        }
        if let Some((bytes, when_full)) = $setup.owed_buffer {
            end = end.owed_buffer(bytes, when_full);
        }
        if let Some((interval, timeout)) = $setup.keepalive {
            end = end.keepalive(interval, timeout);
        }
        if let Some(timeout) = $setup.handler_timeout {
            end = end.handler_timeout(timeout);
        }
        if let Some(hook) = $setup.on_packet {
            end = end.on_packet(hook);
        }
        if let Some(hook) = $setup.on_connect {
            end = end.on_connect(hook);
        }
        if let Some(hook) = $setup.on_close {
            end = end.on_close(hook);
        }
        end
    }};
}
pub(crate) use apply;

/// A runtime of the driver's
struct Async<R> {
    bytewise: bool,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Stack<Peer> for Async<R> {
    fn listen(&self, setup: Setup<Peer>, address: String) -> Later<'_, io::Result<Server<Peer>>> {
        Box::pin(async move {
            let mut server = flyrpc_driver::Server::<R>::new();
            if let Some((connections, when_full)) = setup.max_connections {
                server = server.max_connections(connections, when_full);
            }
            let handle = apply!(setup, server).listen(address).await?;
            Ok(Box::new(handle) as Server<Peer>)
        })
    }

    fn connect(&self, setup: Setup<Peer>, address: String) -> Later<'_, io::Result<Connected<Peer>>> {
        Box::pin(async move {
            let connected = apply!(setup, Client::<R>::new()).connect(address).await?;
            Ok(Connected { peer: connected.peer(), _open: Box::new(connected) })
        })
    }

    fn spawn(&self, task: Later<'static, ()>) {
        R::spawn(task);
    }

    fn is_bytewise(&self) -> bool {
        self.bytewise
    }

    fn is_blocking(&self) -> bool {
        false
    }
}

impl<R: Runtime> Serving<Peer> for ServerHandle<R> {
    fn address(&self) -> String {
        self.address()
    }

    fn peers(&self) -> Vec<Peer> {
        self.peers()
    }

    fn peer(&self, id: ConnectionId) -> Option<Peer> {
        self.peer(id)
    }

    fn connections(&self) -> usize {
        self.connections()
    }

    fn broadcast(&self, code: &str, payload: Bytes) -> usize {
        self.broadcast(code, payload).expect("bytes have a form")
    }

    fn broadcast_to(&self, ids: &[ConnectionId], code: &str, payload: Bytes) -> usize {
        self.broadcast_to(ids, code, payload).expect("bytes have a form")
    }

    fn shutdown(self: Box<Self>, timeout: Duration) -> Later<'static, ()> {
        Box::pin((*self).shutdown(timeout))
    }
}

impl End for Peer {
    fn call<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<Bytes, Error>> {
        Box::pin(self.call(code, payload.into()))
    }

    fn call_within<'a>(
        &'a self,
        code: &'a str,
        payload: impl Into<Bytes>,
        within: Duration,
    ) -> Later<'a, Result<Bytes, Error>> {
        Box::pin(self.call(code, payload.into()).within(within))
    }

    fn call_as<'a, T: Answer + Send + 'static>(
        &'a self,
        code: &'a str,
        payload: impl Into<Bytes>,
    ) -> Later<'a, Result<T, Error>> {
        Box::pin(self.call_as(code, payload.into()))
    }

    fn request<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<Response, Error>> {
        Box::pin(self.request(code, payload.into()))
    }

    fn send_acked<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<(), Error>> {
        let acked = self.send_acked(code, payload.into());
        Box::pin(async move { acked.await.map(drop) })
    }

    fn send<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<(), Error>> {
        Box::pin(self.send(code, payload.into()))
    }

    fn try_send(&self, code: &str, payload: impl Into<Bytes>) -> Result<(), Error> {
        self.try_send(code, payload.into())
    }

    fn ping(&self, len: usize, timeout: Duration) -> Later<'_, Result<Pong, Error>> {
        Box::pin(self.ping(len, timeout))
    }

    fn hello(&self) -> Later<'_, Result<Capabilities, Error>> {
        Box::pin(self.hello())
    }

    fn drain(&self, timeout: Duration) -> Later<'static, CloseReason> {
        Box::pin(self.drain(timeout))
    }

    fn close(&self) {
        self.close();
    }

    fn closed(&self) -> Later<'static, CloseReason> {
        Box::pin(self.closed())
    }

    fn stage(&self) -> Stage {
        self.state()
    }

    fn stats(&self) -> Stats {
        self.stats()
    }

    fn in_flight(&self) -> u32 {
        self.in_flight()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities()
    }
}

/// A body that runs on the driver's runtimes
pub(crate) trait Body: Fn(Rig<Peer>) -> Self::Test {
    type Test: Future<Output = ()>;
}

impl<B: Fn(Rig<Peer>) -> F, F: Future<Output = ()>> Body for B {
    type Test = F;
}

fn rig<R: Runtime>(bytewise: bool) -> Rig<Peer> {
    Rig(Arc::new(Async::<R> { bytewise, runtime: PhantomData }))
}

/// On a runtime of two threads, all beside the body's
fn on_threads(name: &'static str, body: impl Body, rig: Rig<Peer>) {
    bounded(name, || {
        let runtime = ::tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _entered = runtime.enter();
        block_on(body(rig));
    });
}

/// On a runtime of one thread, beside the body's
fn on_one_thread(name: &'static str, body: impl Body, rig: Rig<Peer>) {
    bounded(name, || {
        let runtime =
            ::tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let (stop, stopped) = ::tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || drop(runtime.block_on(stopped)));
        {
            let _entered = handle.enter();
            block_on(body(rig));
        }
        drop(stop);
        thread.join().expect("the runtime's thread");
    });
}

pub(crate) fn tokio(name: &'static str, body: impl Body) {
    on_threads(name, body, rig::<Tokio>(false));
}

pub(crate) fn tokio_bytewise(name: &'static str, body: impl Body) {
    on_threads(name, body, rig::<Trickle<Tokio>>(true));
}

pub(crate) fn tokio_one_thread(name: &'static str, body: impl Body) {
    on_one_thread(name, body, rig::<Tokio>(false));
}

pub(crate) fn tokio_one_thread_bytewise(name: &'static str, body: impl Body) {
    on_one_thread(name, body, rig::<Trickle<Tokio>>(true));
}

pub(crate) fn smol(name: &'static str, body: impl Body) {
    bounded(name, || block_on(body(rig::<Smol>(false))));
}

pub(crate) fn smol_bytewise(name: &'static str, body: impl Body) {
    bounded(name, || block_on(body(rig::<Trickle<Smol>>(true))));
}
