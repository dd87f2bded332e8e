//! The service of net/rpc's documentation, over JSON-RPC 2.0 at every kind of address, and over FlyRPC
//!
//! ```text
//! cargo run --example arith
//! cargo run --example arith -- serve jsonrpc+tcp://127.0.0.1:7001 jsonrpc+http://127.0.0.1:8080
//! cargo run --example arith -- call jsonrpc+http://127.0.0.1:8080
//! curl -H 'Content-Type: application/json' http://127.0.0.1:8080 \
//!     -d '{"jsonrpc":"2.0","method":"Arith.Multiply","params":{"A":7,"B":8},"id":1}'
//! ```
//!
//! Without arguments it serves and calls in one program, and starts itself once more for standard input and output.

use flyrpc_tokio::{Client, Error, Json, Peer, RemoteError, Router, Server, ServerHandle, service};
use serde::{Deserialize, Serialize};

type AnyError = Box<dyn core::error::Error>;

/// On the wire `{"A": 7, "B": 2}`
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Args {
    a: i64,
    b: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Quotient {
    quo: i64,
    rem: i64,
}

/// For the server a trait to implement, and with it `ArithServer`; for clients `ArithClient`
#[service]
trait Arith {
    /// `Arith.Multiply`
    async fn multiply(&self, args: Args) -> Result<i64, RemoteError>;
    /// `Arith.Divide`
    async fn divide(&self, args: Args) -> Result<Quotient, RemoteError>;
}

struct Calculator;

impl Arith for Calculator {
    async fn multiply(&self, Args { a, b }: Args) -> Result<i64, RemoteError> {
        a.checked_mul(b).ok_or_else(|| "the product is too large".into())
    }

    async fn divide(&self, Args { a, b }: Args) -> Result<Quotient, RemoteError> {
        let quotient = || Some(Quotient { quo: a.checked_div(b)?, rem: a.checked_rem(b)? });
        quotient().ok_or_else(|| RemoteError::new("divide by zero").number(1))
    }
}

/// One server at all of these addresses, and where it listens
async fn serve(addresses: &[String]) -> Result<(ServerHandle, Vec<String>), AnyError> {
    let router = Router::new().register(ArithServer::new(Calculator))?;
    let (first, others) = addresses.split_first().ok_or("which addresses?")?;
    let mut server = Server::new().router(router).listen(first).await?;
    let mut listening = vec![server.address()];
    for address in others {
        listening.push(server.also_listen(address).await?);
    }
    Ok((server, listening))
}

/// The same calls, whatever the address says
async fn call(peer: &Peer) -> Result<String, AnyError> {
    let arith = ArithClient::new(peer.clone());
    let args = Args { a: 7, b: 2 };
    let product = arith.multiply(args).await?;
    let Quotient { quo, rem } = arith.divide(args).await?;
    let Err(Error::Remote(error)) = arith.divide(Args { a: 7, b: 0 }).await else {
        return Err("seven can't be divided by zero".into());
    };

    // By name, and all together: over HTTP it is one exchange.
    let mut batch = peer.batch();
    for b in 1..=3 {
        batch = batch.call("Arith.Multiply", Json(Args { a: 7, b }));
    }
    let mut products = Vec::new();
    for call in batch.start()? {
        let Json(product) = call.wait_as::<Json<i64>>().await?;
        products.push(product);
    }
    Ok(format!(
        "7 * 2 = {product}; 7 / 2 = {quo}, rest {rem}; 7 / 0: {}; 7 * 1, 2, 3 = {products:?}",
        error.code
    ))
}

/// Serves and calls at every kind of address
async fn tour() -> Result<(), AnyError> {
    let schemes = ["fly+tcp", "jsonrpc+tcp", "jsonrpc+ws", "jsonrpc+http"];
    let (_server, mut addresses) = serve(&schemes.map(|scheme| format!("{scheme}://127.0.0.1:0"))).await?;
    // Where HTTP POST is served, so are WebSocket and net/rpc's CONNECT.
    let web = addresses[3].trim_start_matches("jsonrpc+http").trim_end_matches('/').to_owned();
    addresses.extend([format!("jsonrpc+ws{web}"), format!("jsonrpc+connect{web}")]);
    let program = std::env::current_exe()?;
    addresses.push(format!("jsonrpc+stdio:{} serve jsonrpc+stdio:", program.display()));
    for address in addresses {
        let client = Client::new().connect(&address).await?;
        let scheme = address.split(':').next().unwrap_or_default();
        println!("{scheme}: {}", call(&client).await?);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => tour().await?,
        ["serve", ..] => {
            let (server, addresses) = serve(&args[1..]).await?;
            // Standard output that is a connection takes nothing else.
            for address in addresses.iter().filter(|address| !address.contains("stdio:")) {
                println!("listening on {address}");
            }
            server.wait().await;
        }
        ["call", address] => println!("{}", call(&*Client::new().connect(address).await?).await?),
        _ => return Err("arith | arith serve ADDRESS... | arith call ADDRESS".into()),
    }
    Ok(())
}
