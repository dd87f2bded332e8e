//! The stacks of the driver's runtimes

use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use flyrpc_driver::runtime::Runtime;
use flyrpc_driver::{
    Answer, Capabilities, Client, CloseReason, ConnectionId, Error, Peer, Pong, Protocol, Response,
    ServerHandle, Stage, Stats,
};
use flyrpc_smol::Smol;
use flyrpc_tokio::Tokio;

use crate::rig::{Connected, End, Later, Rig, Server, Serving, Setup, Stack, block_on, bounded};
use crate::trickle::Trickle;
use crate::wire::{Wire, unwrap_for, wrap_for};

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
    wire: Wire,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Stack<Peer> for Async<R> {
    fn listen(&self, setup: Setup<Peer>, address: String) -> Later<'_, io::Result<Server<Peer>>> {
        Box::pin(async move {
            let mut server = flyrpc_driver::Server::<R>::new();
            if let Some((connections, when_full)) = setup.max_connections {
                server = server.max_connections(connections, when_full);
            }
            if let Some(settings) = self.wire.settings() {
                server = server.json_rpc((setup.json)(settings));
            }
            let handle = apply!(setup, server).listen(address).await?;
            Ok(Box::new(handle) as Server<Peer>)
        })
    }

    fn connect(&self, setup: Setup<Peer>, address: String) -> Later<'_, io::Result<Connected<Peer>>> {
        Box::pin(async move {
            let mut client = Client::<R>::new();
            if let Some(settings) = self.wire.settings() {
                client = client.json_rpc((setup.json)(settings));
            }
            let connected = apply!(setup, client).connect(address).await?;
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

    fn wire(&self) -> Wire {
        self.wire
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
        let payload = wrap_for(protocol_of(&self.peers()), payload);
        self.broadcast(code, payload).expect("bytes have a form")
    }

    fn broadcast_to(&self, ids: &[ConnectionId], code: &str, payload: Bytes) -> usize {
        let payload = wrap_for(protocol_of(&self.peers()), payload);
        self.broadcast_to(ids, code, payload).expect("bytes have a form")
    }

    fn shutdown(self: Box<Self>, timeout: Duration) -> Later<'static, ()> {
        Box::pin((*self).shutdown(timeout))
    }
}

/// What a server's connections speak: all of them the same
fn protocol_of(peers: &[Peer]) -> Protocol {
    peers.first().map(Peer::protocol).unwrap_or_default()
}

impl End for Peer {
    fn call_json<'a>(&'a self, code: &'a str, params: impl Into<Bytes>) -> Later<'a, Result<Bytes, Error>> {
        Box::pin(self.call(code, params.into()))
    }

    fn call<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<Bytes, Error>> {
        let protocol = self.protocol();
        let call = self.call(code, wrap_for(protocol, payload.into()));
        Box::pin(async move { Ok(unwrap_for(protocol, call.await?)) })
    }

    fn call_within<'a>(
        &'a self,
        code: &'a str,
        payload: impl Into<Bytes>,
        within: Duration,
    ) -> Later<'a, Result<Bytes, Error>> {
        let protocol = self.protocol();
        let call = self.call(code, wrap_for(protocol, payload.into())).within(within);
        Box::pin(async move { Ok(unwrap_for(protocol, call.await?)) })
    }

    fn call_as<'a, T: Answer + Send + 'static>(
        &'a self,
        code: &'a str,
        payload: impl Into<Bytes>,
    ) -> Later<'a, Result<T, Error>> {
        Box::pin(self.call_as(code, wrap_for(self.protocol(), payload.into())))
    }

    fn request<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<Response, Error>> {
        let protocol = self.protocol();
        let request = self.request(code, wrap_for(protocol, payload.into()));
        Box::pin(async move {
            let Response { code, payload } = request.await?;
            Ok(Response { code, payload: unwrap_for(protocol, payload) })
        })
    }

    fn send_acked<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<(), Error>> {
        let acked = self.send_acked(code, wrap_for(self.protocol(), payload.into()));
        Box::pin(async move { acked.await.map(drop) })
    }

    fn send<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<(), Error>> {
        Box::pin(self.send(code, wrap_for(self.protocol(), payload.into())))
    }

    fn try_send(&self, code: &str, payload: impl Into<Bytes>) -> Result<(), Error> {
        self.try_send(code, wrap_for(self.protocol(), payload.into()))
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

/// A body that runs on the driver's runtimes: a pointer, so that another stack costs little to compile
pub(crate) type Body = fn(Rig<Peer>) -> Pin<Box<dyn Future<Output = ()>>>;

/// On a runtime of two threads, all beside the body's
fn on_threads<R: Runtime>(name: &'static str, body: Body, wire: Wire, bytewise: bool) {
    bounded(name, || {
        let runtime = ::tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _entered = runtime.enter();
        block_on(body(rig::<R>(wire, bytewise)));
    });
}

/// On a runtime of one thread, beside the body's
fn on_one_thread<R: Runtime>(name: &'static str, body: Body, wire: Wire, bytewise: bool) {
    bounded(name, || {
        let runtime =
            ::tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let (stop, stopped) = ::tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || drop(runtime.block_on(stopped)));
        {
            let _entered = handle.enter();
            block_on(body(rig::<R>(wire, bytewise)));
        }
        drop(stop);
        thread.join().expect("the runtime's thread");
    });
}

fn rig<R: Runtime>(wire: Wire, bytewise: bool) -> Rig<Peer> {
    Rig(Arc::new(Async::<R> { bytewise, wire, runtime: PhantomData }))
}

pub(crate) fn tokio(name: &'static str, body: Body, wire: Wire) {
    on_threads::<Tokio>(name, body, wire, false);
}

pub(crate) fn tokio_bytewise(name: &'static str, body: Body, wire: Wire) {
    on_threads::<Trickle<Tokio>>(name, body, wire, true);
}

pub(crate) fn tokio_one_thread(name: &'static str, body: Body, wire: Wire) {
    on_one_thread::<Tokio>(name, body, wire, false);
}

pub(crate) fn tokio_one_thread_bytewise(name: &'static str, body: Body, wire: Wire) {
    on_one_thread::<Trickle<Tokio>>(name, body, wire, true);
}

pub(crate) fn smol(name: &'static str, body: Body, wire: Wire) {
    bounded(name, || block_on(body(rig::<Smol>(wire, false))));
}

pub(crate) fn smol_bytewise(name: &'static str, body: Body, wire: Wire) {
    bounded(name, || block_on(body(rig::<Trickle<Smol>>(wire, true))));
}
