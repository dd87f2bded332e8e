//! The runtimes, and what a recorded program's place asks of them

use core::future::{Future, poll_fn};
use core::marker::PhantomData;
use core::task::Poll;
use core::time::Duration;
use std::pin::pin;
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use flyrpc_driver::runtime::Runtime;
use flyrpc_driver::{Caller, Client, Connected, Error, Peer, Router, Server, ServerHandle};

use crate::raw::SOON;

/// What becomes of a call
pub(crate) type Outcome = Receiver<Result<Bytes, Error>>;

pub(crate) trait Stack: 'static {
    type Peer: Caller;
    /// Ends its connections when it is dropped
    type Server;
    /// Closes when it is dropped
    type Client;

    /// Listens; gives the address too
    fn serve(router: Router<Self::Peer>) -> (Self::Server, String);

    fn connect(router: Router<Self::Peer>, address: &str) -> Self::Client;

    /// Calls
    fn start(client: &Self::Client, code: &str, payload: Vec<u8>, timeout: Duration) -> Outcome;

    /// Sends a message: with an ack, or without
    fn send(client: &Self::Client, code: &str, payload: Vec<u8>, acked: bool);

    /// Makes this many calls, one after the other, without waiting for answers; tells how many were answered
    fn burst(client: &Self::Client, code: &'static str, calls: usize) -> Receiver<usize>;

    fn close(client: &Self::Client);

    /// Calls back from a handler
    fn ask(
        peer: Self::Peer,
        code: String,
        payload: Bytes,
    ) -> impl Future<Output = Result<Bytes, Error>> + Send;

    /// Sends `note` from a handler, which does not wait for the ack
    fn note(peer: Self::Peer, payload: Bytes, acked: bool) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A runtime of the driver's
pub(crate) trait OnRuntime: 'static {
    type Runtime: Runtime;

    fn block_on<T>(future: impl Future<Output = T>) -> T;

    fn spawn(task: impl Future<Output = ()> + Send + 'static);
}

pub(crate) struct OnTokio;

static TOKIO: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

impl OnRuntime for OnTokio {
    type Runtime = flyrpc_tokio::Tokio;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        TOKIO.block_on(future)
    }

    fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        drop(TOKIO.spawn(task));
    }
}

pub(crate) struct OnSmol;

impl OnRuntime for OnSmol {
    type Runtime = flyrpc_smol::Smol;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        smol::block_on(future)
    }

    fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        smol::spawn(task).detach();
    }
}

pub(crate) struct Async<O>(PhantomData<O>);

impl<O: OnRuntime> Stack for Async<O> {
    type Peer = Peer;
    type Server = ServerHandle<O::Runtime>;
    type Client = Connected;

    fn serve(router: Router<Peer>) -> (Self::Server, String) {
        let server = Server::<O::Runtime>::new().router(router).listen("127.0.0.1:0");
        let server = O::block_on(server).unwrap();
        let address = server.address();
        (server, address)
    }

    fn connect(router: Router<Peer>, address: &str) -> Connected {
        O::block_on(Client::<O::Runtime>::new().router(router).connect(address)).unwrap()
    }

    fn start(client: &Connected, code: &str, payload: Vec<u8>, timeout: Duration) -> Outcome {
        let (peer, code) = (client.peer(), code.to_owned());
        let (tell, outcome) = channel();
        O::spawn(async move {
            let _ = tell.send(peer.call(&code, payload).within(timeout).await);
        });
        outcome
    }

    fn send(client: &Connected, code: &str, payload: Vec<u8>, acked: bool) {
        let (peer, code) = (client.peer(), code.to_owned());
        O::spawn(async move {
            if acked {
                let _ = peer.send_acked(&code, payload).await;
            } else {
                let _ = peer.send(&code, payload).await;
            }
        });
    }

    fn burst(client: &Connected, code: &'static str, calls: usize) -> Receiver<usize> {
        let peer = client.peer();
        let (tell, answered) = channel();
        O::spawn(async move {
            let mut calls: Vec<_> = (0..calls).map(|_| Some(Box::pin(peer.call(code, ())))).collect();
            let mut good = 0;
            poll_fn(|cx| {
                for call in &mut calls {
                    if let Some(Poll::Ready(outcome)) = call.as_mut().map(|call| call.as_mut().poll(cx)) {
                        good += usize::from(outcome.is_ok());
                        *call = None;
                    }
                }
                if calls.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let _ = tell.send(good);
        });
        answered
    }

    fn close(client: &Connected) {
        client.close();
    }

    async fn ask(peer: Peer, code: String, payload: Bytes) -> Result<Bytes, Error> {
        peer.call(&code, payload).await
    }

    async fn note(peer: Peer, payload: Bytes, acked: bool) -> Result<(), Error> {
        if !acked {
            return peer.send("note", payload).await;
        }
        let mut acked = Box::pin(async move {
            let _ = peer.send_acked("note", payload).await;
        });
        // Polled once it is on its way; the answer, which the other side gives after ours, finds another task.
        poll_fn(|cx| Poll::Ready(pin!(&mut acked).poll(cx).is_ready())).await;
        O::spawn(acked);
        Ok(())
    }
}

pub(crate) struct Blocking;

impl Stack for Blocking {
    type Peer = flyrpc_blocking::Peer;
    type Server = flyrpc_blocking::ServerHandle;
    type Client = flyrpc_blocking::Connected;

    fn serve(router: Router<Self::Peer>) -> (Self::Server, String) {
        let server = flyrpc_blocking::Server::new().router(router).listen("127.0.0.1:0").unwrap();
        let address = server.address();
        (server, address)
    }

    fn connect(router: Router<Self::Peer>, address: &str) -> Self::Client {
        flyrpc_blocking::Client::new().router(router).connect(address).unwrap()
    }

    fn start(client: &Self::Client, code: &str, payload: Vec<u8>, timeout: Duration) -> Outcome {
        let (tell, outcome) = channel();
        match client.start(code, payload, timeout) {
            Ok(call) => drop(std::thread::spawn(move || tell.send(call.wait()))),
            Err(refused) => drop(tell.send(Err(refused))),
        }
        outcome
    }

    fn send(client: &Self::Client, code: &str, payload: Vec<u8>, acked: bool) {
        if acked {
            let call = client.start(code, payload, SOON).unwrap();
            drop(std::thread::spawn(move || call.wait()));
        } else {
            client.send(code, payload).unwrap();
        }
    }

    fn burst(client: &Self::Client, code: &'static str, calls: usize) -> Receiver<usize> {
        let calls: Vec<_> = (0..calls).map(|_| client.start(code, (), SOON).unwrap()).collect();
        let (tell, answered) = channel();
        drop(std::thread::spawn(move || {
            tell.send(calls.into_iter().filter_map(|call| call.wait().ok()).count())
        }));
        answered
    }

    fn close(client: &Self::Client) {
        client.close();
    }

    async fn ask(peer: Self::Peer, code: String, payload: Bytes) -> Result<Bytes, Error> {
        peer.call(&code, payload)
    }

    async fn note(peer: Self::Peer, payload: Bytes, acked: bool) -> Result<(), Error> {
        if !acked {
            return peer.send("note", payload);
        }
        let call = peer.start("note", payload, SOON)?;
        drop(std::thread::spawn(move || call.wait()));
        Ok(())
    }
}
