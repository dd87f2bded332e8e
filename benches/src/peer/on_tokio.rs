//! `flyrpc`: the tokio adapter

use core::net::SocketAddr;

use bytes::Bytes;

use crate::kit::{Caller, Failure};

const MISSING: &str = "flyrpc-tokio is not built in yet";

/// Serves `echo1` until it is told to end
pub(crate) fn serve() -> Result<(), Failure> {
    // To fill in, once flyrpc-tokio is a dependency:
    // let runtime = OnTokio::start()?;
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
