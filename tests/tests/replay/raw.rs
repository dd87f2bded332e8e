//! The other side: a plain socket

use core::time::Duration;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, channel};

use flyrpc_core::fly::RawPacket;
use flyrpc_tests::vectors::packet;

/// Longest that anything may take which should come at once; far above what a loaded machine needs
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Runs a test that must not hang
pub(crate) fn bounded(test: impl FnOnce() + Send + 'static) {
    let (ended, wait) = channel::<()>();
    let thread = std::thread::spawn(move || {
        let _ended = ended;
        test();
    });
    match wait.recv_timeout(6 * SOON) {
        Err(RecvTimeoutError::Disconnected) | Ok(()) => {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        Err(RecvTimeoutError::Timeout) => panic!("the test hangs"),
    }
}

pub(crate) struct Raw {
    stream: TcpStream,
    bytewise: bool,
    /// Read, but of a later packet
    ahead: Vec<u8>,
}

impl Raw {
    /// Longer writes are never split into bytes
    const SHORT: usize = 1000;

    pub(crate) fn over(stream: TcpStream, bytewise: bool) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        Self { stream, bytewise, ahead: Vec::new() }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let len = if self.bytewise && bytes.len() < Self::SHORT { 1 } else { bytes.len().max(1) };
        bytes.chunks(len).for_each(|chunk| self.stream.write_all(chunk).unwrap());
    }

    /// The next packet that flyrpc writes, as it is on the wire
    #[track_caller]
    pub(crate) fn packet(&mut self, case: &str) -> Vec<u8> {
        loop {
            if let Some((_, len)) = RawPacket::decode(&self.ahead, 4096, 1 << 30).expect("a packet") {
                return self.ahead.drain(..len).collect();
            }
            let mut chunk = [0; 16 << 10];
            let n = self.stream.read(&mut chunk).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(n > 0, "{case}: the end instead of a packet, after {:x?}", self.ahead);
            self.ahead.extend_from_slice(&chunk[..n]);
        }
    }

    /// Nothing more was written than what was read: the next packet is the answer to a ping that is sent now
    #[track_caller]
    pub(crate) fn expect_alive(&mut self, case: &str) {
        self.write(&packet(0x40, 0x6666, "$ping", "alive"));
        assert_eq!(self.packet(case), packet(0x80, 0x6666, "", "alive"), "{case}: more than recorded");
    }

    pub(crate) fn finish_writing(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Nothing more comes but the end of the stream
    #[track_caller]
    pub(crate) fn expect_end(&mut self, case: &str) {
        let read = self.stream.read_to_end(&mut self.ahead);
        read.unwrap_or_else(|error| panic!("{case}: {error} instead of the end"));
        assert!(self.ahead.is_empty(), "{case}: {:x?} instead of the end", self.ahead);
    }
}
