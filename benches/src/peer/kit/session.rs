//! The lines spoken with whoever measures
//!
//! A server says `LISTEN port` and then answers each `stat` with a [`Stat`](crate::figures::Stat) until `quit`. A client
//! connects, warms up, says `READY`, measures when it gets a line, tells an [`Outcome`], and ends with the next line.

use core::net::SocketAddr;
use std::io::{self, BufRead, Write};

use crate::figures::Outcome;

use super::{Bench, FIRST_CONNECTIONS, Failure, Load, Runtime, Tally, now, opened, usage};

/// Listens on so many addresses from 127.0.0.1 on, on one port, which is given back
///
/// Two addresses have but 28,000 connections between them on Linux, and long before that it looks for a port for long.
pub(crate) fn listen_on<L>(
    addresses: u8,
    mut listen: impl FnMut(SocketAddr) -> Result<(L, u16), Failure>,
) -> Result<(Vec<L>, u16), Failure> {
    let (mut listeners, mut port) = (Vec::new(), 0);
    for last in 1..=addresses {
        let (listener, got) = listen(SocketAddr::from(([127, 0, 0, last], port)))?;
        listeners.push(listener);
        port = got;
    }
    Ok((listeners, port))
}

/// Says where the server listens; answers questions about this process until it is told to end
pub(crate) fn serve_until_quit(port: u16) -> Result<(), Failure> {
    say(&format!("LISTEN {port}"))?;
    while hear()?.as_deref() == Some("stat") {
        say(&serde_json::to_string(&usage::stat())?)?;
    }
    Ok(())
}

/// A client that has warmed up: measures when told to, and keeps what `measure` gives until it may end
pub(crate) fn session<T>(measure: impl FnOnce() -> Result<(T, Tally), Failure>) -> Result<(), Failure> {
    say("READY")?;
    if hear()?.is_none() {
        return Ok(());
    }
    let before = usage::stat();
    let (kept, Tally { histogram, time }) = measure()?;
    let after = usage::stat();
    let outcome = Outcome {
        calls: histogram.count(),
        secs: time.as_secs_f64(),
        p50_us: histogram.quantile_us(0.50),
        p99_us: histogram.quantile_us(0.99),
        max_us: histogram.longest_us(),
        before,
        after,
    };
    say(&serde_json::to_string(&outcome)?)?;
    hear()?;
    drop(kept);
    Ok(())
}

/// A whole client process
pub(crate) fn run_client<R: Runtime, B: Bench>(load: Load) -> Result<(), Failure> {
    let runtime = R::start()?;
    if load.conns > 0 {
        let first = runtime.run(open_many::<B>(FIRST_CONNECTIONS, load))?;
        return session(|| {
            let (held, tally) = runtime.run(open_many::<B>(load.conns, load))?;
            Ok(((first, held), tally))
        });
    }
    let mut bench = runtime.run(async move {
        let mut bench = B::open(load).await?;
        bench.phase(load, load.warm()).await?;
        Ok::<_, Failure>(bench)
    })?;
    session(|| {
        runtime.run(async move {
            let tally = bench.phase(load, load.time()).await?;
            Ok((bench, tally))
        })
    })
}

/// Opened one after another, with a call on each
async fn open_many<B: Bench>(connections: usize, load: Load) -> Result<(Vec<B>, Tally), Failure> {
    let (mut held, began) = (Vec::with_capacity(connections), now());
    for index in 0..connections {
        held.push(B::open(load.for_idle(index)).await?);
    }
    Ok((held, opened(connections, began)))
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The next line, without its end; nothing when there is nobody left who could send one
fn hear() -> io::Result<Option<String>> {
    let mut line = String::new();
    let length = io::stdin().lock().read_line(&mut line)?;
    Ok((length > 0).then(|| line.trim().to_owned()))
}
