//! `flyrpc-smol`: the smol adapter

use core::net::SocketAddr;
use std::io;

use bytes::Bytes;

use crate::kit::{Caller, Failure, Runtime};

const MISSING: &str = "flyrpc-smol is not built in yet";

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
pub(crate) fn serve() -> Result<(), Failure> {
    // To fill in, once flyrpc-smol is a dependency:
    // let runtime = OnSmol::start()?;
    // let server = runtime.run(Server::new().handle("echo1", |payload: Bytes| payload).listen("127.0.0.1:0"))?;
    // serve_until_quit(port_of(server.address())?)
    Err(MISSING.into())
}

/// A client's connection
#[derive(Clone)]
pub(crate) struct Fly;

impl Caller for Fly {
    async fn connect(_address: SocketAddr) -> Result<Self, Failure> {
        // To fill in: `Client::new().connect(address).await?`, whose `peer()` is kept beside it.
        Err(MISSING.into())
    }

    async fn echo(&self, _payload: Bytes) -> Result<usize, Failure> {
        // To fill in: `self.peer.call("echo1", payload).await?.len()`
        Err(MISSING.into())
    }
}
