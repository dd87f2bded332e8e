//! The wire between host and board, which can be cut, held, split and disturbed

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use flyrpc_tests::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinHandle;

/// What a connection to a listener of ours may take, on a machine with much else to do
const CONNECT: Duration = Duration::from_secs(30);

/// The wire; it ends when this is dropped
#[derive(Debug)]
pub(crate) struct Wire {
    /// Where hosts connect
    pub(crate) hosts: SocketAddr,
    /// From the board to the host
    pub(crate) up: Arc<Way>,
    /// From the host to the board
    pub(crate) down: Arc<Way>,
    to_board: Arc<Far>,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// The end that a direction leads to
type Far = AsyncMutex<Option<OwnedWriteHalf>>;

/// One direction
#[derive(Debug)]
pub(crate) struct Way {
    seed: u64,
    /// Pieces of random length
    split: AtomicBool,
    /// Flipped bits in a million bytes
    noise: AtomicU32,
    flipped: AtomicU32,
    held: watch::Sender<bool>,
    /// Bytes have come that are held back
    waiting: AtomicBool,
}

impl Way {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            seed,
            split: AtomicBool::new(false),
            noise: AtomicU32::new(0),
            flipped: AtomicU32::new(0),
            held: watch::channel(false).0,
            waiting: AtomicBool::new(false),
        })
    }

    /// Cuts what comes into pieces of 1 to 16 bytes
    pub(crate) fn split(&self) {
        self.split.store(true, Ordering::SeqCst);
    }

    /// Flips this many bits in a million bytes
    pub(crate) fn noise(&self, flips: u32) {
        self.noise.store(flips, Ordering::SeqCst);
    }

    /// Bits flipped so far
    pub(crate) fn flipped(&self) -> u32 {
        self.flipped.load(Ordering::SeqCst)
    }

    /// Holds bytes back, or lets them go
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Are there bytes that are held back?
    pub(crate) fn is_holding(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Carries bytes on until one end closes
    async fn carry(self: Arc<Self>, mut from: OwnedReadHalf, to: Arc<Far>) {
        let (mut rng, mut held) = (Rng::new(self.seed), self.held.subscribe());
        let mut buffer = [0; 2048];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            let mut rest = &mut buffer[..n];
            for byte in &mut *rest {
                if rng.below(1_000_000) < u64::from(self.noise.load(Ordering::SeqCst)) {
                    *byte ^= 1 << rng.below(8);
                    self.flipped.fetch_add(1, Ordering::SeqCst);
                }
            }
            while !rest.is_empty() {
                let is_held = *held.borrow();
                self.waiting.store(is_held, Ordering::SeqCst);
                if held.wait_for(|held| !held).await.is_err() {
                    return;
                }
                let is_split = self.split.load(Ordering::SeqCst);
                let len = if is_split { rest.len().min(1 + rng.below(16) as usize) } else { rest.len() };
                let (piece, behind) = rest.split_at_mut(len);
                // What nobody takes is lost, as on a wire.
                if let Some(to) = &mut *to.lock().await {
                    let _ = to.write_all(piece).await;
                }
                rest = behind;
                if is_split {
                    // The other side may read the piece before the next one comes.
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// A listener on the loopback, and its address
pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The next connection to `listener`
pub(crate) async fn accept(listener: &TcpListener, who: &str) -> TcpStream {
    let accepted = tokio::time::timeout(CONNECT, listener.accept()).await;
    let Ok(accepted) = accepted else { panic!("{who} did not connect within {CONNECT:?}") };
    let (stream, _) = accepted.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

impl Wire {
    /// A wire to the board at the other end of `board`
    pub(crate) async fn new(board: TcpStream, seed: u64) -> Self {
        let (hosts, address) = listener().await;
        let (from_board, to_board) = board.into_split();
        let (up, down) = (Way::new(seed), Way::new(seed ^ 0x5555));
        let (to_board, to_host) = (Arc::new(Far::new(Some(to_board))), Arc::new(Far::new(None)));
        let tasks = Arc::new(Mutex::new(Vec::new()));
        let upwards = tokio::spawn(Arc::clone(&up).carry(from_board, Arc::clone(&to_host)));
        let (way, board, pumps) = (Arc::clone(&down), Arc::clone(&to_board), Arc::clone(&tasks));
        let downwards = tokio::spawn(async move {
            while let Ok((host, _)) = hosts.accept().await {
                host.set_nodelay(true).unwrap();
                let (from_host, new) = host.into_split();
                *to_host.lock().await = Some(new);
                let pump = tokio::spawn(Arc::clone(&way).carry(from_host, Arc::clone(&board)));
                pumps.lock().unwrap_or_else(PoisonError::into_inner).push(pump);
            }
        });
        tasks.lock().unwrap_or_else(PoisonError::into_inner).extend([upwards, downwards]);
        Self { hosts: address, up, down, to_board, tasks }
    }

    /// Puts bytes on the wire that no host has sent
    pub(crate) async fn inject(&self, bytes: &[u8]) {
        if let Some(board) = &mut *self.to_board.lock().await {
            board.write_all(bytes).await.unwrap();
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}
