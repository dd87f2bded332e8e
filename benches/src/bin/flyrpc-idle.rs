//! What an idle connection costs in memory
//!
//! A server and a client, each a process of its own, hold many connections; one call was made on each. What the
//! resident memory of each process has grown by, divided by their number, is printed. Kernel memory is not in it.

#[path = "../peer/children.rs"]
mod children;
#[path = "../peer/figures.rs"]
mod figures;

use core::error::Error;
use core::time::Duration;
use std::process::ExitCode;
use std::thread;

use clap::Parser;

use children::{Pair, Peer, Task};
use figures::Stat;

/// Memory of idle connections, as a Markdown table
#[derive(Parser)]
#[command(name = "flyrpc-idle", version)]
struct Options {
    /// Connections to open; fewer where descriptors do not suffice
    #[arg(long, default_value_t = 20_000)]
    connections: usize,
    /// Whose connections: raw-tokio, flyrpc, flyrpc-smol, flyrpc-blocking; may be given several times
    #[arg(long = "only", value_name = "NAME", default_values = ["raw-tokio", "flyrpc"])]
    names: Vec<String>,
    /// How long they lie idle before the server is looked at once more, in milliseconds
    #[arg(long, default_value_t = 1000)]
    settle_ms: u64,
}

/// What a process needs descriptors for beside the counted connections: the 50 before them, pipes, runtimes
const OTHER_DESCRIPTORS: usize = 128;
/// Between two addresses: with more of them, Linux takes ever longer to find a free port
const EACH_ADDRESS: usize = 5000;
/// A process that says nothing for so long has hung; opening is what takes long
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let options = Options::parse();
    let connections = options.connections.min(descriptors(options.connections));
    if connections < options.connections {
        eprintln!("{connections} connections: the system allows no more descriptors");
    }
    println!(
        "| peer | connections | opened in s | client B each | server B each | server B each after {} ms |",
        options.settle_ms
    );
    println!("|---|---:|---:|---:|---:|---:|");
    let mut code = ExitCode::SUCCESS;
    for name in &options.names {
        if let Err(error) = measure(name, connections, Duration::from_millis(options.settle_ms)) {
            eprintln!("flyrpc-idle: {name}: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn measure(name: &str, connections: usize, settle: Duration) -> Result<(), Box<dyn Error>> {
    let peer = Peer::beside("flyrpc-bench-peer", name)?;
    let addresses = u8::try_from(connections.div_ceil(EACH_ADDRESS))?;
    let task = Task { payload: 16, conc: 1, warm_ms: 0, time_ms: 0, conns: connections, addresses };
    let mut pair = Pair::start(&peer, &task, PATIENCE)?;
    let measured = pair.measure()?;
    thread::sleep(settle);
    let settled = pair.server.stat()?;

    let (client, before) = (measured.client, measured.server_before);
    let each = |before: Stat, after: Stat| {
        (after.rss_kb as f64 - before.rss_kb as f64) * 1024.0 / connections.max(1) as f64
    };
    println!(
        "| {name} | {} | {:.1} | {:.0} | {:.0} | {:.0} |",
        client.calls,
        client.secs,
        each(client.before, client.after),
        each(before, measured.server_after),
        each(before, settled),
    );
    Ok(())
}

/// So many connections a process may have: the limit is raised as far as `wanted` needs and the system allows
#[cfg(unix)]
fn descriptors(wanted: usize) -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let needed = (wanted + OTHER_DESCRIPTORS) as u64;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < needed
        // Above the hard limit only the superuser gets.
        && setrlimit(Resource::RLIMIT_NOFILE, needed, needed.max(hard)).is_err()
    {
        // What is then there is read below.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard);
    }
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    usize::try_from(soft).unwrap_or(usize::MAX).saturating_sub(OTHER_DESCRIPTORS)
}

#[cfg(not(unix))]
fn descriptors(wanted: usize) -> usize {
    wanted
}
