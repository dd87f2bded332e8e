//! `flyrpc call` and `flyrpc send`

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use flyrpc_tokio::{CloseReason, Error};

use crate::address::ADDRESSES;
use crate::input::{Payload, reformat, spinner};
use crate::report::{Failure, bytes, harmless, hex, preview};
use crate::{Target, bench};

#[derive(Args)]
#[command(after_help = format!("{ADDRESSES}\n\n{EXAMPLES}"))]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// What to call: JSON-RPC's method
    code: String,
    #[command(flatten)]
    payload: Payload,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t = Output::Auto)]
    output: Output,
    /// As --output raw
    #[arg(long, conflicts_with = "output")]
    raw: bool,
    /// As --output json
    #[arg(long, conflicts_with_all = ["output", "raw"])]
    pretty: bool,
    /// Send a message instead, which is not answered: as `flyrpc send`
    #[arg(long, conflicts_with_all = ["output", "raw", "pretty", "repeat"])]
    notify: bool,
    #[command(flatten)]
    measure: bench::Measure,
}

const EXAMPLES: &str = "\
Examples:
  flyrpc call 127.0.0.1:7000 echo hello
  flyrpc call jsonrpc+tcp://127.0.0.1:7000 Arith.Multiply '{\"A\":7,\"B\":8}'
  flyrpc call jsonrpc+unix:/run/app.sock status
  flyrpc call jsonrpc+ws://127.0.0.1:8080 upper '[\"text\"]'
  flyrpc call jsonrpc+http://127.0.0.1:8080/rpc eth_blockNumber --pretty
  flyrpc call jsonrpc+connect://127.0.0.1:1234 Arith.Divide '[{\"A\":7,\"B\":2}]'
  flyrpc call jsonrpc+stdio:clangd initialize @initialize.json --framing content-length";

#[derive(Args)]
#[command(after_help = ADDRESSES)]
pub(crate) struct SendOptions {
    #[command(flatten)]
    target: Target,
    /// Where the message goes
    code: String,
    #[command(flatten)]
    payload: Payload,
    /// Send a request instead, and wait until the peer has acknowledged it
    #[arg(long)]
    acked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// As it is; indented if it is JSON and on a terminal, or if --json was given; as hex if it is not text
    Auto,
    /// The bytes as they are
    Raw,
    /// Hex digits
    Hex,
    /// Indented JSON
    Json,
}

impl Options {
    const fn output(&self) -> Output {
        match (self.raw, self.pretty) {
            (true, _) => Output::Raw,
            (_, true) => Output::Json,
            _ => self.output,
        }
    }
}

pub(crate) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    if options.notify {
        return tell(&options.target, &options.code, &options.payload, false).await;
    }
    let payload = options.payload.read(options.target.protocol()?)?;
    let client = options.target.connect().await?;
    if let Some(repeat) = options.measure.repeat() {
        return bench::run(&client, &options.code, payload.into(), repeat, &options.measure).await;
    }
    let wait = spinner(format!("{} of {}: waiting", options.code, bytes(payload.len() as u64)));
    let result = client.call(&options.code, &payload).await;
    wait.finish_and_clear();
    match result {
        Ok(answer) => {
            print(&answer, options.output(), options.payload.is_json())?;
            client.drain(options.target.timeout).await;
            Ok(ExitCode::SUCCESS)
        }
        Err(Error::Remote(error)) => Err(Failure::remote(&error, client.protocol())),
        Err(error) => Err(Failure::from(error).at(&options.target.address)),
    }
}

pub(crate) async fn send(options: &SendOptions) -> Result<ExitCode, Failure> {
    tell(&options.target, &options.code, &options.payload, options.acked).await
}

async fn tell(target: &Target, code: &str, payload: &Payload, acked: bool) -> Result<ExitCode, Failure> {
    let payload = payload.read(target.protocol()?)?;
    let client = target.connect().await?;
    if acked {
        match client.send_acked(code, &payload).await {
            Ok(_) => {}
            Err(Error::Remote(error)) => return Err(Failure::remote(&error, client.protocol())),
            Err(error) => return Err(Failure::from(error).at(&target.address)),
        }
    } else {
        client.send(code, &payload).await?;
    }
    // The message has left when the connection has drained.
    let why = client.drain(target.timeout).await;
    if matches!(why, CloseReason::Drained | CloseReason::PeerClosed) {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(Error::Lost(why).into())
    }
}

fn print(answer: &[u8], output: Output, json: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let terminal = out.is_terminal();
    let indented = || reformat(core::str::from_utf8(answer).unwrap_or_default(), true);
    match output {
        Output::Raw => out.write_all(answer)?,
        Output::Hex => writeln!(out, "{}", hex(answer))?,
        Output::Json => {
            let text =
                indented().map_err(|error| Failure::new(format!("the answer is not JSON: {error}")))?;
            writeln!(out, "{text}")?;
        }
        Output::Auto if json || terminal => match (indented(), core::str::from_utf8(answer)) {
            (Ok(text), _) => writeln!(out, "{text}")?,
            (Err(_), Ok("")) => {}
            (Err(_), Ok(text)) if terminal => {
                text.lines().try_for_each(|line| writeln!(out, "{}", harmless(line)))?;
            }
            (Err(_), Ok(text)) => out.write_all(text.as_bytes())?,
            (Err(_), Err(_)) if terminal => {
                writeln!(out, "{} of binary: {}", bytes(answer.len() as u64), preview(answer, 64))?
            }
            (Err(_), Err(_)) => out.write_all(answer)?,
        },
        Output::Auto => out.write_all(answer)?,
    }
    out.flush()?;
    Ok(())
}
