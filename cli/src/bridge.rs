//! `flyrpc bridge`
//!
//! A server whose only handler passes everything on to one peer, the target, and a client of the target whose only
//! handler passes everything on to the server's clients. [`payload`] has what becomes of payloads, [`forward`] of
//! requests, messages and errors, [`target`] of the connection to the target.

mod clients;
mod forward;
mod payload;
mod target;

use core::time::Duration;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use flyrpc_driver::{Context, Limits, Packet};
use flyrpc_tokio::{Client, Peer};

use crate::address::{self, Spoken};
use crate::report::Failure;
use crate::serve::{self, ServerOptions};
use crate::{Interrupts, Zip, seconds};
use forward::Bridge;
use payload::Payloads;
use target::Target;

#[derive(Args)]
#[command(after_help = format!("{HELP}\n\n{}\n\n{EXAMPLES}", address::ADDRESSES))]
pub(crate) struct Options {
    /// Where clients connect to; may be given again
    #[arg(long, value_name = "ADDR", required = true)]
    listen: Vec<String>,
    /// The target: where what they send goes to
    #[arg(long, value_name = "ADDR")]
    to: String,
    /// Give a call up after this many seconds, whichever way it goes
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// Calls under way at the target at a time, where it has little memory; others wait for their turn, within their time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_in_flight: Option<u32>,
    /// What FlyRPC's payloads are taken for where the other side speaks JSON-RPC
    #[arg(long, value_enum, default_value_t)]
    payload: Payloads,
    #[command(flatten)]
    server: ServerOptions,
}

const HELP: &str = "\
What goes where:
  a client's requests and notifications   to the target, under the same name
  the target's notifications              to all clients
  the target's calls                      to the client that came last, but for
    host.time                             the Unix time in milliseconds
    host.version                          this program's version
    host.*                                any other of these is not found

Payloads between JSON-RPC and FlyRPC, so that a target needs no JSON:
  [\"text\"] <-> text          [1] <-> 1          {\"on\":true} <-> {\"on\":true}
  no parameters <-> empty     a result of null <-> empty
  bytes that are no text <-> {\"hex\":\"00ff\"}
An answer that is JSON is taken for it: an echo of \"1\" is 1; see --payload.

Errors of the bridge's own, beside what the target answers:
  NOT_CONNECTED     the target is not there; nothing was sent
  CONNECTION_LOST   it went away before it answered: it may have done it
  TIMEOUT           it did not answer in time; if it never does, over a
                    serial line, either end may frame and the other not

The target may come and go: it is connected to again, after 0.1 s at first and
every 5 s at last, and calls fail at once meanwhile. With --cancel, and in
FlyRPC after a `$hello`, a request that a client takes back is taken back at
the target too.";

const EXAMPLES: &str = "\
Examples:
  flyrpc bridge --listen jsonrpc+ws://127.0.0.1:8080 --to serial:/dev/ttyACM0
  flyrpc bridge --listen jsonrpc+ws://127.0.0.1:8080 --to serial+tcp://127.0.0.1:5555 \\
      --origin http://localhost:3000 --max-in-flight 4 --keepalive 5
  flyrpc bridge --listen 127.0.0.1:7000 --to 'jsonrpc+stdio:clangd' --framing content-length";

pub(crate) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut interrupts = Interrupts::watch()?;
    let listen = options.listen.iter().map(|text| address::endpoint(text)).collect::<Result<Vec<_>, _>>()?;
    let on_stdio = serve::check_stdio(&listen)?;
    let to = address::target(&options.to)?;
    // One set of settings for both sides, each as far as it is about what is spoken there.
    let mut endpoints = [listen, vec![to]].concat();
    let spoken = options.server.json.spoken(&endpoints, options.server.zip, Zip::Mirror)?;
    if spoken.settings.is_some() {
        endpoints = endpoints.into_iter().map(address::explicit).collect();
    }
    let Some((to, listen)) = endpoints.split_last() else { return Err(Failure::usage("no address")) };

    let log = Arc::new(options.server.log(None, on_stdio));
    let target = Target::new(to, &options.to, options.max_in_flight);
    let bridge = Arc::new(Bridge::new(&log, options.payload, options.timeout, target));
    let server = serving(options, &spoken, &bridge);
    let (server, addresses) = serve::listen(server, listen).await?;
    let is_silent = on_stdio && options.server.quiet;
    if !is_silent {
        log.say(&format!("listening on {}; to {}; Ctrl-C ends", addresses.join(", "), options.to));
    }
    let served = async {
        serve::until_done(server, &mut interrupts, &log, options.server.drain).await;
        // What clients have sent last may not have left yet.
        bridge.target.leave(options.server.drain).await;
    };
    let result = tokio::select! {
        () = served => Ok(ExitCode::SUCCESS),
        failure = bridge.target.keep(|| calling(options, &spoken, &bridge), &log, is_silent) => Err(failure),
    };
    if !is_silent {
        log.say(&log.totals());
    }
    result
}

/// The side that clients connect to
fn serving(options: &Options, spoken: &Spoken, bridge: &Arc<Bridge>) -> flyrpc_tokio::Server {
    let (came, went, asked) = (Arc::clone(bridge), Arc::clone(bridge), Arc::clone(bridge));
    let on_connect = move |peer: &Peer| came.clients.add(peer);
    let on_close = move |peer: &Peer| went.clients.remove(peer);
    serve::server(&options.server, spoken, bridge.log(), on_connect, on_close).fallback(
        move |context: Context<Peer>, packet: Packet| {
            let bridge = Arc::clone(&asked);
            async move { bridge.client_sent(&context, &packet).await }
        },
    )
}

/// The side that connects to the target
fn calling(options: &Options, spoken: &Spoken, bridge: &Arc<Bridge>) -> Client {
    let (server, asked) = (&options.server, Arc::clone(bridge));
    let limits = Limits::new().max_payload(server.max_payload).call_timeout(options.timeout);
    // After a hello the target is told of calls that are given up.
    let mut client = Client::new().limits(limits).zip(spoken.zip).hello().fallback(
        move |context: Context<Peer>, packet: Packet| {
            let bridge = Arc::clone(&asked);
            async move { bridge.target_sent(&context, &packet).await }
        },
    );
    if let Some(settings) = &spoken.settings {
        client = client.json_rpc(settings.clone());
    }
    if let Some(time) = server.keepalive {
        client = client.keepalive(time, time);
    }
    if server.trace {
        client = client.on_packet(serve::packets(bridge.log())).on_message(serve::messages(bridge.log()));
    }
    client
}
