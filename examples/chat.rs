//! A chat: what one says, all others see
//!
//! ```text
//! cargo run --example chat -- serve 127.0.0.1:7000
//! cargo run --example chat -- join 127.0.0.1:7000 Ada
//! ```
//!
//! | code | way | kind | payload | answer |
//! |---|---|---|---|---|
//! | `join` | to the server | request | a name | nothing, or `BAD_NAME`, `NAME_TAKEN` |
//! | `say` | to the server | request | a line | nothing, or `JOIN_FIRST` |
//! | `said` | to the client | message | a line to show | |

use core::time::Duration;
use std::collections::BTreeSet;
use std::io::BufRead;
use std::sync::{Mutex, PoisonError};

use flyrpc_tokio::{Caller, Client, Context, RemoteError, Router, Server, State};
use tokio::sync::mpsc;

type Failure = Box<dyn core::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address] => serve(address).await,
        ["join", address, name] => join(address, name).await,
        _ => Err("usage: chat serve ADDRESS | chat join ADDRESS NAME".into()),
    }
}

/// What all connections share
struct Room {
    names: Mutex<BTreeSet<String>>,
    /// To the task that has the server's handle, and so can reach everybody: what is sent here, everybody sees
    news: mpsc::UnboundedSender<String>,
}

/// What one connection keeps in its session, once its user has a name
struct Name(String);

impl Room {
    fn enter(&self, name: &str) -> bool {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned())
    }

    fn leave(&self, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn tell(&self, line: String) {
        // It fails only when the server has stopped, and then nobody listens.
        let _ = self.news.send(line);
    }
}

fn enter(room: State<Room>, context: &Context, name: &str) -> Result<(), RemoteError> {
    if name.is_empty() || name.chars().any(|c| c == ':' || c.is_control()) {
        return Err("BAD_NAME".into());
    }
    if context.session().get::<Name>().is_some() || !room.enter(name) {
        return Err("NAME_TAKEN".into());
    }
    context.session().insert(Name(name.to_owned()));
    room.tell(format!("* {name} joined"));
    Ok(())
}

fn say(room: State<Room>, context: &Context, line: &str) -> Result<(), RemoteError> {
    let name = context.session().get::<Name>().ok_or("JOIN_FIRST")?;
    room.tell(format!("{}: {line}", name.0));
    Ok(())
}

async fn serve(address: &str) -> Result<(), Failure> {
    // Whoever takes from it never waits, so it stays short without a bound.
    let (news, mut to_tell) = mpsc::unbounded_channel();
    let room = Room { names: Mutex::default(), news };
    let server = Server::new()
        .router(Router::new().state(room).handle("join", enter).handle("say", say))
        .keepalive(Duration::from_secs(30), Duration::from_secs(10))
        .on_connect(|peer| {
            println!("{} {} came", peer.id(), peer.remote());
            // A hook can't wait. What it sends goes before anything else.
            let _ = peer.try_send("said", "* welcome");
        })
        .on_close(|peer, why| {
            println!("{} {} left: {why}", peer.id(), peer.remote());
            if let (Some(name), Some(room)) = (peer.session().get::<Name>(), peer.info().shared.get::<Room>())
            {
                room.leave(&name.0);
                room.tell(format!("* {} left", name.0));
            }
        })
        .listen(address)
        .await?;
    println!("listening on {}", server.address());

    loop {
        tokio::select! {
            Some(line) = to_tell.recv() => {
                // Who reads too slowly misses it, and stalls nobody.
                server.broadcast("said", line)?;
            }
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                server.shutdown(Duration::from_secs(5)).await;
                return Ok(());
            }
        }
    }
}

async fn join(address: &str, name: &str) -> Result<(), Failure> {
    let own = format!("{name}: ");
    let server = Client::new()
        .handle("said", move |line: &str| {
            if !line.starts_with(&own) {
                println!("{line}");
            }
        })
        .keepalive(Duration::from_secs(30), Duration::from_secs(10))
        .connect(address)
        .await?;
    server.call("join", name).await?;

    let mut lines = lines_of_stdin();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => drop(server.call("say", &line).await?),
                None => break,
            },
            why = server.closed() => return Err(why.into()),
        }
    }
    server.drain(Duration::from_secs(5)).await;
    Ok(())
}

/// A thread of its own reads them: one that waits for the terminal can't be stopped, and must not keep the program alive
fn lines_of_stdin() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        let typed = std::io::stdin().lock().lines().map_while(Result::ok);
        // It fails when the program ends.
        for line in typed {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
