//! tarpc, tonic and jsonrpsee as peers: processes that `flyrpc-compare` starts, as it starts those of `flyrpc-bench-peer`
//!
//! Load, counters and the lines spoken are the very files that flyrpc is measured with.

#[path = "../../src/peer/figures.rs"]
mod figures;
#[expect(dead_code, unused_imports, reason = "what connections without tasks need is not used here")]
#[path = "../../src/peer/kit/mod.rs"]
mod kit;
mod with_jsonrpsee;
mod with_tarpc;
mod with_tonic;

use core::net::SocketAddr;
use std::alloc::System;
use std::io;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use stats_alloc::StatsAlloc;
use tokio::net::{TcpListener, TcpStream};

use kit::{Calls, Failure, Load, OnTokio, Runtime, run_client, serve_until_quit};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = kit::ALLOCATIONS;

/// A server that echoes, or a client that loads it; started by flyrpc-compare
#[derive(Parser)]
enum Side {
    /// Says `LISTEN port`; answers each line `stat`; ends on `quit`
    Server {
        #[arg(long)]
        peer: Name,
    },
    /// Says `READY`; measures on a line; ends on the next
    Client {
        #[arg(long)]
        peer: Name,
        #[command(flatten)]
        load: Load,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Tarpc,
    Tonic,
    JsonrpseeWs,
    JsonrpseeHttp,
}

fn main() -> ExitCode {
    let done = match Side::parse() {
        Side::Server { peer: Name::Tarpc } => serve(with_tarpc::serve),
        Side::Server { peer: Name::Tonic } => serve(with_tonic::serve),
        Side::Server { peer: Name::JsonrpseeWs | Name::JsonrpseeHttp } => serve(with_jsonrpsee::serve),
        Side::Client { peer: Name::Tarpc, load } => {
            run_client::<OnTokio, Calls<OnTokio, with_tarpc::Client>>(load)
        }
        Side::Client { peer: Name::Tonic, load } => {
            run_client::<OnTokio, Calls<OnTokio, with_tonic::Client>>(load)
        }
        Side::Client { peer: Name::JsonrpseeWs, load } => {
            run_client::<OnTokio, Calls<OnTokio, with_jsonrpsee::OverWebSocket>>(load)
        }
        Side::Client { peer: Name::JsonrpseeHttp, load } => {
            run_client::<OnTokio, Calls<OnTokio, with_jsonrpsee::OverHttp>>(load)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flyrpc-compare-peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Listens, and leaves the connections to `accepting`
fn serve<F>(accepting: impl FnOnce(TcpListener) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let runtime = OnTokio::start()?;
    let listener = runtime.run(TcpListener::bind("127.0.0.1:0"))?;
    let port = listener.local_addr()?.port();
    let accepting = accepting(listener);
    runtime.run(async { drop(OnTokio::spawn(accepting)) });
    serve_until_quit(port)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
