//! Services over sockets: typed clients, at both ends of one connection

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use flyrpc_tokio::{Client, Context, Error, RemoteError, Router, Server, ServerHandle, service};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

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

async fn serve() -> (ServerHandle, mpsc::UnboundedReceiver<String>) {
    let (lines, read) = mpsc::unbounded_channel();
    let router = Router::new().register(ArithServer::new(Calculator { lines })).unwrap();
    (Server::new().router(router).listen("127.0.0.1:0").await.unwrap(), read)
}

#[tokio::test]
async fn a_typed_client_calls_a_typed_server() {
    let (server, mut lines) = serve().await;
    let client = Client::new().connect(server.address()).await.unwrap();
    let arith = ArithClient::new(client.peer());
    assert_eq!(arith.multiply(6, 7).await, Ok(42));
    assert_eq!(arith.multiply(i64::MAX, 2).await, Err(Error::Remote(RemoteError::new("OVERFLOW"))));
    assert_eq!(arith.divide(DivideArgs { a: 7, b: 2 }).await, Ok(Quotient { quo: 3, rem: 1 }));
    assert_eq!(arith.square(9).await, Ok(81));
    assert_eq!(arith.nothing().await, Ok(()));
    arith.log("a line").await.unwrap();
    assert_eq!(lines.recv().await.as_deref(), Some("a line"));
}

#[tokio::test]
async fn a_server_calls_its_client_through_a_typed_client_of_its_own() {
    let (server, _lines) = serve().await;
    let router = Router::new().register(NamesServer::new(Ada)).unwrap();
    let client = Client::new().router(router).connect(server.address()).await.unwrap();
    let arith = ArithClient::new(client.peer());
    assert_eq!(arith.who("hello".to_owned()).await, Ok("hello, Ada".to_owned()));
}
