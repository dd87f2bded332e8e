//! Devices behind NAT dial in; an operator has the server call them
//!
//! ```text
//! cargo run --example agents -- serve 127.0.0.1:7000
//! cargo run --example agents -- agent 127.0.0.1:7000 lamp-1 kitchen
//! cargo run --example agents -- agent 127.0.0.1:7000 lamp-2 hall
//! cargo run --example agents -- list 127.0.0.1:7000
//! cargo run --example agents -- run 127.0.0.1:7000 lamp-1 "echo on"
//! cargo run --example agents -- run-all 127.0.0.1:7000 uptime
//! ```
//!
//! | code | who calls whom | payload | answer |
//! |---|---|---|---|
//! | `register` | agent, server | [`Registration`] | nothing; it takes the place of one of the same name |
//! | `command` | server, agent | a command | its output, or an error |
//! | `list` | operator, server | nothing | [`Registration`]s |
//! | `run` | operator, server | [`Order`] | [`Report`]s |
//!
//! Whoever can connect may register and give orders here: put it behind TLS and a login of your own.

use core::hash::{BuildHasher, Hasher};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flyrpc_tokio::{
    Caller, Client, CloseReason, Connected, Context, Error, Json, Peer, RemoteError, Router, Server, State,
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

type Failure = Box<dyn core::error::Error + Send + Sync>;

/// How an agent introduces itself
#[derive(Clone, Serialize, Deserialize)]
struct Registration {
    name: String,
    labels: Vec<String>,
}

/// What an operator wants done
#[derive(Serialize, Deserialize)]
struct Order {
    /// The agent; all agents where there is none
    agent: Option<String>,
    command: String,
    /// For each agent
    timeout_ms: u64,
}

/// What became of an order at one agent
#[derive(Serialize, Deserialize)]
struct Report {
    agent: String,
    outcome: Result<String, String>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address] => serve(address).await,
        ["agent", address, name, ref labels @ ..] => agent(address, name, labels).await,
        ["list", address] => list(address).await,
        ["run", address, name, command] => order(address, Some(name), command, TIMEOUT).await,
        ["run-all", address, command] => order(address, None, command, TIMEOUT).await,
        ["run-all", address, command, ms] => {
            order(address, None, command, Duration::from_millis(ms.parse()?)).await
        }
        _ => Err("usage: agents serve ADDRESS | agent ADDRESS NAME [LABEL].. | list ADDRESS | \
                  run ADDRESS NAME COMMAND | run-all ADDRESS COMMAND [MILLISECONDS]"
            .into()),
    }
}

// The server

/// The agents that are connected, by name
#[derive(Default)]
struct Agents(Mutex<BTreeMap<String, (Registration, Peer)>>);

impl Agents {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Registration, Peer)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent of this name, or all
    fn find(&self, name: Option<&str>) -> Vec<(String, Peer)> {
        let agents = self.lock();
        let wanted = agents.iter().filter(|(known, _)| name.is_none_or(|name| name == *known));
        wanted.map(|(name, (_, peer))| (name.clone(), peer.clone())).collect()
    }
}

async fn register(
    agents: State<Agents>,
    context: Context,
    Json(registration): Json<Registration>,
) -> Result<(), RemoteError> {
    let peer = context.peer();
    {
        let mut agents = agents.lock();
        // One that dialled in anew may be here before the end of its old connection was noticed.
        if let Some((_, old)) = agents.get(&registration.name)
            && old.id() != peer.id()
        {
            old.close();
        }
        println!("{} is here, from {}", registration.name, context.remote());
        agents.insert(registration.name.clone(), (registration, peer.clone()));
    }
    // Tells whether the agent understands that an order was given up.
    peer.hello().await?;
    Ok(())
}

fn unregister(peer: &Peer, why: CloseReason) {
    let Some(agents) = peer.info().shared.get::<Agents>() else { return };
    agents.lock().retain(|name, (_, known)| {
        let stays = known.id() != peer.id();
        if !stays {
            println!("{name} is gone: {why}");
        }
        stays
    });
}

fn known(agents: State<Agents>) -> Json<Vec<Registration>> {
    Json(agents.lock().values().map(|(registration, _)| registration.clone()).collect())
}

/// Calls all agents at a time, and waits for the slowest, but not longer than the order allows
///
/// When the operator goes away, this is dropped, and the calls with it: the agents are told.
async fn run(agents: State<Agents>, Json(order): Json<Order>) -> Result<Json<Vec<Report>>, RemoteError> {
    let wanted = agents.find(order.agent.as_deref());
    if wanted.is_empty() {
        return Err("NO_SUCH_AGENT".into());
    }
    let (command, timeout) = (Arc::<str>::from(order.command), Duration::from_millis(order.timeout_ms));
    let mut calls = JoinSet::new();
    for (agent, peer) in wanted {
        let command = Arc::clone(&command);
        calls.spawn(async move {
            let answer = peer.call_as::<String>("command", command.as_bytes()).within(timeout).await;
            Report { agent, outcome: answer.map_err(|error| explain(&error)) }
        });
    }
    let mut reports = calls.join_all().await;
    reports.sort_by(|a, b| a.agent.cmp(&b.agent));
    Ok(Json(reports))
}

fn explain(error: &Error) -> String {
    // Agents put text there.
    if let Error::Remote(RemoteError { code, details, .. }) = error
        && !details.is_empty()
    {
        return format!("{code}: {}", String::from_utf8_lossy(details));
    }
    error.to_string()
}

async fn serve(address: &str) -> Result<(), Failure> {
    let router = Router::new()
        .state(Agents::default())
        .handle("register", register)
        .handle("list", known)
        .handle("run", run);
    let server =
        Server::new().router(router).keepalive(ALIVE, ALIVE).on_close(unregister).listen(address).await?;
    println!("listening on {}", server.address());
    tokio::signal::ctrl_c().await?;
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// How long a line may be silent, and how long the answer to a ping may take then; it also keeps NAT tables from forgetting
const ALIVE: Duration = Duration::from_secs(15);

// The agent

/// What an agent can do; a real one would switch lamps
///
/// When the server gives an order up, this is dropped where it waits.
async fn command(started: State<Instant>, command: String) -> Result<String, RemoteError> {
    println!("told: {command}");
    let task = Task(command);
    match task.0.split_once(' ').unwrap_or((&task.0, "")) {
        ("echo", text) => Ok(text.to_owned()),
        ("uptime", "") => Ok(format!("{} s", started.elapsed().as_secs())),
        ("sleep", seconds) => {
            let seconds =
                seconds.parse().map_err(|_| RemoteError::new("BAD_COMMAND").details("sleep SECONDS"))?;
            sleep(Duration::from_secs(seconds)).await;
            Ok("slept".to_owned())
        }
        _ => Err(RemoteError::new("BAD_COMMAND").details("echo TEXT, uptime or sleep SECONDS")),
    }
}

/// What has to be tidied up, whether a command ends or is given up
struct Task(String);

impl Drop for Task {
    fn drop(&mut self) {
        println!("over: {}", self.0);
    }
}

/// Dials in for ever
async fn agent(address: &str, name: &str, labels: &[&str]) -> Result<(), Failure> {
    let labels = labels.iter().map(|&label| label.to_owned()).collect();
    let registration = Registration { name: name.to_owned(), labels };
    let started = Instant::now();
    let mut pause = SHORTEST;
    loop {
        match dial(address, &registration, started).await {
            Ok(server) => {
                println!("registered");
                pause = SHORTEST;
                let why = server.closed().await;
                println!("lost the server: {why}");
            }
            Err(why) => println!("no server: {why}"),
        }
        // Not all agents at the same moment, after the server was away.
        let spread = RandomSpread::default().build_hasher().finish() % 1000;
        sleep(pause + pause.mul_f64(spread as f64 / 2000.0)).await;
        pause = (pause * 2).min(LONGEST);
    }
}

type RandomSpread = std::hash::RandomState;

/// Pauses between attempts to dial in; each is twice the one before, and up to half longer by chance
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(60);

async fn dial(address: &str, registration: &Registration, started: Instant) -> Result<Connected, Failure> {
    let router = Router::new().state(started).handle("command", command);
    let server = Client::new().router(router).keepalive(ALIVE, ALIVE).connect(address).await?;
    server.send_acked("register", Json(registration)).await?;
    Ok(server)
}

// The operator

async fn list(address: &str) -> Result<(), Failure> {
    let server = flyrpc_tokio::connect(address).await?;
    let Json(agents) = server.call_as::<Json<Vec<Registration>>>("list", ()).await?;
    for agent in agents {
        println!("{} [{}]", agent.name, agent.labels.join(", "));
    }
    Ok(())
}

/// How long an agent may take
const TIMEOUT: Duration = Duration::from_secs(5);

async fn order(address: &str, agent: Option<&str>, command: &str, timeout: Duration) -> Result<(), Failure> {
    let order = Order {
        agent: agent.map(str::to_owned),
        command: command.to_owned(),
        timeout_ms: timeout.as_millis() as u64,
    };
    let server = flyrpc_tokio::connect(address).await?;
    server.hello().await?;
    // The server has its answer when the slowest agent's time is up: this call must wait a little longer.
    let call =
        server.call_as::<Json<Vec<Report>>>("run", Json(order)).within(timeout + Duration::from_secs(1));
    let Json(reports) = call.await?;
    for Report { agent, outcome } in reports {
        match outcome {
            Ok(output) => println!("{agent}: {output}"),
            Err(why) => println!("{agent} failed: {why}"),
        }
    }
    Ok(())
}
