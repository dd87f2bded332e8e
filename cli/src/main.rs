//! The `flyrpc` command: call, serve, ping and decode FlyRPC and JSON-RPC

mod address;
mod arith;
mod bench;
mod bridge;
mod call;
mod decode;
mod demo;
mod handlers;
mod input;
mod json;
mod log;
mod ping;
mod report;
mod serve;
mod side;
mod trace;

use core::time::Duration;
use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use flyrpc_tokio::{Client, Connected, Context, Limits, Protocol, ZipMode};

use address::JsonOptions;
use report::Failure;

/// Call, serve, ping and decode FlyRPC and JSON-RPC
///
/// FlyRPC is a small binary RPC protocol: both ends of one connection may call each other. JSON-RPC 2.0 is spoken at addresses
/// that begin with jsonrpc+. Try `flyrpc demo` first, then `flyrpc serve 127.0.0.1:7000` in one terminal and
/// `flyrpc call 127.0.0.1:7000 echo hello` in another.
#[derive(Parser)]
#[command(name = "flyrpc", version, arg_required_else_help = true, after_help = format!("{}\n\n{EXIT_CODES}", address::ADDRESSES))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done   1 the peer answered with an error, or input was bad   2 wrong usage
            3 no connection   4 no answer in time   5 the connection was lost   6 not sent";

#[derive(Subcommand)]
enum Command {
    /// Run servers and clients in one process, on tokio, smol and threads, in FlyRPC and JSON-RPC, and show what they say
    /// to each other
    Demo,
    /// Answer requests, and show them as they come
    Serve(serve::Options),
    /// Listen, and pass on what comes to one peer, whatever either speaks: from a web page to a microcontroller, for example
    Bridge(bridge::Options),
    /// Call CODE, which JSON-RPC calls a method, and print the answer's payload, or measure many calls
    Call(call::Options),
    /// Send a message to CODE: not answered, delivered at most once
    Send(call::SendOptions),
    /// Measure round trips, as ping(8) does
    Ping(ping::Options),
    /// Show captured packets, or JSON-RPC messages, as a table
    Decode(decode::Options),
}

/// How to reach a peer
#[derive(Args)]
struct Target {
    /// Where to connect; --help lists the kinds
    #[arg(value_name = "ADDR")]
    address: String,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// When to compress what is sent; never by default
    #[arg(long, value_enum)]
    zip: Option<Zip>,
    /// Longest payload to take, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    max_payload: u32,
    /// Ping a peer from which nothing comes for so long, and take it for lost when as long again nothing comes
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    keepalive: Option<Duration>,
    /// Show each packet or message on standard error: direction, kind, sequence or id, code or method, and length
    #[arg(long)]
    trace: bool,
    /// What a peer is answered that calls `name` back, as the handler `greet` does
    #[arg(long, default_value = "flyrpc")]
    name: String,
    #[command(flatten)]
    json: JsonOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum Zip {
    /// Never
    Off,
    /// Where it gets smaller
    On,
    /// Once the peer has shown that it can
    Mirror,
}

impl From<Zip> for ZipMode {
    fn from(zip: Zip) -> Self {
        match zip {
            Zip::Off => Self::Off,
            Zip::On => Self::On,
            Zip::Mirror => Self::Mirror,
        }
    }
}

impl Target {
    /// What is spoken there
    fn protocol(&self) -> Result<Protocol, Failure> {
        Ok(address::target(&self.address)?.protocol.unwrap_or_default())
    }

    async fn connect(&self) -> Result<Connected, Failure> {
        let mut endpoint = address::target(&self.address)?;
        let spoken = self.json.spoken(core::slice::from_ref(&endpoint), self.zip, Zip::Off)?;
        let limits =
            Limits::new().max_payload(self.max_payload).max_unanswered(64).call_timeout(self.timeout);
        let name = self.name.clone();
        let mut client = Client::new()
            .limits(limits)
            .zip(spoken.zip)
            .handle("name", move |context: &Context| handlers::text(context, &name));
        if let Some(settings) = spoken.settings {
            client = client.json_rpc(settings);
            endpoint = address::explicit(endpoint);
        }
        if let Some(time) = self.keepalive {
            client = client.keepalive(time, time);
        }
        if self.trace {
            // A connection does not depend on somebody's reading its trace.
            client = client
                .on_packet(|_, direction, packet| {
                    let _ = writeln!(std::io::stderr(), "{}", trace::line(direction, packet));
                })
                .on_message(|info, direction, message| {
                    for line in trace::lines(info, direction, message) {
                        let _ = writeln!(std::io::stderr(), "{line}");
                    }
                });
        }
        let connected = client.connect_within(&endpoint, self.timeout).await;
        connected.map_err(|error| Failure::connect(&self.address, &error))
    }
}

/// Seconds, with a fraction if need be
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time >= Duration::from_millis(1) && time <= MAX_TIME => Ok(time),
        _ => Err("must be from 0.001 to 86400 seconds".to_owned()),
    }
}

const MAX_TIME: Duration = Duration::from_secs(86_400);

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo => block_on(demo::run()),
        Command::Serve(options) => block_on(serve::run(&options)),
        Command::Bridge(options) => block_on(bridge::run(&options)),
        Command::Call(options) => block_on(call::run(&options)),
        Command::Send(options) => block_on(call::send(&options)),
        Command::Ping(options) => block_on(ping::run(&options)),
        Command::Decode(options) => decode::run(&options),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// How long a command's connections may take to let go: of a program that one of them has started, for example
const LETTING_GO: Duration = Duration::from_millis(200);

/// Runs a command on tokio, and does not wait for long for what it leaves behind, such as a name that is being looked up
fn block_on(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("can't start: {error}")))?;
    let result = runtime.block_on(command);
    runtime.shutdown_timeout(LETTING_GO);
    result
}

/// Ctrl-C, watched from when this is made
struct Interrupts(#[cfg(unix)] tokio::signal::unix::Signal, #[cfg(windows)] tokio::signal::windows::CtrlC);

impl Interrupts {
    fn watch() -> Result<Self, Failure> {
        #[cfg(unix)]
        let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
        #[cfg(windows)]
        let signal = tokio::signal::windows::ctrl_c();
        signal.map(Self).map_err(|error| Failure::new(format!("can't watch for Ctrl-C: {error}")))
    }

    /// The next one
    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            core::future::pending::<()>().await;
        }
    }
}
