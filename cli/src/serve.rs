//! `flyrpc serve`

use core::time::Duration;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use flyrpc_driver::{Address, Direction, Endpoint, Info, Limits, Overload, RawPacket};
use flyrpc_tokio::{Peer, Server, ServerHandle, Tokio};

use crate::address::{self, JsonOptions, Spoken};
use crate::log::{Log, Settings};
use crate::report::Failure;
use crate::side::On;
use crate::{Interrupts, Zip, handlers, seconds, trace};

#[derive(Args)]
#[command(after_help = format!("{}\n\n{}\n\n{EXAMPLES}", handlers::HELP, address::ADDRESSES))]
pub(crate) struct Options {
    /// Where to listen; one server may listen at several addresses, in either protocol
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:7000")]
    addresses: Vec<String>,
    /// Answer TIMEOUT when a handler takes longer
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    handler_timeout: Option<Duration>,
    #[command(flatten)]
    server: ServerOptions,
}

/// What a server may be told, whatever it answers
#[derive(Args)]
pub(crate) struct ServerOptions {
    /// When to compress what is sent; by default once the peer has shown that it can
    #[arg(long, value_enum)]
    pub(crate) zip: Option<Zip>,
    /// Longest payload to take, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    pub(crate) max_payload: u32,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_connections: usize,
    /// Requests that run at a time, for each connection
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_requests: u32,
    /// Ping a peer from which nothing comes for so long, and take it for lost when as long again nothing comes
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) keepalive: Option<Duration>,
    /// A web page's origin, such as http://localhost:3000, that may open a WebSocket here although this is not its own
    /// host; * is any, null one from a file; may be given again
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
    /// On Ctrl-C, give requests under way this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) drain: Duration,
    /// Say nothing about single requests; with stdio:, nothing at all
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Show the beginning of payloads as well
    #[arg(long)]
    pub(crate) show_payloads: bool,
    /// Show each packet or message, both ways: kind, sequence or id, code or method, and length
    #[arg(long)]
    pub(crate) trace: bool,
    #[command(flatten)]
    pub(crate) json: JsonOptions,
}

const EXAMPLES: &str = "\
Examples:
  flyrpc serve 127.0.0.1:7000
  flyrpc serve jsonrpc+tcp://127.0.0.1:7000 jsonrpc+ws://127.0.0.1:8080
  flyrpc serve jsonrpc+stdio: --framing content-length --cancel";

pub(crate) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut interrupts = Interrupts::watch()?;
    let mut endpoints =
        options.addresses.iter().map(|text| address::endpoint(text)).collect::<Result<Vec<_>, _>>()?;
    let on_stdio = check_stdio(&endpoints)?;
    let spoken = options.server.json.spoken(&endpoints, options.server.zip, Zip::Mirror)?;
    if spoken.settings.is_some() {
        endpoints = endpoints.into_iter().map(address::explicit).collect();
    }
    let log = Arc::new(options.server.log(options.handler_timeout, on_stdio));
    let router = handlers::ticks(handlers::router::<On<Tokio>>(&log));
    let codes = handlers::codes::<On<Tokio>>(&router);
    let mut server = server(&options.server, &spoken, &log, |_| {}, |_| {}).router(router);
    if let Some(time) = options.handler_timeout {
        server = server.handler_timeout(time);
    }
    let (server, addresses) = listen(server, &endpoints).await?;

    let is_silent = on_stdio && options.server.quiet;
    if !is_silent {
        log.say(&format!("listening on {}; handlers: {codes}; Ctrl-C ends", addresses.join(", ")));
    }
    until_done(server, &mut interrupts, &log, options.server.drain).await;
    if !is_silent {
        log.say(&log.totals());
    }
    Ok(ExitCode::SUCCESS)
}

impl ServerOptions {
    pub(crate) fn log(&self, handler_timeout: Option<Duration>, on_stderr: bool) -> Log {
        Log::new(Settings {
            quiet: self.quiet,
            show_payloads: self.show_payloads,
            handler_timeout,
            max_payload: self.max_payload,
            on_stderr,
        })
    }
}

/// Starts the server, and gives where it listens
pub(crate) async fn listen(
    server: Server,
    endpoints: &[Endpoint],
) -> Result<(ServerHandle, Vec<String>), Failure> {
    let (mut server, mut addresses) = (server.start(), Vec::new());
    for endpoint in endpoints {
        let listening = server.also_listen(endpoint).await;
        addresses.push(listening.map_err(|error| Failure::listen(&endpoint.to_string(), &error))?);
    }
    Ok((server, addresses))
}

/// Serves until Ctrl-C, and then drains
pub(crate) async fn until_done(
    server: ServerHandle,
    interrupts: &mut Interrupts,
    log: &Log,
    drain: Duration,
) {
    tokio::select! {
        // Standard input has ended, and with it the only connection.
        () = server.wait() => {}
        () = interrupts.next() => {
            log.line("draining");
            tokio::select! {
                () = server.shutdown(drain) => {}
                // A second Ctrl-C is for those who do not want to wait.
                () = interrupts.next() => {}
            }
        }
    }
}

/// Is it the program's own standard input and output? They are one connection, and a server of their own
pub(crate) fn check_stdio(endpoints: &[Endpoint]) -> Result<bool, Failure> {
    let on_stdio = endpoints.iter().any(|endpoint| endpoint.address == Address::Stdio);
    if let Some(command) = endpoints.iter().find(|endpoint| matches!(endpoint.address, Address::Command(_))) {
        return Err(Failure::usage(format!(
            "{command} is for clients; servers take stdio: without a command"
        )));
    }
    if on_stdio && endpoints.len() > 1 {
        return Err(Failure::usage("stdio: goes with no other address"));
    }
    Ok(on_stdio)
}

/// A server that answers nothing yet; `on_connect` and `on_close` are told of its connections, besides the log
pub(crate) fn server(
    options: &ServerOptions,
    spoken: &Spoken,
    log: &Arc<Log>,
    on_connect: impl Fn(&Peer) + Send + Sync + 'static,
    on_close: impl Fn(&Peer) + Send + Sync + 'static,
) -> Server {
    let limits = Limits::new().max_payload(options.max_payload).max_unanswered(options.max_requests);
    let (opened, closed) = (Arc::clone(log), Arc::clone(log));
    let mut server = Server::new()
        .limits(limits)
        .zip(spoken.zip)
        .origins(&options.origin)
        .max_connections(options.max_connections, Overload::Refuse)
        .on_connect(move |peer| {
            opened.line(&format!("{} connected", peer.remote()));
            on_connect(peer);
        })
        .on_close(move |peer, why| {
            on_close(peer);
            let stats = peer.stats();
            let refused = u64::from(stats.rejected) + u64::from(stats.invalid);
            let refused = if refused > 0 { format!("; {refused} refused") } else { String::new() };
            closed.line(&format!("{} closed: {why}{refused}", peer.remote()));
        });
    if let Some(settings) = &spoken.settings {
        server = server.json_rpc(settings.clone());
    }
    if let Some(time) = options.keepalive {
        server = server.keepalive(time, time);
    }
    if options.trace {
        server = server.on_packet(packets(log)).on_message(messages(log));
    }
    server
}

/// Shows FlyRPC's packets on their way
pub(crate) fn packets(
    log: &Arc<Log>,
) -> impl Fn(&Info, Direction, &RawPacket<'_>) + Send + Sync + 'static + use<> {
    let log = Arc::clone(log);
    move |info, direction, packet| log.print(&format!("{} {}", info.remote, trace::line(direction, packet)))
}

/// Shows JSON-RPC's messages on their way
pub(crate) fn messages(log: &Arc<Log>) -> impl Fn(&Info, Direction, &[u8]) + Send + Sync + 'static + use<> {
    let log = Arc::clone(log);
    move |info, direction, message| {
        for line in trace::lines(info, direction, message) {
            log.print(&format!("{} {line}", info.remote));
        }
    }
}
