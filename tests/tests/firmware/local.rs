//! The board as a thread of this program: the same application, over a socket in place of a UART

use core::net::SocketAddr;
use core::num::NonZeroU16;
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use flyrpc_embedded::{Calls, Framed, Instant, Link, Node, Plain, Raw};

use crate::app::{App, CALLS, Hardware, Tag};
use crate::rig::Framing;

/// As on the board
const BUFFER: usize = 256;
/// The longest sleep: a reset comes from another thread
const NAP: Duration = Duration::from_millis(2);

/// A running board; it ends when this is dropped
#[derive(Debug)]
pub(crate) struct Local {
    reset: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Local {
    /// Starts a board that connects to `wire`
    pub(crate) fn start(wire: SocketAddr, framing: Framing) -> Self {
        let (reset, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let board = Board { reset: Arc::clone(&reset), over: Arc::clone(&over), clock: Clock::start() };
        let thread = std::thread::spawn(move || {
            let stream = TcpStream::connect(wire).unwrap();
            stream.set_nodelay(true).unwrap();
            let mut uart = Uart { stream };
            while !board.over.load(Ordering::SeqCst) {
                let ended = match framing {
                    Framing::Plain => board.live(Plain::new(), &mut uart),
                    Framing::Cobs => board.live(Framed::new(session()), &mut uart),
                };
                if ended.is_err() {
                    return;
                }
            }
        });
        Self { reset, over, thread: Some(thread) }
    }

    /// The board forgets everything
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the board's thread panicked");
        }
    }
}

/// Differs from start to start
fn session() -> NonZeroU16 {
    static STARTS: AtomicU16 = AtomicU16::new(1);
    NonZeroU16::new(STARTS.fetch_add(1, Ordering::SeqCst)).unwrap()
}

struct Board {
    reset: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    clock: Clock,
}

impl Board {
    /// One life, up to a reset
    fn live<L: Link>(&self, link: L, uart: &mut Uart) -> Result<(), ErrorKind> {
        let (mut rx, mut tx) = ([0; BUFFER], [0; BUFFER]);
        let mut node: Node<'_, L, Calls<Tag, CALLS>, Raw> = Node::new(link, &mut rx, &mut tx);
        let mut app = App::new(NoHardware);
        while !self.over.load(Ordering::SeqCst) && !self.reset.swap(false, Ordering::SeqCst) {
            let moved = node.poll_io(uart, self.clock.now(), |host, event| app.handle(host, event))?;
            app.tick(node.peer(self.clock.now()));
            if !moved && node.unsent().is_empty() {
                let due = node.poll_timeout().into_iter().chain(app.due()).min();
                let left = due.map_or(NAP, |due| due - self.clock.now());
                uart.wait(left.min(NAP))?;
            }
        }
        Ok(())
    }
}

struct NoHardware;

impl Hardware for NoHardware {
    fn set_led(&mut self, _: bool) {}
    fn reset(&mut self) {}
}

/// The board's clock
struct Clock(std::time::Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the board's clock; nothing else reads it")]
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}

/// A socket in place of a UART
struct Uart {
    stream: TcpStream,
}

impl Uart {
    /// Is there a byte, now or within this time?
    fn peek(&self, within: Duration) -> Result<bool, ErrorKind> {
        let mut byte = [0];
        let is_waiting = !within.is_zero();
        self.stream.set_nonblocking(!is_waiting).map_err(|_| ErrorKind::Other)?;
        if is_waiting {
            self.stream.set_read_timeout(Some(within)).map_err(|_| ErrorKind::Other)?;
        }
        match self.stream.peek(&mut byte) {
            Ok(0) => Err(ErrorKind::BrokenPipe),
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(_) => Err(ErrorKind::Other),
        }
    }

    fn wait(&self, within: Duration) -> Result<(), ErrorKind> {
        self.peek(within.max(Duration::from_micros(50))).map(drop)
    }
}

impl ErrorType for Uart {
    type Error = ErrorKind;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        self.peek(Duration::ZERO)
    }
}

impl WriteReady for Uart {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(true)
    }
}

impl Read for Uart {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        // A UART has few bytes at a time.
        let len = buf.len().min(16);
        self.stream.read(&mut buf[..len]).map_err(|_| ErrorKind::Other)
    }
}

impl Write for Uart {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        self.stream.set_nonblocking(false).map_err(|_| ErrorKind::Other)?;
        self.stream.write(&buf[..buf.len().min(16)]).map_err(|_| ErrorKind::Other)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
