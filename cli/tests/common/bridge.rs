//! `flyrpc bridge` in a process of its own
#![allow(dead_code, reason = "each test needs some of it")]

use std::process::Command;

use super::process::Server;

/// A bridge, ended with the test
pub(crate) struct Bridge {
    pub(crate) server: Server,
    /// Where it listens, in the order of `--listen`
    pub(crate) addresses: Vec<String>,
}

impl Bridge {
    /// With these addresses and options
    pub(crate) fn start(listen: &[&str], to: &str, options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
        command.arg("bridge").args(["--to", to]).args(options);
        for address in listen {
            command.args(["--listen", address]);
        }
        let server = Server::start(&mut command);
        let listening = server.line.strip_prefix("listening on ").expect("where it listens");
        let addresses = listening.split("; ").next().expect("addresses");
        let addresses = addresses.split(", ").map(str::to_owned).collect();
        Self { server, addresses }
    }

    /// The same, and its target is there
    pub(crate) fn connected(listen: &[&str], to: &str, options: &[&str]) -> Self {
        let bridge = Self::start(listen, to, options);
        bridge.server.log_until("connected to");
        bridge
    }

    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }
}
