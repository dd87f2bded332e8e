//! tarpc: bincode in length-delimited frames; the payload is `Bytes`, which serde copies at once and not byte by byte

use core::net::SocketAddr;

use bytes::Bytes;
use futures_util::StreamExt;
use tarpc::context::{self, Context};
use tarpc::serde_transport::{self, Transport};
use tarpc::server::{self, BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio::net::{TcpListener, TcpStream};

use crate::kit::{Caller, Failure};

/// Calls that may wait at each place where some do: more than are ever outstanding
const ROOM: usize = 4096;

#[tarpc::service]
trait Echo {
    async fn echo1(payload: Bytes) -> Bytes;
}

#[derive(Clone)]
struct Answers;

impl Echo for Answers {
    async fn echo1(self, _: Context, payload: Bytes) -> Bytes {
        payload
    }
}

/// Each connection, and each request, has a task
pub(crate) async fn serve(listener: TcpListener) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let config = server::Config { pending_response_buffer: ROOM };
        let channel = BaseChannel::new(config, framed(stream));
        tokio::spawn(channel.execute(Answers.serve()).for_each(|request| async {
            tokio::spawn(request);
        }));
    }
}

/// A client's connection
#[derive(Clone)]
pub(crate) struct Client(EchoClient);

impl Caller for Client {
    async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let mut config = tarpc::client::Config::default();
        (config.max_in_flight_requests, config.pending_request_buffer) = (ROOM, ROOM);
        let transport = framed(crate::connect(address).await?);
        Ok(Self(EchoClient::new(config, transport).spawn()))
    }

    async fn echo(&self, payload: Bytes) -> Result<usize, Failure> {
        Ok(self.0.echo1(context::current(), payload).await?.len())
    }
}

/// One side's transport: reads `Item`, writes `Sent`
fn framed<Item, Sent>(stream: TcpStream) -> Transport<TcpStream, Item, Sent, Bincode<Item, Sent>>
where
    Item: for<'a> serde::Deserialize<'a>,
    Sent: serde::Serialize,
{
    serde_transport::new(Framed::new(stream, LengthDelimitedCodec::new()), Bincode::default())
}
