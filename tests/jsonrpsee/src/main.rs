//! A JSON-RPC peer on jsonrpsee
//!
//! ```text
//! flyrpc-peer-jsonrpsee serve           prints "LISTEN port"; WebSocket and HTTP on that port, until standard input ends
//! flyrpc-peer-jsonrpsee call ws URL     runs its checks, a line for each; the exit code is 0 when none failed
//! flyrpc-peer-jsonrpsee call http URL
//! ```

mod call;
mod serve;

use std::process::ExitCode;

/// What went wrong, as text
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The server's own error: its code is outside what the specification reserves
const OWN_ERROR: (i32, &str) = (7, "NO_SUCH_LAMP");
const DIVIDE_BY_ZERO: (i32, &str) = (-32001, "divide by zero");

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve::until_stdin_ends().await.map(|()| ExitCode::SUCCESS),
        ["call", "ws", url] => call::over_websocket(url).await,
        ["call", "http", url] => call::over_http(url).await,
        _ => {
            eprintln!("usage: flyrpc-peer-jsonrpsee serve | call ws URL | call http URL");
            Ok(ExitCode::from(2))
        }
    }
}
