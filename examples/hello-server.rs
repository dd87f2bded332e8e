//! A server that echoes, and asks its clients for their names

use flyrpc_tokio::{Bytes, Context, Error, Server};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let server = Server::new()
        .handle("echo", |payload: Bytes| payload)
        .handle("greet", |context: Context| async move {
            let name = context.peer().call_as::<String>("name", ()).await?; // the server calls its client
            Ok::<_, Error>(format!("hello, {name}"))
        })
        .listen(address)
        .await?;
    println!("listening on {}", server.address());
    server.wait().await;
    Ok(())
}
