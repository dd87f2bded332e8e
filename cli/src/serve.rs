//! `flyrpc serve`

use core::time::Duration;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use flyrpc_driver::{Address, Endpoint, Limits, Overload};
use flyrpc_tokio::{Server, Tokio};

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
    /// When to compress what is sent; by default once the peer has shown that it can
    #[arg(long, value_enum)]
    zip: Option<Zip>,
    /// Longest payload to take, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    max_payload: u32,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_connections: usize,
    /// Requests that run at a time, for each connection
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_requests: u32,
    /// Ping a peer from which nothing comes for so long, and take it for lost when as long again nothing comes
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    keepalive: Option<Duration>,
    /// Answer TIMEOUT when a handler takes longer
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    handler_timeout: Option<Duration>,
    /// On Ctrl-C, give requests under way this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    drain: Duration,
    /// Say nothing about single requests; with stdio:, nothing at all
    #[arg(long, short)]
    quiet: bool,
    /// Show the beginning of payloads as well
    #[arg(long)]
    show_payloads: bool,
    /// Show each packet or message, both ways: kind, sequence or id, code or method, and length
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    json: JsonOptions,
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
    let spoken = options.json.spoken(&endpoints, options.zip, Zip::Mirror)?;
    if spoken.settings.is_some() {
        endpoints = endpoints.into_iter().map(address::explicit).collect();
    }
    let log = Arc::new(Log::new(Settings {
        quiet: options.quiet,
        show_payloads: options.show_payloads,
        handler_timeout: options.handler_timeout,
        max_payload: options.max_payload,
        on_stderr: on_stdio,
    }));
    let router = handlers::ticks(handlers::router::<On<Tokio>>(&log));
    let codes = handlers::codes::<On<Tokio>>(&router);
    let mut server = server(options, spoken, &log).router(router).start();
    let mut addresses = Vec::new();
    for endpoint in &endpoints {
        let listening = server.also_listen(endpoint).await;
        addresses.push(listening.map_err(|error| Failure::listen(&endpoint.to_string(), &error))?);
    }

    let is_silent = on_stdio && options.quiet;
    if !is_silent {
        log.say(&format!("listening on {}; handlers: {codes}; Ctrl-C ends", addresses.join(", ")));
    }
    tokio::select! {
        // Standard input has ended, and with it the only connection.
        () = server.wait() => {}
        () = interrupts.next() => {
            log.line("draining");
            tokio::select! {
                () = server.shutdown(options.drain) => {}
                // A second Ctrl-C is for those who do not want to wait.
                () = interrupts.next() => {}
            }
        }
    }
    if !is_silent {
        log.say(&log.totals());
    }
    Ok(ExitCode::SUCCESS)
}

/// Is it the program's own standard input and output? They are one connection, and a server of their own
fn check_stdio(endpoints: &[Endpoint]) -> Result<bool, Failure> {
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

fn server(options: &Options, spoken: Spoken, log: &Arc<Log>) -> Server {
    let limits = Limits::new().max_payload(options.max_payload).max_unanswered(options.max_requests);
    let (opened, closed, traced) = (Arc::clone(log), Arc::clone(log), Arc::clone(log));
    let mut server = Server::new()
        .limits(limits)
        .zip(spoken.zip)
        .max_connections(options.max_connections, Overload::Refuse)
        .on_connect(move |peer| opened.line(&format!("{} connected", peer.remote())))
        .on_close(move |peer, why| {
            let stats = peer.stats();
            let refused = u64::from(stats.rejected) + u64::from(stats.invalid);
            let refused = if refused > 0 { format!("; {refused} refused") } else { String::new() };
            closed.line(&format!("{} closed: {why}{refused}", peer.remote()));
        });
    if let Some(settings) = spoken.settings {
        server = server.json_rpc(settings);
    }
    if let Some(time) = options.keepalive {
        server = server.keepalive(time, time);
    }
    if let Some(time) = options.handler_timeout {
        server = server.handler_timeout(time);
    }
    if options.trace {
        let messages = Arc::clone(log);
        server = server
            .on_packet(move |info, direction, packet| {
                traced.print(&format!("{} {}", info.remote, trace::line(direction, packet)));
            })
            .on_message(move |info, direction, message| {
                for line in trace::lines(info, direction, message) {
                    messages.print(&format!("{} {line}", info.remote));
                }
            });
    }
    server
}
