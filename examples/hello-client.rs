//! A client of `hello-server`, which calls it back

use flyrpc_tokio::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Client::new().handle("name", || "Ada").connect("127.0.0.1:7000").await?;
    println!("{}", server.call_as::<String>("echo", "hi").await?); // hi
    println!("{}", server.call_as::<String>("greet", ()).await?); // hello, Ada
    server.send_acked("echo", "noted?").await?; // waits for the acknowledgement only
    server.send("echo", "by the way").await?; // waits for nothing
    Ok(())
}
