//! Where a server listens

use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;
use std::path::PathBuf;

/// Where a server listens, or a client connects to
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
}

/// A text that is no address
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress {
    text: String,
    why: &'static str,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, why } = self;
        write!(f, "'{text}' is no address: {why}; use host:port, tcp://host:port or unix:/path")
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
        let bad = |why| BadAddress { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(bad("the path is missing"))
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let rest = text.strip_prefix("tcp://").unwrap_or(text);
        if rest.contains("://") {
            return Err(bad("the scheme is unknown"));
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
        }
    }
}
