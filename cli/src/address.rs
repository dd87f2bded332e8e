//! Addresses, and what may be said about what is spoken there

use clap::{Args, ValueEnum};
use flyrpc_tokio::{Address, Carrier, Endpoint, Framing, JsonRpc, Protocol, ZipMode};

use crate::Zip;
use crate::report::Failure;

/// For `--help`
pub(crate) const ADDRESSES: &str = "\
Addresses:
  127.0.0.1:7000                      FlyRPC; also tcp://host:port, unix:/path
  serial:/dev/ttyACM0?baud=115200     over a serial port, in frames with a check
  serial+tcp://127.0.0.1:5555         over a socket that stands for a serial line; or serial+unix:/path
  ...?framing=plain                   either, without frames: as the board has it
  jsonrpc+tcp://127.0.0.1:7000        JSON-RPC 2.0; see --framing
  jsonrpc+unix:/path/to/socket        over a Unix socket
  jsonrpc+ws://127.0.0.1:8080/path    over WebSocket
  jsonrpc+http://127.0.0.1:8080/path  over HTTP POST
  jsonrpc+connect://127.0.0.1:1234    behind the CONNECT of Go's net/rpc
  jsonrpc+stdio:COMMAND ARGUMENT...   with a program that is started
  jsonrpc+stdio:                      for `serve`: its own standard input and output";

/// Is a serial line, or what stands for one, at this address?
pub(crate) fn is_serial(text: &str) -> bool {
    text.split(':').next().is_some_and(|scheme| scheme.split('+').any(|part| part == "serial"))
}

/// What may be said about JSON-RPC
#[derive(Args)]
pub(crate) struct JsonOptions {
    /// How messages follow each other where nothing else keeps them apart
    #[arg(long, value_enum, help_heading = "JSON-RPC")]
    framing: Option<FramingOption>,
    /// Take messages of version 1.0 too, as Go's net/rpc/jsonrpc sends them
    #[arg(long, help_heading = "JSON-RPC")]
    lenient: bool,
    /// Take requests back with `$/cancelRequest`, both ways, as language servers do
    #[arg(long, help_heading = "JSON-RPC")]
    cancel: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FramingOption {
    /// One behind the other, each sent with a line end
    Lines,
    /// Each behind a header with its length, as in the Language Server Protocol
    ContentLength,
}

impl From<FramingOption> for Framing {
    fn from(framing: FramingOption) -> Self {
        match framing {
            FramingOption::Lines => Self::Lines,
            FramingOption::ContentLength => Self::ContentLength,
        }
    }
}

/// What the command line says about a connection
pub(crate) struct Spoken {
    /// Set where options say something about it
    pub(crate) settings: Option<JsonRpc>,
    pub(crate) zip: ZipMode,
}

impl JsonOptions {
    /// What is to be spoken at these addresses; the error names the option that makes no sense there
    pub(crate) fn spoken(
        &self,
        endpoints: &[Endpoint],
        zip: Option<Zip>,
        default_zip: Zip,
    ) -> Result<Spoken, Failure> {
        let is_json = |endpoint: &Endpoint| endpoint.protocol == Some(Protocol::JsonRpc);
        let is_framed = |endpoint: &Endpoint| is_json(endpoint) && endpoint.carrier == Carrier::Stream;
        let json = endpoints.iter().any(is_json);
        let list = || endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let given =
            [("--framing", self.framing.is_some()), ("--lenient", self.lenient), ("--cancel", self.cancel)];
        let given = given.into_iter().find_map(|(name, is_given)| is_given.then_some(name));
        if let (Some(name), false) = (given, json) {
            return Err(Failure::usage(format!(
                "{name} is for JSON-RPC, and {} is not: use an address that begins with jsonrpc+",
                list()
            )));
        }
        if self.framing.is_some() && !endpoints.iter().any(is_framed) {
            return Err(Failure::usage(format!(
                "--framing is for jsonrpc+tcp://, jsonrpc+unix: and jsonrpc+stdio: alone; {} has its own way to keep \
                 messages apart",
                list()
            )));
        }
        if zip.is_some() && endpoints.iter().all(is_json) {
            return Err(Failure::usage(format!("--zip is for FlyRPC, and {} is JSON-RPC", list())));
        }
        let settings = given.map(|_| {
            JsonRpc::new()
                .framing(self.framing.unwrap_or(FramingOption::Lines).into())
                .lenient(self.lenient)
                .cancel_method(self.cancel.then_some(flyrpc_core::jsonrpc::codes::CANCEL_REQUEST))
        });
        Ok(Spoken { settings, zip: zip.unwrap_or(default_zip).into() })
    }
}

/// An address on the command line
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, Failure> {
    text.parse().map_err(|error: flyrpc_tokio::BadAddress| Failure::usage(error.to_string()))
}

/// Where a client connects to: not to its own standard input and output
pub(crate) fn target(text: &str) -> Result<Endpoint, Failure> {
    let endpoint = endpoint(text)?;
    if endpoint.address == Address::Stdio {
        return Err(Failure::usage(format!(
            "{text} names no command to start: write it behind, as in '{text}my-server --flag'"
        )));
    }
    Ok(endpoint)
}

/// With the protocol that is meant where the text says none, so that settings for JSON-RPC do not change it
pub(crate) fn explicit(mut endpoint: Endpoint) -> Endpoint {
    endpoint.protocol.get_or_insert(Protocol::FlyRpc);
    endpoint
}
