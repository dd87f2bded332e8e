//! What the tests share: a watchdog, a gate, and peers that are nothing but a socket

use core::time::Duration;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use flyrpc_blocking::{Bytes, Client, Connected, Server, ServerHandle};

pub(crate) use flyrpc_tests::vectors::packet;

/// Flag bytes
pub(crate) const REQUEST: u8 = 0x40;
pub(crate) const RESPONSE: u8 = 0x80;
pub(crate) const MESSAGE: u8 = 0;

/// Longest that anything may take which should come at once; far above what a loaded machine needs
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Runs a test that must not hang
pub(crate) fn bounded(test: impl FnOnce() + Send + 'static) {
    let (ended, wait) = channel::<()>();
    let thread = std::thread::spawn(move || {
        let _ended = ended;
        test();
    });
    match wait.recv_timeout(Duration::from_secs(20)) {
        Err(RecvTimeoutError::Disconnected) | Ok(()) => {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        Err(RecvTimeoutError::Timeout) => panic!("the test hangs"),
    }
}

/// The clock of the tests
#[expect(clippy::disallowed_methods, reason = "tests on real sockets measure real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until `condition` holds; for what gives no event, such as counters
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = now();
    while !condition() {
        assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Holds handlers until it is opened
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub(crate) fn pass(&self) {
        let shut = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(shut, |open| !*open).unwrap());
    }
}

/// A server that echoes
pub(crate) fn echo() -> Server {
    Server::new().handle("echo", |payload: Bytes| payload)
}

pub(crate) fn listen(server: Server) -> ServerHandle {
    server.listen("127.0.0.1:0").unwrap()
}

pub(crate) fn connect(client: Client, server: &ServerHandle) -> Connected {
    client.connect(server.address()).unwrap()
}

/// `len` bytes that a wrong offset would change
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32 ^ len as u32;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

/// A packet as a raw peer reads it
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) flag: u8,
    pub(crate) seq: u16,
    pub(crate) code: String,
    pub(crate) payload: Vec<u8>,
}

/// A peer that is nothing but a socket
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    pub(crate) fn connect(server: &ServerHandle) -> Self {
        Self::over(TcpStream::connect(server.address()).unwrap())
    }

    /// A raw server and a client that is connected to it
    pub(crate) fn with(client: Client) -> (Self, Connected) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = client.connect(listener.local_addr().unwrap()).unwrap();
        (Self::over(listener.accept().unwrap().0), connected)
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { stream }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn send(&mut self, flag: u8, seq: u16, code: &str, payload: impl AsRef<[u8]>) {
        self.write(packet(flag, seq, code, payload));
    }

    pub(crate) fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn read(&mut self) -> Packet {
        let head = self.exactly(3);
        let mut code = Vec::new();
        loop {
            match self.exactly(1)[0] {
                0 => break,
                byte => code.push(byte),
            }
        }
        let len = self.exactly(1 << (head[0] & 3)).iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        Packet {
            flag: head[0],
            seq: u16::from_be_bytes([head[1], head[2]]),
            code: String::from_utf8(code).unwrap(),
            payload: self.exactly(len),
        }
    }

    /// Reads a packet and compares all but the width of its length
    #[track_caller]
    pub(crate) fn expect(&mut self, flag: u8, seq: u16, code: &str, payload: impl AsRef<[u8]>) {
        let got = self.read();
        assert_eq!((got.flag & !3, got.seq, got.code.as_str()), (flag, seq, code));
        assert!(got.payload == payload.as_ref(), "the payload of {} bytes is another", got.payload.len());
    }

    /// Nothing more comes but the end of the stream
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("the stream ends, and is not reset");
        assert!(rest.is_empty(), "{} more bytes came", rest.len());
    }

    /// The connection is gone, cleanly or not
    #[track_caller]
    pub(crate) fn expect_gone(&mut self) {
        let mut rest = [0; 4096];
        loop {
            match self.stream.read(&mut rest) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                    return;
                }
            }
        }
    }

    /// The connection is as good as ever: the next packet is the answer to a request sent now
    #[track_caller]
    pub(crate) fn expect_alive(&mut self) {
        self.send(REQUEST, 0x7777, "$ping", b"alive");
        self.expect(RESPONSE, 0x7777, "", b"alive");
    }

    pub(crate) fn finish_writing(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends the connection with a reset: what closing does while there is something to read
    pub(crate) fn reset(self) {
        assert!(self.stream.peek(&mut [0]).unwrap() > 0, "there is something to read");
    }
}
