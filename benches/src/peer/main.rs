//! One process of a measurement over TCP loopback: a server that echoes, or a client that loads it
//!
//! * `flyrpc-bench-peer server --peer=NAME [--addresses=A]`
//! * `flyrpc-bench-peer client --peer=NAME --addr=A --payload=N --conc=C --warm-ms=W --time-ms=T --conns=K [--addresses=A]`
//!
//! `flyrpc-compare` and `flyrpc-idle` start such processes in pairs; what they say to each other is in
//! `kit/session.rs`.

mod figures;
mod json;
mod kit;
mod on_smol;
mod on_threads;
mod on_tokio;
mod raw;

use std::alloc::System;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use stats_alloc::StatsAlloc;

use json::{Http, Lines, WebSocket};
use kit::{Calls, Failure, Load, OnTokio, run_client};
use on_smol::OnSmol;

/// More than are ever opened
const MAX_CONNECTIONS: usize = 1 << 20;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = kit::ALLOCATIONS;

/// A server that echoes, or a client that loads it; started by flyrpc-compare and flyrpc-idle
#[derive(Parser)]
enum Side {
    /// Says `LISTEN port`; answers each line `stat`; ends on `quit`
    Server {
        #[arg(long)]
        peer: Name,
        /// How many, from 127.0.0.1 on
        #[arg(long, default_value_t = 1)]
        addresses: u8,
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
    RawTokio,
    Flyrpc,
    FlyrpcSmol,
    FlyrpcBlocking,
    FlyrpcTokioJsonrpc,
    FlyrpcTokioJsonrpcWs,
    FlyrpcTokioJsonrpcHttp,
    FlyrpcSmolJsonrpc,
    FlyrpcSmolJsonrpcWs,
}

type TokioJson<C> = Calls<OnTokio, on_tokio::JsonRpc<C>>;
type SmolJson<C> = Calls<OnSmol, on_smol::JsonRpc<C>>;

fn main() -> ExitCode {
    let done = match Side::parse() {
        Side::Server { peer, addresses } => match peer {
            Name::RawTokio => raw::serve(addresses),
            Name::Flyrpc => on_tokio::serve(addresses),
            Name::FlyrpcSmol => on_smol::serve(addresses),
            Name::FlyrpcBlocking => on_threads::serve(addresses),
            Name::FlyrpcTokioJsonrpc => on_tokio::serve_json::<Lines>(addresses),
            Name::FlyrpcTokioJsonrpcWs => on_tokio::serve_json::<WebSocket>(addresses),
            Name::FlyrpcTokioJsonrpcHttp => on_tokio::serve_json::<Http>(addresses),
            Name::FlyrpcSmolJsonrpc => on_smol::serve_json::<Lines>(addresses),
            Name::FlyrpcSmolJsonrpcWs => on_smol::serve_json::<WebSocket>(addresses),
        },
        Side::Client { peer, load } => match peer {
            Name::RawTokio => run_client::<OnTokio, raw::Window>(load),
            Name::Flyrpc => run_client::<OnTokio, Calls<OnTokio, on_tokio::Fly>>(load),
            Name::FlyrpcSmol => run_client::<OnSmol, Calls<OnSmol, on_smol::Fly>>(load),
            Name::FlyrpcBlocking => on_threads::run_client(load),
            Name::FlyrpcTokioJsonrpc => run_client::<OnTokio, TokioJson<Lines>>(load),
            Name::FlyrpcTokioJsonrpcWs => run_client::<OnTokio, TokioJson<WebSocket>>(load),
            Name::FlyrpcTokioJsonrpcHttp => run_client::<OnTokio, TokioJson<Http>>(load),
            Name::FlyrpcSmolJsonrpc => run_client::<OnSmol, SmolJson<Lines>>(load),
            Name::FlyrpcSmolJsonrpcWs => run_client::<OnSmol, SmolJson<WebSocket>>(load),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flyrpc-bench-peer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The port of an address that ends with one
fn port_of(address: &str) -> Result<u16, Failure> {
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
    port.ok_or_else(|| format!("{address} has no port").into())
}
