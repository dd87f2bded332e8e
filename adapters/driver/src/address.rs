//! Where a server listens, or a client connects to, and what is spoken there

use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;
use std::borrow::Cow;
use std::path::PathBuf;

use crate::Protocol;

mod line;

/// Where bytes go to and come from
///
/// ```
/// use flyrpc_driver::Address;
///
/// let address: Address = "tcp://localhost:7000".parse()?;
/// assert_eq!(address, Address::Tcp("localhost:7000".to_owned()));
/// assert!("unix:/run/fly.sock".parse::<Address>().is_ok());
/// assert!("localhost".parse::<Address>().unwrap_err().to_string().contains("port"));
/// # Ok::<(), flyrpc_driver::BadAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// `host:port`, resolved when it is used
    Tcp(String),
    /// Path of a Unix socket
    Unix(PathBuf),
    /// This program's own standard input and output: one connection
    Stdio,
    /// Standard input and output of a program that is started: its name and arguments, with blanks between them
    Command(String),
    /// A serial port: 8 data bits, no parity, one stop bit, no flow control
    Serial {
        /// What the system calls it: `/dev/ttyACM0`, `COM3`
        port: String,
        /// Symbols a second, which are bits on a line of two wires
        baud: u32,
    },
}

/// What carries messages: the address's bytes as they are, or a protocol on top of them
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Carrier {
    /// The bytes as they are
    #[default]
    Stream,
    /// WebSocket; needs feature `ws`
    WebSocket,
    /// HTTP POST; needs feature `http`
    Http,
    /// The bytes, behind the `CONNECT` handshake of Go's net/rpc; needs feature `http`
    HttpConnect,
    /// Frames for serial lines, found again after noise: FlyRPC alone; needs feature `serial`
    Frames,
}

/// All that an address in text says: `[jsonrpc+][ws://]host:port[/path]`
///
/// Protocol and carrier may stand in either order: `ws+jsonrpc://` is `jsonrpc+ws://`.
///
/// | text | what |
/// |---|---|
/// | `host:port`, `tcp://host:port`, `unix:/path` | a socket; what is spoken is the server's or client's option, FlyRPC by default |
/// | `fly+…` | FlyRPC, over `tcp://`, `unix:` or `stdio:` |
/// | `jsonrpc+…` | JSON-RPC 2.0, over any of these and |
/// | `ws://host:port/path` | WebSocket, with feature `ws`; a server takes any path |
/// | `http://host:port/path` | HTTP POST, with feature `http`; a server takes any path, and `CONNECT` and WebSocket as well |
/// | `connect://host:port/path` | net/rpc's HTTP `CONNECT`, with feature `http`; `/_goRPC_` by default |
/// | `stdio:command and arguments` | with feature `stdio`: a program that a client starts; nothing behind `stdio:` is the program itself, for servers |
/// | `serial:/dev/ttyACM0?baud=115200&framing=cobs` | with feature `serial`: FlyRPC in frames over a serial port, or with `framing=plain` the bytes as they are, in either protocol; what stands here are the defaults |
/// | `serial+tcp://host:port?framing=cobs` | with feature `serial`: the same over a socket that stands for a serial line, as QEMU and ser2net have them; also `serial+unix:/path` |
///
/// ```
/// use flyrpc_driver::{Carrier, Endpoint, Protocol};
///
/// let endpoint: Endpoint = "jsonrpc+ws://localhost:8080/rpc".parse()?;
/// assert_eq!((endpoint.protocol, endpoint.carrier), (Some(Protocol::JsonRpc), Carrier::WebSocket));
/// assert_eq!(endpoint.path, "/rpc");
/// # Ok::<(), flyrpc_driver::BadAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// What is spoken, where the text says it
    pub protocol: Option<Protocol>,
    /// What carries it
    pub carrier: Carrier,
    /// Where to
    pub address: Address,
    /// Path of a WebSocket or HTTP server; empty for others
    pub path: String,
}

/// A text that is no address
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress {
    text: String,
    why: Cow<'static, str>,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, why } = self;
        write!(f, "'{text}' is no address: {why}; use host:port, tcp://host:port or unix:/path, ")?;
        f.write_str("serial:/dev/ttyACM0, with jsonrpc+ in front also ws://, http://, connect:// or stdio:")
    }
}

impl core::error::Error for BadAddress {}

impl From<BadAddress> for std::io::Error {
    fn from(error: BadAddress) -> Self {
        Self::new(std::io::ErrorKind::InvalidInput, error)
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = |why: &'static str| BadAddress { text: text.to_owned(), why: why.into() };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(bad("the path is missing"))
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        if let Some(command) = text.strip_prefix("stdio:") {
            let command = command.trim();
            return Ok(if command.is_empty() { Self::Stdio } else { Self::Command(command.to_owned()) });
        }
        if let Some(rest) = text.strip_prefix("serial:") {
            return match line::parse(rest) {
                Ok((address, None)) => Ok(address),
                Ok((_, Some(_))) => Err(bad("framing is no part of it")),
                Err(why) => Err(BadAddress { text: text.to_owned(), why }),
            };
        }
        let rest = text.strip_prefix("tcp://").unwrap_or(text);
        if rest.contains("://") {
            return Err(bad("the scheme is unknown"));
        }
        if rest.starts_with('/') {
            return Err(bad("a path has unix: in front, a serial port serial:"));
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| bad("the port is missing"))?;
        if port.parse::<u16>().is_err() {
            return Err(bad("the port is not a number from 0 to 65535"));
        }
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        Ok(Self::Tcp(rest.to_owned()))
    }
}

impl FromStr for Endpoint {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = |why: Cow<'static, str>| BadAddress { text: text.to_owned(), why };
        let (protocol, rest) = protocol(text).map_err(|why| bad(why.into()))?;
        let rest = &*rest;
        let (is_socket, line) = match rest.strip_prefix("serial+") {
            Some(socket) => (true, Some(socket)),
            None => (false, rest.strip_prefix("serial:")),
        };
        if let Some(line) = line {
            let parsed = if is_socket { line::parse_socket(line) } else { line::parse(line) };
            let (address, framing) = parsed.map_err(bad)?;
            let carrier = match framing {
                Some(line::Framing::Plain) => Carrier::Stream,
                Some(line::Framing::Cobs) | None => Carrier::Frames,
            };
            return Ok(Self { protocol, carrier, address, path: String::new() });
        }
        let carriers = [
            ("ws://", Carrier::WebSocket, "/"),
            ("http://", Carrier::Http, "/"),
            ("connect://", Carrier::HttpConnect, "/_goRPC_"),
        ];
        for (scheme, carrier, default_path) in carriers {
            let Some(rest) = rest.strip_prefix(scheme) else { continue };
            let (host, path) = match rest.find(['/', '?']) {
                Some(at) => rest.split_at(at),
                None => (rest, default_path),
            };
            if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
                return Err(bad("the path holds a blank or a control character".into()));
            }
            // As everywhere on the web.
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
            let host = if has_port { host.to_owned() } else { format!("{host}:80") };
            let slash = if path.starts_with('/') { "" } else { "/" };
            let address = host.parse().map_err(|error: BadAddress| bad(error.why))?;
            return Ok(Self { protocol, carrier, address, path: format!("{slash}{path}") });
        }
        if rest.starts_with("wss://") || rest.starts_with("https://") {
            return Err(bad("TLS is not spoken yet".into()));
        }
        let address = rest.parse().map_err(|error: BadAddress| bad(error.why))?;
        Ok(Self { protocol, carrier: Carrier::Stream, address, path: String::new() })
    }
}

impl Endpoint {
    /// The error that names it
    pub(crate) fn bad(&self, why: &'static str) -> BadAddress {
        BadAddress { text: self.to_string(), why: why.into() }
    }
}

/// Takes the protocol out of an address: from its front, `jsonrpc+ws://`, or from behind its carrier, `ws+jsonrpc://`
fn protocol(text: &str) -> Result<(Option<Protocol>, Cow<'_, str>), &'static str> {
    let (mut found, mut rest) = (None, Cow::Borrowed(text));
    for (name, protocol) in [("jsonrpc", Protocol::JsonRpc), ("fly", Protocol::FlyRpc)] {
        let front = rest.strip_prefix(name).and_then(|rest| rest.strip_prefix('+'));
        let without = match (front, rest.split_once(':')) {
            (Some(front), _) => Some(front.to_owned()),
            (None, Some((scheme, behind))) => {
                let carrier = scheme.strip_suffix(name).and_then(|scheme| scheme.strip_suffix('+'));
                carrier.map(|carrier| format!("{carrier}:{behind}"))
            }
            (None, None) => None,
        };
        if let Some(without) = without {
            if found.is_some() {
                return Err("it names two protocols");
            }
            (found, rest) = (Some(protocol), without.into());
        }
    }
    Ok((found, rest))
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address.to_string())
    }
}

/// As [`FromStr`] reads it
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Stdio => f.write_str("stdio:"),
            Self::Command(command) => write!(f, "stdio:{command}"),
            Self::Serial { port, baud } => write!(f, "serial:{port}?baud={baud}"),
        }
    }
}

/// As [`FromStr`] reads it
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Some(Protocol::JsonRpc) => f.write_str("jsonrpc+")?,
            Some(Protocol::FlyRpc) => f.write_str("fly+")?,
            None => {}
        }
        match (self.carrier, &self.address) {
            (Carrier::Stream, Address::Tcp(_)) if self.protocol.is_some() => f.write_str("tcp://")?,
            (Carrier::Stream, _) | (Carrier::Frames, Address::Serial { .. }) => {}
            (Carrier::Frames, Address::Tcp(_)) => f.write_str("serial+tcp://")?,
            (Carrier::Frames, _) => f.write_str("serial+")?,
            (Carrier::WebSocket, _) => f.write_str("ws://")?,
            (Carrier::Http, _) => f.write_str("http://")?,
            (Carrier::HttpConnect, _) => f.write_str("connect://")?,
        }
        write!(f, "{}{}", self.address, self.path)?;
        if let (Carrier::Stream, Address::Serial { .. }) = (self.carrier, &self.address) {
            f.write_str("&framing=plain")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in [
            "127.0.0.1:7000",
            "[::1]:7000",
            "unix:/run/fly.sock",
            "stdio:",
            "fly+tcp://localhost:7000",
            "jsonrpc+tcp://localhost:7000",
            "jsonrpc+unix:/run/json.sock",
            "jsonrpc+ws://localhost:8080/",
            "jsonrpc+ws://[::1]:8080/a/b?c=d",
            "jsonrpc+http://localhost:80/rpc",
            "jsonrpc+connect://localhost:1234/_goRPC_",
            "jsonrpc+stdio:clangd --log=error",
            "serial:/dev/ttyACM0?baud=9600",
            "fly+serial:COM3?baud=115200",
            "jsonrpc+serial:/dev/ttyUSB0?baud=115200&framing=plain",
            "serial+tcp://localhost:5555",
            "serial+unix:/run/line.sock",
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn what_can_be_left_out_is_filled_in() {
        let written = |text: &str| text.parse::<Endpoint>().unwrap().to_string();
        assert_eq!(written("tcp://a:1"), "a:1");
        assert_eq!(written("jsonrpc+a:1"), "jsonrpc+tcp://a:1");
        assert_eq!(written("jsonrpc+ws://a"), "jsonrpc+ws://a:80/");
        assert_eq!(written("jsonrpc+ws://[::1]"), "jsonrpc+ws://[::1]:80/");
        assert_eq!(written("jsonrpc+http://a?x"), "jsonrpc+http://a:80/?x");
        assert_eq!(written("jsonrpc+connect://a:1"), "jsonrpc+connect://a:1/_goRPC_");
        assert_eq!(written("serial:///dev/ttyACM0"), "serial:/dev/ttyACM0?baud=115200");
        assert_eq!(written("serial:COM3?framing=cobs&baud=9600"), "serial:COM3?baud=9600");
        assert_eq!(written("serial:COM3?framing=plain"), "serial:COM3?baud=115200&framing=plain");
        assert_eq!(written("serial+tcp://a:1?framing=cobs"), "serial+tcp://a:1");
        assert_eq!(written("serial+tcp://a:1?framing=plain"), "a:1");
        assert_eq!(written("serial+unix:///s"), "serial+unix:/s");
    }

    #[test]
    fn protocol_and_carrier_stand_in_either_order() {
        for (one, other) in [
            ("ws+jsonrpc://a:1/b+c", "jsonrpc+ws://a:1/b+c"),
            ("http+jsonrpc://a", "jsonrpc+http://a"),
            ("connect+jsonrpc://a:1", "jsonrpc+connect://a:1"),
            ("tcp+jsonrpc://a:1", "jsonrpc+tcp://a:1"),
            ("tcp+fly://a:1", "fly+tcp://a:1"),
            ("unix+jsonrpc:/s", "jsonrpc+unix:/s"),
            ("stdio+jsonrpc:a b", "jsonrpc+stdio:a b"),
            ("serial+fly:COM3", "fly+serial:COM3"),
            ("serial+tcp+fly://a:1", "fly+serial+tcp://a:1"),
            ("serial+tcp+jsonrpc://a:1?framing=plain", "jsonrpc+tcp://a:1"),
        ] {
            assert_eq!(one.parse::<Endpoint>(), other.parse::<Endpoint>(), "{one}");
            assert!(one.parse::<Endpoint>().is_ok(), "{one}");
        }
    }

    #[test]
    fn bad_ones_say_what_is_wrong() {
        for (text, why) in [
            ("jsonrpc+wss://a:1/", "TLS"),
            ("jsonrpc+ftp://a:1/", "scheme"),
            ("jsonrpc+ws://a:x/", "number"),
            ("jsonrpc+http://:80/", "host"),
            ("jsonrpc+http://a:80/ b", "blank"),
            ("jsonrpc+unix:", "path"),
            ("jsonrpc+fly+tcp://a:1", "two protocols"),
            ("jsonrpc+tcp+fly://a:1", "two protocols"),
            ("web+jsonrpc://a:1", "scheme"),
            ("serial:", "port's name"),
            ("serial:///dev/a?parity=odd", "'parity'"),
            ("serial:/dev/a?baud=fast", "'fast'"),
            ("serial:/dev/a?baud=0", "'0'"),
            ("serial:/dev/a?framing=slip", "'slip'"),
            ("serial:/dev/a?baud", "'baud'"),
            ("serial:/dev/a?baud=1&baud=2", "twice"),
            ("serial+tcp://a:1?baud=9600", "'baud'"),
            ("serial+tcp://a", "port"),
            ("serial+ws://a:1", "scheme"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(text), "{error}");
        }
    }
}
