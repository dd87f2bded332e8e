//! Peers that are nothing but a socket

use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use flyrpc_tests::vectors::packet;

use crate::rig::{Connected, End, Rig, SOON, Server, Setup};

/// Flag bytes
pub(crate) const REQUEST: u8 = 0x40;
pub(crate) const RESPONSE: u8 = 0x80;
pub(crate) const MESSAGE: u8 = 0;

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
    /// A client
    pub(crate) fn connect<P: End>(server: &Server<P>) -> Self {
        Self::over(TcpStream::connect(server.address()).expect("a connection"))
    }

    /// A server and a client that is connected to it
    pub(crate) async fn with<P: End>(rig: &Rig<P>, client: Setup<P>) -> (Self, Connected<P>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address").to_string();
        let connected = rig.0.connect(client, address).await.expect("a client");
        (Self::over(listener.accept().expect("the client").0), connected)
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(SOON)).expect("an option");
        Self { stream }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("room to write");
    }

    pub(crate) fn send(&mut self, flag: u8, seq: u16, code: &str, payload: impl AsRef<[u8]>) {
        self.write(packet(flag, seq, code, payload));
    }

    #[track_caller]
    pub(crate) fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).expect("more bytes");
        bytes
    }

    #[track_caller]
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
            code: String::from_utf8(code).expect("a code in UTF-8"),
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
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
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
        self.stream.shutdown(Shutdown::Write).expect("a half-close");
    }

    /// Ends the connection at once, with a reset
    pub(crate) fn reset(self) {
        let socket = socket2::Socket::from(self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    }
}
