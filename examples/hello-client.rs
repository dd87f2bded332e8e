//! A client of `hello-server`, which calls it back

use core::time::Duration;
use flyrpc_tokio::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let server = Client::new().handle("name", || "Ada").connect(address).await?;
    println!("{}", server.call_as::<String>("echo", "hi").await?); // hi
    println!("{}", server.call_as::<String>("greet", ()).await?); // hello, Ada
    server.send_acked("echo", "noted?").await?; // waits for the acknowledgement only
    server.send("echo", "by the way").await?; // waits for nothing
    server.drain(Duration::from_secs(1)).await; // what was sent is on its way before the program ends
    Ok(())
}
