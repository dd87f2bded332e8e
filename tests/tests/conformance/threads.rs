//! The stack of blocking calls and threads

use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use flyrpc_blocking::{Client, Peer, ServerHandle};
use flyrpc_driver::{
    Answer, Capabilities, CloseReason, ConnectionId, Error, Pong, Protocol, Response, Stage, Stats,
};
use tokio::sync::oneshot;

use crate::rig::{Connected, End, Later, Rig, Server, Serving, Setup, Stack, block_on, bounded, until};
use crate::stacks::apply;
use crate::wire::{Wire, unwrap_for, wrap_for};

/// Each task, call and handler has a thread
struct Threads {
    bytewise: bool,
    wire: Wire,
}

impl Stack<Peer> for Threads {
    fn listen(&self, setup: Setup<Peer>, address: String) -> Later<'_, io::Result<Server<Peer>>> {
        Box::pin(async move {
            let mut server = flyrpc_blocking::Server::new();
            if let Some((connections, when_full)) = setup.max_connections {
                server = server.max_connections(connections, when_full);
            }
            if let Some(settings) = self.wire.settings() {
                server = server.json_rpc((setup.json)(settings));
            }
            let handle = apply!(setup, server).listen(address)?;
            Ok(Box::new(handle) as Server<Peer>)
        })
    }

    fn connect(&self, setup: Setup<Peer>, address: String) -> Later<'_, io::Result<Connected<Peer>>> {
        Box::pin(async move {
            let through = if self.bytewise { byte_by_byte(&address)? } else { address };
            let mut client = Client::new();
            if let Some(settings) = self.wire.settings() {
                client = client.json_rpc((setup.json)(settings));
            }
            let connected = apply!(setup, client).connect(through)?;
            Ok(Connected { peer: connected.peer(), _open: Box::new(connected) })
        })
    }

    fn spawn(&self, task: Later<'static, ()>) {
        spawn(move || block_on(task));
    }

    fn is_bytewise(&self) -> bool {
        self.bytewise
    }

    fn is_blocking(&self) -> bool {
        true
    }

    fn wire(&self) -> Wire {
        self.wire
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) {
    drop(std::thread::Builder::new().stack_size(256 << 10).spawn(run).expect("a thread"));
}

/// A listener whose one connection goes on to `address`, one byte at a time; what is no port is left as it is
fn byte_by_byte(address: &str) -> io::Result<String> {
    let Ok(to) = address.trim_start_matches("tcp://").parse::<core::net::SocketAddr>() else {
        return Ok(address.to_owned());
    };
    let there = TcpStream::connect(to)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    spawn(move || {
        let (here, _) = listener.accept().expect("the client");
        let back = (there.try_clone().expect("a handle"), here.try_clone().expect("a handle"));
        spawn(move || trickle(back.0, back.1));
        trickle(here, there);
    });
    Ok(address)
}

/// Passes on byte by byte until the end, and then the end
fn trickle(mut from: TcpStream, mut to: TcpStream) {
    to.set_nodelay(true).expect("an option");
    let mut byte = [0];
    loop {
        match from.read(&mut byte) {
            Ok(1) if to.write_all(&byte).is_ok() => {}
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(_) | Err(_) => {
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return;
            }
        }
    }
}

impl Serving<Peer> for ServerHandle {
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
        Box::pin(async move { (*self).shutdown(timeout) })
    }
}

/// What a server's connections speak: all of them the same
fn protocol_of(peers: &[Peer]) -> Protocol {
    peers.first().map(Peer::protocol).unwrap_or_default()
}

impl End for Peer {
    fn call_json<'a>(&'a self, code: &'a str, params: impl Into<Bytes>) -> Later<'a, Result<Bytes, Error>> {
        let params = params.into();
        Box::pin(async move { self.call(code, params) })
    }

    fn call<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<Bytes, Error>> {
        let payload = wrap_for(self.protocol(), payload.into());
        Box::pin(async move { Ok(unwrap_for(self.protocol(), self.call(code, payload)?)) })
    }

    fn call_within<'a>(
        &'a self,
        code: &'a str,
        payload: impl Into<Bytes>,
        within: Duration,
    ) -> Later<'a, Result<Bytes, Error>> {
        let payload = wrap_for(self.protocol(), payload.into());
        Box::pin(async move { Ok(unwrap_for(self.protocol(), self.call_within(code, payload, within)?)) })
    }

    fn call_as<'a, T: Answer + Send + 'static>(
        &'a self,
        code: &'a str,
        payload: impl Into<Bytes>,
    ) -> Later<'a, Result<T, Error>> {
        let payload = wrap_for(self.protocol(), payload.into());
        Box::pin(async move { self.call_as(code, payload) })
    }

    fn request<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<Response, Error>> {
        let payload = wrap_for(self.protocol(), payload.into());
        Box::pin(async move {
            let Response { code, payload } = self.request(code, payload)?;
            Ok(Response { code, payload: unwrap_for(self.protocol(), payload) })
        })
    }

    fn send_acked<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<(), Error>> {
        let payload = wrap_for(self.protocol(), payload.into());
        Box::pin(async move { self.send_acked(code, payload) })
    }

    fn send<'a>(&'a self, code: &'a str, payload: impl Into<Bytes>) -> Later<'a, Result<(), Error>> {
        let payload = wrap_for(self.protocol(), payload.into());
        Box::pin(async move { self.send(code, payload) })
    }

    fn try_send(&self, code: &str, payload: impl Into<Bytes>) -> Result<(), Error> {
        self.try_send(code, wrap_for(self.protocol(), payload.into()))
    }

    fn ping(&self, len: usize, timeout: Duration) -> Later<'_, Result<Pong, Error>> {
        Box::pin(async move { self.ping(len, timeout) })
    }

    fn hello(&self) -> Later<'_, Result<Capabilities, Error>> {
        Box::pin(async move { self.hello() })
    }

    fn drain(&self, timeout: Duration) -> Later<'static, CloseReason> {
        let (tell, drained) = oneshot::channel();
        let peer = self.clone();
        spawn(move || {
            let _ = tell.send(peer.drain(timeout));
        });
        until("draining has begun", || self.state() != Stage::Open);
        Box::pin(async move { drained.await.expect("the draining thread ends") })
    }

    fn close(&self) {
        self.close();
    }

    fn closed(&self) -> Later<'static, CloseReason> {
        let peer = self.clone();
        Box::pin(async move { peer.closed() })
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

/// A body that runs on threads
pub(crate) type Body = fn(Rig<Peer>) -> Pin<Box<dyn Future<Output = ()>>>;

pub(crate) fn blocking(name: &'static str, body: Body, wire: Wire) {
    bounded(name, || block_on(body(Rig(Arc::new(Threads { bytewise: false, wire })))));
}

pub(crate) fn blocking_bytewise(name: &'static str, body: Body, wire: Wire) {
    bounded(name, || block_on(body(Rig(Arc::new(Threads { bytewise: true, wire })))));
}
