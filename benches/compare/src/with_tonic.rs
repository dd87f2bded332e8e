//! tonic: a unary call whose message is one `bytes` field

use core::net::SocketAddr;

use bytes::Bytes;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::kit::{Caller, Failure};
use stubs::echo_client::EchoClient;
use stubs::echo_server::{Echo, EchoServer};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(bytes = "bytes", tag = "1")]
    payload: Bytes,
}

#[allow(unreachable_pub, reason = "generated")]
mod stubs {
    include!(concat!(env!("OUT_DIR"), "/echo.Echo.rs"));
}

/// Bytes: waiting for windows is not what is measured
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Calls at a time: more than are ever outstanding
const CALLS: u32 = 4096;

struct Answers;

#[tonic::async_trait]
impl Echo for Answers {
    async fn echo(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

pub(crate) async fn serve(listener: TcpListener) -> Result<(), Failure> {
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(CALLS)
        .add_service(EchoServer::new(Answers));
    let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(server.serve_with_incoming(connections).await?)
}

/// A client's connection
#[derive(Clone)]
pub(crate) struct Client(EchoClient<Channel>);

impl Caller for Client {
    async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .buffer_size(CALLS as usize)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        Ok(Self(EchoClient::new(endpoint.connect().await?)))
    }

    async fn echo(&self, payload: Bytes) -> Result<usize, Failure> {
        let answer = self.0.clone().echo(Message { payload }).await?;
        Ok(answer.into_inner().payload.len())
    }
}
