//! A board, a wire, and hosts

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io::Write as _;

use flyrpc_tokio::{Bytes, Client, Connected, RemoteError};
use tokio::sync::mpsc;

use crate::local::Local;
use crate::proxy::{Wire, accept, listener};
use crate::qemu::{self, Qemu};

/// What the wire carries
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// FlyRPC's own
    Plain,
    /// COBS and CRC
    Cobs,
}

/// Where the application runs
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a thread of this program
    Here,
    /// On an emulated Cortex-M3
    Qemu,
}

#[derive(Debug)]
enum Board {
    Local(Local),
    Qemu(Qemu),
}

/// A board at the end of a wire
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) framing: Framing,
    pub(crate) wire: Wire,
    board: Board,
}

/// For whatever must come, on a machine with much else to do
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl Rig {
    /// Starts a board; none, with a loud note, where the emulator or the firmware is missing, and a failure in CI
    pub(crate) async fn start(place: Place, framing: Framing, seed: u64) -> Option<Self> {
        let (board, stream) = match place {
            Place::Here => {
                let (listener, address) = listener().await;
                let board = Local::start(address, framing);
                (Board::Local(board), accept(&listener, "the board's thread").await)
            }
            Place::Qemu => {
                let firmware = match qemu::find() {
                    Ok(firmware) => firmware,
                    Err(why) => {
                        skip(&why);
                        return None;
                    }
                };
                let (board, stream) = Qemu::start(&firmware, framing).await;
                (Board::Qemu(board), stream)
            }
        };
        Some(Self { framing, wire: Wire::new(stream, seed).await, board })
    }

    /// A host with handlers for what the board calls
    pub(crate) async fn host(&self) -> Host {
        let (sender, pressed) = mpsc::unbounded_channel();
        let client = Client::new()
            .handle("host.time", || "12:34:56")
            .handle("echo", |payload: Bytes| payload)
            .handle("fail", || RemoteError::new("NO_LUCK").details("today"))
            .handle("stuck", core::future::pending::<()>)
            .handle("long", || "x".repeat(1000))
            .handle("button", move |payload: Bytes| {
                // The test may have seen enough.
                let _ = sender.send(String::from_utf8_lossy(&payload).into_owned());
            });
        self.connect(client, pressed).await
    }

    /// The same with settings of its own, and no handlers
    pub(crate) async fn bare_host(&self, client: Client) -> Host {
        self.connect(client, mpsc::unbounded_channel().1).await
    }

    async fn connect(&self, client: Client, pressed: mpsc::UnboundedReceiver<String>) -> Host {
        let address = match self.framing {
            Framing::Plain => self.wire.hosts.to_string(),
            Framing::Cobs => format!("serial+tcp://{}", self.wire.hosts),
        };
        Host { client: client.connect(address).await.unwrap(), pressed }
    }

    /// The board forgets everything, at once
    pub(crate) async fn reset(&mut self) {
        match &mut self.board {
            Board::Local(board) => board.reset(),
            Board::Qemu(board) => board.reset().await,
        }
    }

    /// Nothing has gone wrong on the board
    pub(crate) fn check(&self) {
        if let Board::Qemu(board) = &self.board {
            board.check();
        }
    }
}

/// A connected host
pub(crate) struct Host {
    client: Connected,
    /// What the board told of its button
    pub(crate) pressed: mpsc::UnboundedReceiver<String>,
}

impl core::ops::Deref for Host {
    type Target = Connected;

    fn deref(&self) -> &Connected {
        &self.client
    }
}

fn skip(why: &str) {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    assert!(std::env::var_os("CI").is_none(), "{why}");
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let so_far = SKIPPED.fetch_add(1, Ordering::SeqCst) + 1;
    // Written past the harness, which hides what passing tests print.
    let line = format!("SKIPPED: {name}: {why} ({so_far} skipped so far)\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
}
