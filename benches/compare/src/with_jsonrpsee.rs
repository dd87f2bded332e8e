//! jsonrpsee: JSON-RPC over WebSocket and over HTTP/1.1; the payload is a string, the only parameter
//!
//! Its server speaks both on one port. Over HTTP each outstanding call has a connection of its own.

use core::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use jsonrpsee::RpcModule;
use jsonrpsee::core::client::ClientT;
use jsonrpsee::server::{Server, ServerConfig};
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee_http_client::{HttpClient, HttpClientBuilder};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use tokio::net::TcpListener;

use crate::kit::{Caller, Failure};

/// Calls that may wait at each place where some do: more than are ever outstanding
const ROOM: u32 = 4096;
/// Of a message, in bytes: more than 1 MiB with what is around it
const MESSAGE: u32 = 16 << 20;

/// The handler is not `async`: jsonrpsee runs such ones on the spot, without a task for each
pub(crate) async fn serve(listener: TcpListener) -> Result<(), Failure> {
    let config = ServerConfig::builder()
        .max_connections(ROOM)
        .max_request_body_size(MESSAGE)
        .max_response_body_size(MESSAGE)
        .set_message_buffer_capacity(ROOM)
        .set_tcp_no_delay(true)
        .build();
    let server = Server::builder().set_config(config).build_from_tcp(listener.into_std()?)?;
    let mut module = RpcModule::new(());
    module.register_method("echo1", |params, _, _| -> Result<String, ErrorObjectOwned> { params.one() })?;
    server.start(module).stopped().await;
    Ok(())
}

/// A client's connection
#[derive(Clone)]
pub(crate) struct OverWebSocket(Arc<WsClient>);

impl Caller for OverWebSocket {
    async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let client = WsClientBuilder::new()
            .max_concurrent_requests(ROOM as usize)
            .max_request_size(MESSAGE)
            .max_response_size(MESSAGE)
            .set_tcp_no_delay(true);
        Ok(Self(Arc::new(client.build(format!("ws://{address}")).await?)))
    }

    async fn echo(&self, payload: Bytes) -> Result<usize, Failure> {
        let text = str::from_utf8(&payload)?;
        Ok(self.0.request::<String, _>("echo1", [text]).await?.len())
    }
}

/// A client's connections
#[derive(Clone)]
pub(crate) struct OverHttp(HttpClient);

impl Caller for OverHttp {
    async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let client = HttpClientBuilder::new()
            .max_concurrent_requests(ROOM as usize)
            .max_request_size(MESSAGE)
            .max_response_size(MESSAGE)
            .set_tcp_no_delay(true);
        Ok(Self(client.build(format!("http://{address}"))?))
    }

    async fn echo(&self, payload: Bytes) -> Result<usize, Failure> {
        let text = str::from_utf8(&payload)?;
        Ok(self.0.request::<String, _>("echo1", [text]).await?.len())
    }
}
