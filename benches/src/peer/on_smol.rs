//! `flyrpc-smol`: the smol adapter

use core::marker::PhantomData;
use core::net::SocketAddr;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use flyrpc_smol::{Client, Connected, Json, Overload, Server};

use crate::json::{self, Carrier};
use crate::kit::{Caller, Failure, Runtime, listen_on, serve_until_quit};
use crate::{MAX_CONNECTIONS, port_of};

/// smol's global executor, which has one thread unless it is told otherwise
pub(crate) struct OnSmol;

impl Runtime for OnSmol {
    fn start() -> io::Result<Self> {
        Ok(Self)
    }

    fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        smol::block_on(Self::spawn(future))
    }

    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        smol::spawn(future)
    }
}

/// Serves `echo1` until it is told to end
pub(crate) fn serve(addresses: u8) -> Result<(), Failure> {
    let runtime = OnSmol::start()?;
    let (_servers, port) = listen_on(addresses, |address| {
        let server = Server::new()
            .max_connections(MAX_CONNECTIONS, Overload::Refuse)
            .handle("echo1", |payload: Bytes| payload);
        let server = runtime.run(server.listen(address))?;
        let port = port_of(&server.address())?;
        Ok((server, port))
    })?;
    serve_until_quit(port)
}

/// Serves `echo1` over JSON-RPC until it is told to end
pub(crate) fn serve_json<C: Carrier>(addresses: u8) -> Result<(), Failure> {
    let runtime = OnSmol::start()?;
    let (_servers, port) = listen_on(addresses, |address| {
        let server =
            Server::new().max_connections(MAX_CONNECTIONS, Overload::Refuse).handle("echo1", json::echo);
        let server = runtime.run(server.listen(json::address::<C>(address)))?;
        let port = port_of(&server.local_address().ok_or("it does not listen")?.to_string())?;
        Ok((server, port))
    })?;
    serve_until_quit(port)
}

/// A client's connection, which closes with its last clone
#[derive(Clone)]
pub(crate) struct Fly(Arc<Connected>);

impl Caller for Fly {
    async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        Ok(Self(Arc::new(Client::new().connect(address).await?)))
    }

    async fn echo(&self, payload: Bytes) -> Result<usize, Failure> {
        Ok(self.0.call("echo1", payload).await?.len())
    }
}

/// A client's connection over JSON-RPC, which closes with its last clone
pub(crate) struct JsonRpc<C>(Arc<Connected>, PhantomData<C>);

impl<C> Clone for JsonRpc<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), PhantomData)
    }
}

impl<C: Carrier> Caller for JsonRpc<C> {
    async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let connected = Client::new().connect(json::address::<C>(address)).await?;
        Ok(Self(Arc::new(connected), PhantomData))
    }

    async fn echo(&self, payload: Bytes) -> Result<usize, Failure> {
        let Json(text) = self.0.call_as::<Json<String>>("echo1", json::params(&payload)?).await?;
        Ok(text.len())
    }
}
