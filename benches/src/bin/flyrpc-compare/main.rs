//! Measures flyrpc beside raw sockets and other RPC libraries, in pairs of processes over TCP loopback
//!
//! Every repetition measures every peer in every cell, so that each figure stands beside one of raw sockets that was
//! taken within seconds of it. `benches/compare.sh` builds all peers and runs this.

#[path = "../../peer/children.rs"]
mod children;
#[path = "../../peer/figures.rs"]
mod figures;
mod table;

use core::error::Error;
use core::str::FromStr;
use core::time::Duration;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use children::{Measured, Pair, Peer, Task};
use table::{RAW, Row};

/// Measures flyrpc beside raw sockets and other RPC libraries
#[derive(Parser)]
#[command(name = "flyrpc-compare", version)]
struct Options {
    /// How long each measurement takes, in milliseconds; warming up takes a third more [default: 250; smoke: 50]
    #[arg(long)]
    time_ms: Option<u64>,
    /// How often all is measured [default: 5; smoke: 1]
    #[arg(long)]
    reps: Option<usize>,
    /// Only this payload in bytes with so many calls outstanding, such as 16:64; may be given several times
    #[arg(long, value_name = "PAYLOAD:CALLS")]
    cell: Vec<Cell>,
    /// Only this peer, beside raw-tokio; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// One more peer: an executable that speaks the same lines; may be given several times
    #[arg(long = "extern", value_name = "NAME=PATH", value_parser = external)]
    external: Vec<Peer>,
    /// Short and rough: does everything run?
    #[arg(long)]
    smoke: bool,
}

/// A payload, and how many calls are outstanding
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell {
    payload: usize,
    calls: usize,
}

const OWN: [&str; 9] = [
    RAW,
    "flyrpc",
    "flyrpc-smol",
    "flyrpc-blocking",
    "flyrpc-tokio-jsonrpc",
    "flyrpc-tokio-jsonrpc-ws",
    "flyrpc-tokio-jsonrpc-http",
    "flyrpc-smol-jsonrpc",
    "flyrpc-smol-jsonrpc-ws",
];
const CELLS: [Cell; 6] = [
    Cell { payload: 16, calls: 1 },
    Cell { payload: 16, calls: 64 },
    Cell { payload: 16, calls: 1024 },
    Cell { payload: 4 << 10, calls: 64 },
    Cell { payload: 64 << 10, calls: 64 },
    Cell { payload: 1 << 20, calls: 1 },
];
const SMOKE_CELLS: [Cell; 3] = [CELLS[0], CELLS[1], CELLS[5]];
/// A process that says nothing for so long has hung
const PATIENCE: Duration = Duration::from_secs(15);
/// Of the clock in `/proc/stat`, in microseconds
const TICK: u64 = 10_000;

fn main() -> ExitCode {
    match compare(&Options::parse()) {
        Ok(rows) => {
            print!("{}", table::render(&rows));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("flyrpc-compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<Vec<Row>, Box<dyn Error>> {
    let own = OWN.iter().map(|name| Peer::beside("flyrpc-bench-peer", name));
    let mut peers: Vec<Peer> = own.collect::<Result<_, _>>()?;
    peers.extend(options.external.iter().cloned());
    if let Some(unknown) = options.only.iter().find(|only| peers.iter().all(|peer| peer.name != **only)) {
        return Err(format!("there is no peer {unknown}").into());
    }
    peers.retain(|peer| options.only.is_empty() || peer.name == RAW || options.only.contains(&peer.name));

    let (time_ms, reps, cells) = if options.smoke { (50, 1, &SMOKE_CELLS[..]) } else { (250, 5, &CELLS[..]) };
    let (time_ms, reps) = (options.time_ms.unwrap_or(time_ms), options.reps.unwrap_or(reps));
    let cells = if options.cell.is_empty() { cells } else { &options.cell };

    let mut rows: Vec<Row> =
        cells.iter().flat_map(|cell| peers.iter().map(|peer| Row::new(*cell, peer.clone()))).collect();
    for repetition in 1..=reps {
        // What failed once would fail again, after the same wait.
        for row in rows.iter_mut().filter(|row| row.failed.is_none()) {
            let (cell, name) = (row.cell, row.peer.name.clone());
            match measure(row, time_ms) {
                Ok(per_s) => eprintln!("{repetition}/{reps}  {cell:<16} {name:<25} {per_s:>10.0} calls/s"),
                Err(error) => {
                    eprintln!("{repetition}/{reps}  {cell:<16} {name:<25} failed: {error}");
                    row.failed = Some(error.to_string());
                }
            }
        }
    }
    Ok(rows)
}

/// Calls per second
fn measure(row: &mut Row, time_ms: u64) -> Result<f64, Box<dyn Error>> {
    let (payload, conc) = (row.cell.payload, row.cell.calls);
    let task = Task { payload, conc, warm_ms: time_ms / 3, time_ms, conns: 0, addresses: 1 };
    let mut pair = Pair::start(&row.peer, &task, PATIENCE)?;
    let (began, busy) = (now(), machine_us());
    let measured = pair.measure()?;
    let (busy, took) = (machine_us().saturating_sub(busy), now().duration_since(began));
    row.samples.push(table::Sample::new(&measured, busy.saturating_sub(own_us(&measured)), took));
    Ok(row.samples.last().map_or(0.0, |sample| sample.per_s))
}

/// What both processes used, in microseconds
fn own_us(measured: &Measured) -> u64 {
    let Measured { client, server_before, server_after } = measured;
    let client = client.after.cpu_us.saturating_sub(client.before.cpu_us);
    client + server_after.cpu_us.saturating_sub(server_before.cpu_us)
}

/// What everybody on this machine, and its host, has used since it began, in microseconds; 0 where there is no telling
fn machine_us() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = |column: usize| -> u64 {
        let line = stat.lines().next().unwrap_or_default();
        line.split_whitespace().nth(column).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
    };
    // All but columns 4 and 5, which are idle times.
    [1, 2, 3, 6, 7, 8].into_iter().map(ticks).sum::<u64>() * TICK
}

fn external(argument: &str) -> Result<Peer, &'static str> {
    let (name, path) = argument.split_once('=').ok_or("NAME=PATH is wanted")?;
    Ok(Peer { name: name.to_owned(), exe: PathBuf::from(path) })
}

#[expect(clippy::disallowed_methods, reason = "measuring time is what this is for")]
fn now() -> Instant {
    Instant::now()
}

impl FromStr for Cell {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_once(':').and_then(|(payload, calls)| {
            Some(Self { payload: payload.parse().ok()?, calls: calls.parse().ok()? })
        });
        numbers.filter(|cell| cell.calls > 0).ok_or("PAYLOAD:CALLS is wanted, two numbers")
    }
}
