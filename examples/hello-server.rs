//! A server that echoes, and asks its clients for their names

use flyrpc_tokio::{Bytes, Context, Error, Server};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let server = Server::new()
        .handle("echo", |payload: Bytes| payload)
        .handle("greet", |context: Context| async move {
            let name = context.peer().call_as::<String>("name", ()).await?; // the server calls its client
            Ok::<_, Error>(format!("hello, {name}"))
        })
        .listen("127.0.0.1:7000")
        .await?;
    println!("listening on {}", server.address());
    server.wait().await;
    Ok(())
}
