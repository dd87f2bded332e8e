//! Services over sockets: typed clients, at both ends of one connection

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use core::time::Duration;

use flyrpc_tokio::{
    Client, Connected, Context, Error, Protocol, RemoteError, Router, Server, ServerHandle, service,
};
#[cfg(all(feature = "msgpack", feature = "postcard"))]
use flyrpc_tokio::{WireFormat, codes};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct DivideArgs {
    a: i64,
    b: i64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Quotient {
    quo: i64,
    rem: i64,
}

/// Sums and products
#[service]
trait Arith {
    /// a times b
    async fn multiply(&self, a: i64, b: i64) -> Result<i64, RemoteError>;
    #[rpc(name = "arith_divide")]
    async fn divide(&self, args: DivideArgs) -> Result<Quotient, RemoteError>;
    #[rpc(notification)]
    async fn log(&self, line: &str);
    fn square(&self, n: u32) -> u32;
    async fn who(&self, #[rpc(context)] context: &Context, greeting: String) -> String;
    async fn nothing(&self);
    async fn for_ever(&self) {
        core::future::pending::<()>().await;
    }
}

struct Calculator {
    lines: mpsc::UnboundedSender<String>,
}

impl Arith for Calculator {
    async fn multiply(&self, a: i64, b: i64) -> Result<i64, RemoteError> {
        tokio::task::yield_now().await;
        a.checked_mul(b).ok_or_else(|| RemoteError::new("OVERFLOW"))
    }

    async fn divide(&self, DivideArgs { a, b }: DivideArgs) -> Result<Quotient, RemoteError> {
        if b == 0 {
            return Err("DIVIDE_BY_ZERO".into());
        }
        Ok(Quotient { quo: a / b, rem: a % b })
    }

    async fn log(&self, line: &str) {
        let _ = self.lines.send(line.to_owned());
    }

    fn square(&self, n: u32) -> u32 {
        n * n
    }

    async fn who(&self, context: &Context, greeting: String) -> String {
        // The server calls its client back.
        let names = NamesClient::new(context.peer().clone());
        match names.name().await {
            Ok(name) => format!("{greeting}, {name}"),
            Err(error) => error.to_string(),
        }
    }

    async fn nothing(&self) {}
}

#[service(name = "names", rename_all = "camelCase", separator = "/")]
trait Names {
    async fn name(&self) -> String;
}

struct Ada;

impl Names for Ada {
    async fn name(&self) -> String {
        "Ada".to_owned()
    }
}

async fn serve_with(server: Server, address: &str) -> (ServerHandle, mpsc::UnboundedReceiver<String>) {
    let (lines, read) = mpsc::unbounded_channel();
    let router = Router::new().register(ArithServer::new(Calculator { lines })).unwrap();
    (server.router(router).listen(address).await.unwrap(), read)
}

/// All that the service does, through a typed client
async fn calls(client: &Connected, lines: &mut mpsc::UnboundedReceiver<String>) {
    let arith = ArithClient::new(client.peer());
    assert_eq!(arith.multiply(6, 7).await, Ok(42));
    let Err(Error::Remote(error)) = arith.multiply(i64::MAX, 2).await else { panic!("an overflow") };
    assert_eq!(error.code, "OVERFLOW");
    assert_eq!(arith.divide(DivideArgs { a: 7, b: 2 }).await, Ok(Quotient { quo: 3, rem: 1 }));
    assert_eq!(arith.square(9).await, Ok(81));
    assert_eq!(arith.nothing().await, Ok(()));
    assert_eq!(arith.for_ever().within(Duration::from_millis(5)).await, Err(Error::TimedOut));
    arith.log("a line").await.unwrap();
    assert_eq!(timeout(SOON, lines.recv()).await.unwrap().as_deref(), Some("a line"));
}

#[tokio::test]
async fn a_typed_client_calls_a_typed_server() {
    let (server, mut lines) = serve_with(Server::new(), "127.0.0.1:0").await;
    let client = Client::new().connect(server.address()).await.unwrap();
    calls(&client, &mut lines).await;
}

#[tokio::test]
async fn the_same_over_json_rpc() {
    let (server, mut lines) = serve_with(Server::new(), "jsonrpc+tcp://127.0.0.1:0").await;
    let client = Client::new().connect(server.address()).await.unwrap();
    assert_eq!(client.protocol(), Protocol::JsonRpc);
    calls(&client, &mut lines).await;
}

#[cfg(all(feature = "msgpack", feature = "postcard"))]
#[tokio::test]
async fn the_same_in_other_formats() {
    for format in [WireFormat::MsgPack, WireFormat::Postcard] {
        let (server, mut lines) = serve_with(Server::new().format(format), "127.0.0.1:0").await;
        let client = Client::new().format(format).connect(server.address()).await.unwrap();
        calls(&client, &mut lines).await;
        // Both ends must mean the same format.
        let client = Client::new().connect(server.address()).await.unwrap();
        let Err(Error::Remote(error)) = ArithClient::new(client.peer()).multiply(6, 7).await else {
            panic!("JSON is no {format:?}");
        };
        assert_eq!(error.code, codes::BAD_PAYLOAD);
    }
}

/// What a program without flyrpc sends, and is answered
#[tokio::test]
async fn json_rpc_as_it_is_on_the_wire() {
    let (server, mut heard) = serve_with(Server::new(), "jsonrpc+tcp://127.0.0.1:0").await;
    let address = server.address().to_string();
    let address = address.rsplit('/').next().unwrap();
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    for (params, method, answer) in [
        ("[6,7]", "Arith.Multiply", r#""result":42"#),
        (r#"{"b":7,"a":6}"#, "Arith.Multiply", r#""result":42"#),
        (r#"{"a":7,"b":2}"#, "arith_divide", r#""result":{"quo":3,"rem":1}"#),
        (r#"[{"a":7,"b":2}]"#, "arith_divide", r#""result":{"quo":3,"rem":1}"#),
        (r#"[{"a":7,"b":0}]"#, "arith_divide", r#""code":-32001,"message":"DIVIDE_BY_ZERO""#),
        ("[]", "Arith.Nothing", r#""result":null"#),
        ("[6]", "Arith.Multiply", r#""code":-32602"#),
        ("[6,7]", "Arith.Add", r#""code":-32601"#),
        ("[6,7]", "Other.Add", r#""code":-32002"#),
    ] {
        let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut line = String::new();
        timeout(SOON, stream.read_line(&mut line)).await.unwrap().unwrap();
        assert!(line.contains(answer), "{method} {params}: {line}");
    }
    let request = br#"{"jsonrpc":"2.0","id":2,"method":"Arith.Nothing"}"#;
    stream.write_all(request).await.unwrap();
    let mut line = String::new();
    timeout(SOON, stream.read_line(&mut line)).await.unwrap().unwrap();
    assert!(line.contains(r#""result":null"#), "no params at all: {line}");
    let message = br#"{"jsonrpc":"2.0","method":"Arith.Log","params":["told"]}"#;
    stream.write_all(message).await.unwrap();
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap().as_deref(), Some("told"));
}

#[tokio::test]
async fn a_server_calls_its_client_through_a_typed_client_of_its_own() {
    for address in ["127.0.0.1:0", "jsonrpc+tcp://127.0.0.1:0"] {
        let (server, _lines) = serve_with(Server::new(), address).await;
        let router = Router::new().register(NamesServer::new(Ada)).unwrap();
        let client = Client::new().router(router).connect(server.address()).await.unwrap();
        let arith = ArithClient::new(client.peer());
        assert_eq!(arith.who("hello".to_owned()).await, Ok("hello, Ada".to_owned()));
    }
}
