//! Serial lines as a transport: calls both ways on lines of any kind, noise, and the other end's restarts

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

mod common;

use core::num::NonZeroU16;
use core::task::{Context as Poller, Poll, Waker};
use core::time::Duration;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use common::{End, Hand, Hold, Wire, block_on, reset, run, tasks};
use flyrpc_core::fly::RawPacket;
use flyrpc_core::serial::{Found, Line, What};
use flyrpc_driver::runtime::{Runtime, Transport};
use flyrpc_driver::serial::Framed;
use flyrpc_driver::{
    Address, Client, CloseReason, Context, Error, Flag, Limits, Loss, Peer, Server, ServerHandle,
};

const FAR: Duration = Duration::from_secs(100_000);

fn limits() -> Limits {
    Limits::new().call_timeout(FAR).max_payload(100_000)
}

fn server() -> Server<Hand> {
    reset();
    Server::new()
        .limits(limits())
        .handle("echo", |payload: Bytes| payload)
        .handle("ask", |context: Context<Peer>| async move { context.peer().call("name", ()).await })
        .handle("stuck", core::future::pending::<()>)
}

fn client() -> Client<Hand> {
    Client::new().limits(limits()).handle("name", || "Ada")
}

/// Two ends of a line
fn line(wire: Wire) -> (Framed<End>, Framed<End>) {
    let (ours, theirs) = wire.cut();
    (Framed::new(ours, 120_000), Framed::new(theirs, 120_000))
}

#[test]
fn calls_go_both_ways_on_any_wire() {
    for (capacity, at_a_time) in [(64 << 10, usize::MAX), (64, 1), (7, 3), (5000, 1000)] {
        let server = server().start();
        let (ours, theirs) = line(Wire { capacity, at_a_time, writer: true });
        let at_server = server.attach(theirs).unwrap();
        let client = client().attach(ours);
        for len in [0, 1, 200, 243, 244, 245, 300, 5000, 70_000] {
            let payload = Bytes::from((0..len).map(|at| (at % 7) as u8).collect::<Vec<_>>());
            assert_eq!(block_on(client.call("echo", &payload)).as_ref(), Ok(&payload), "{len} bytes");
        }
        assert_eq!(block_on(client.call("ask", ())).unwrap(), "Ada");
        assert_eq!(block_on(at_server.call("name", ())).unwrap(), "Ada");
        let calls: Vec<_> = (0..40).map(|n| client.call("echo", n.to_string())).collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(block_on(call).unwrap(), n.to_string());
        }
        assert_eq!(at_server.stats().rejected, 0);
        // What was sent before the end is sent.
        let last = Hold::new(client.send("echo", "a message")).poll();
        assert!(matches!(last, Poll::Ready(Ok(()))));
        block_on(client.drain(FAR));
        assert_eq!(block_on(at_server.closed()), CloseReason::PeerClosed);
    }
}

/// A stream on which bytes change on their way in, while it is switched on
struct Noisy {
    io: End,
    /// Every so many bytes one is changed; 0 for none
    every: Arc<Mutex<usize>>,
    passed: usize,
}

impl Transport for Noisy {
    fn poll_read(&mut self, cx: &mut Poller<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let start = buf.len();
        let read = self.io.poll_read(cx, buf);
        let every = *self.every.lock().unwrap();
        for byte in &mut buf[start..] {
            self.passed += 1;
            if every > 0 && self.passed.is_multiple_of(every) {
                *byte = byte.wrapping_mul(37).wrapping_add((self.passed / every) as u8) | 1;
            }
        }
        read
    }

    fn poll_write(&mut self, cx: &mut Poller<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.io.poll_write(cx, parts)
    }

    fn poll_shutdown(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        self.io.poll_shutdown(cx)
    }
}

/// Sees how much memory is read into
struct Watched {
    io: End,
    most: Arc<Mutex<usize>>,
}

impl Transport for Watched {
    fn poll_read(&mut self, cx: &mut Poller<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut most = self.most.lock().unwrap();
        *most = buf.capacity().max(*most);
        self.io.poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Poller<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.io.poll_write(cx, parts)
    }

    fn poll_shutdown(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        self.io.poll_shutdown(cx)
    }
}

#[test]
fn on_a_noisy_line_a_call_is_answered_rightly_or_not_at_all() {
    for every in [29, 61, 97, 501] {
        let server = server().start();
        let noise = Arc::new(Mutex::new(every));
        let (ours, theirs) = Wire::WIDE.cut();
        let noisy = |io| Framed::new(Noisy { io, every: Arc::clone(&noise), passed: 0 }, 1000);
        server.attach(noisy(theirs)).unwrap();
        let client = client().attach(noisy(ours));
        let mut answered = 0;
        for n in 0..300 {
            let text = format!("{n} {}", "x".repeat(n % 50));
            let mut call = Hold::new(client.call("echo", text.clone()));
            let mut answer = call.poll();
            run();
            if answer.is_pending() {
                answer = call.poll();
            }
            if let Poll::Ready(answer) = answer {
                assert_eq!(answer.unwrap(), text);
                answered += 1;
            }
        }
        assert!(answered < 300 && (every < 100 || answered > 100), "{answered} of 300 with {every}");
        *noise.lock().unwrap() = 0;
        assert_eq!(block_on(client.call("echo", "quiet")).unwrap(), "quiet");
        assert!(Hold::new(client.closed()).poll().is_pending());
    }
}

/// The end of a line that is played by hand
struct Board {
    io: End,
    line: Line,
    data: Vec<u8>,
}

impl Board {
    fn new(io: End, session: u16) -> Self {
        Self { io, line: Line::new(NonZeroU16::new(session).unwrap()), data: Vec::new() }
    }

    /// Forgets everything
    fn restart(&mut self, session: u16) {
        self.line = Line::new(NonZeroU16::new(session).unwrap());
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut cx = Poller::from_waker(Waker::noop());
        assert!(
            matches!(self.io.poll_write(&mut cx, &[IoSlice::new(bytes)]), Poll::Ready(Ok(n)) if n == bytes.len())
        );
        run();
    }

    fn frame(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut memory = vec![0; Line::frame_max(packet.len())];
        memory[Line::lead(packet.len())..][..packet.len()].copy_from_slice(packet);
        let len = self.line.seal(&mut memory, packet.len()).unwrap();
        memory.truncate(len);
        memory
    }

    fn send(&mut self, packet: &[u8]) {
        let frame = self.frame(packet);
        self.write(&frame);
    }

    /// The packets that have come
    fn packets(&mut self) -> Vec<Vec<u8>> {
        run();
        let mut cx = Poller::from_waker(Waker::noop());
        let mut buf = BytesMut::with_capacity(4096);
        while matches!(self.io.poll_read(&mut cx, &mut buf), Poll::Ready(Ok(n)) if n > 0) {
            buf.reserve(4096);
        }
        self.data.extend(buf);
        let mut packets = Vec::new();
        loop {
            let Found { consumed, what, .. } = self.line.receive(&mut self.data);
            if let What::Packet { start, end } = what {
                packets.push(self.data[start..end].to_vec());
            }
            self.data.drain(..consumed);
            if what == What::NeedMore {
                return packets;
            }
        }
    }
}

fn packet(flag: Flag, sequence: u16, code: &'static str, payload: &'static str) -> Vec<u8> {
    let mut bytes = Vec::new();
    RawPacket { flag, sequence, code: code.as_bytes(), payload: payload.as_bytes() }
        .encode(&mut bytes)
        .unwrap();
    bytes
}

fn request(sequence: u16, code: &'static str, payload: &'static str) -> Vec<u8> {
    packet(Flag::REQUEST, sequence, code, payload)
}

fn answer(sequence: u16, payload: &'static str) -> Vec<u8> {
    packet(Flag::RESPONSE, sequence, "", payload)
}

/// A client, and the board that it is connected to
fn with_board() -> (flyrpc_driver::Connected, Board) {
    reset();
    let (ours, theirs) = Wire::WIDE.cut();
    let client = client().attach(Framed::new(ours, 1000));
    let mut board = Board::new(theirs, 7);
    assert!(board.packets().is_empty());
    assert!(board.line.peer().is_some(), "it announces itself before anybody calls");
    (client, board)
}

#[test]
fn a_restart_of_the_board_fails_what_is_in_flight_at_once() {
    let (client, mut board) = with_board();
    board.send(b"");
    let mut call = Hold::new(client.call("led", "1"));
    assert!(call.poll().is_pending());
    assert_eq!(board.packets().len(), 1);
    board.restart(8);
    board.send(b"");
    assert_eq!(call.poll(), Poll::Ready(Err(Error::Lost(CloseReason::Transport(Loss::Reset)))));
    assert_eq!(block_on(client.closed()), CloseReason::Transport(Loss::Reset));
    assert_eq!(tasks(), 0);
}

#[test]
fn an_answer_to_an_earlier_host_is_not_taken() {
    let (first, mut board) = with_board();
    let mut call = Hold::new(first.call("led", "1"));
    assert!(call.poll().is_pending());
    let sequence = u16::from_be_bytes(board.packets()[0][1..3].try_into().unwrap());
    // The answer is on its way when the host starts again.
    let late = board.frame(&answer(sequence, "late"));
    drop(call);
    drop(first);
    let (ours, theirs) = Wire::WIDE.cut();
    board.io = theirs;
    let second = client().attach(Framed::new(ours, 1000));
    let mut call = Hold::new(second.call("led", "0"));
    assert!(call.poll().is_pending());
    board.write(&late);
    assert!(call.poll().is_pending(), "not its answer");
    let packets = board.packets();
    assert_eq!(board.line.stats().restarts, 1, "the board learns of it");
    assert_eq!(
        u16::from_be_bytes(packets[0][1..3].try_into().unwrap()),
        sequence,
        "the numbers are the same"
    );
    board.send(&answer(sequence, "right"));
    assert_eq!(call.poll().map(Result::unwrap), Poll::Ready(Bytes::from("right")));
}

fn listening() -> (ServerHandle<Hand>, Board) {
    let server = server().start();
    let mut server = server;
    assert_eq!(block_on(server.also_listen("serial+tcp://line:1")).unwrap(), "serial+tcp://line:1");
    let io = block_on(Hand::connect(&Address::Tcp("line:1".to_owned()))).unwrap();
    run();
    (server, Board::new(io, 1))
}

#[test]
fn a_server_goes_on_over_the_same_line_when_the_board_has_restarted() {
    let (server, mut board) = listening();
    board.send(&request(1, "echo", "one"));
    assert_eq!(board.packets(), [answer(1, "one")]);
    board.send(&request(2, "stuck", ""));
    let first = server.peers()[0].clone();
    for session in 2..5 {
        // The first packet of the new life is not lost.
        board.restart(session);
        board.send(&request(2, "echo", "two"));
        assert_eq!(board.packets(), [answer(2, "two")]);
        assert_eq!(server.connections(), 1);
    }
    assert_eq!(block_on(first.closed()), CloseReason::Transport(Loss::Reset));
    assert_ne!(server.peers()[0].id(), first.id());
    drop(board);
    run();
    assert_eq!((server.connections(), tasks()), (0, 1), "the acceptor is left");
}

#[test]
fn a_server_that_stops_lets_go_of_its_lines() {
    let (server, mut board) = listening();
    board.send(&request(1, "echo", "one"));
    assert_eq!(server.connections(), 1);
    let mut shutdown = Hold::new(server.shutdown(FAR));
    assert!(shutdown.poll().is_pending());
    assert_eq!(board.packets(), [answer(1, "one")]);
    drop(board);
    run();
    assert!(shutdown.poll().is_ready());
    assert_eq!(tasks(), 0);
}

#[test]
fn what_is_no_whole_packet_is_dropped_and_what_follows_is_read() {
    let (server, mut board) = listening();
    let whole = request(3, "echo", "hi");
    for bad in
        [&whole[..whole.len() - 1], &whole[..2], &[&whole[..], b"x"].concat(), &[&*whole, &*whole].concat()]
    {
        board.send(bad);
    }
    board.write(b"\x07noise\x00");
    let cut = board.frame(&whole);
    board.write(&cut[..5]);
    board.send(&whole);
    assert_eq!(board.packets(), [answer(3, "hi")]);
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_frame_beyond_the_limits_is_dropped_and_memory_stays_bounded() {
    let (ours, theirs) = Wire { capacity: 1 << 20, ..Wire::WIDE }.cut();
    let most = Arc::new(Mutex::new(0));
    let mut framed = Framed::new(Watched { io: ours, most: Arc::clone(&most) }, 10_000);
    let mut board = Board::new(theirs, 1);
    let mut frame = board.frame(&[b'x'; 200_000]);
    frame.extend(board.frame(&request(1, "echo", "hi")));
    board.write(&frame);
    let mut cx = Poller::from_waker(Waker::noop());
    let mut buf = BytesMut::with_capacity(64);
    let n = (0..1000).find_map(|_| match framed.poll_read(&mut cx, &mut buf) {
        Poll::Ready(read) => Some(read.unwrap()),
        Poll::Pending => None,
    });
    assert_eq!((n, &buf[..]), (Some(buf.len()), &request(1, "echo", "hi")[..]));
    assert_eq!((framed.stats().too_long, framed.stats().taken, framed.stats().damaged), (1, 1, 0));
    let most = *most.lock().unwrap();
    assert!((10_000..30_000).contains(&most), "{most} bytes");
    assert!(!format!("{framed:?}").contains("120"), "it says nothing of what is in packets (P22)");
}

#[test]
fn json_rpc_is_not_spoken_over_frames() {
    reset();
    for address in ["jsonrpc+serial+tcp://a:1", "jsonrpc+serial:COM3"] {
        let error = block_on(Client::<Hand>::new().connect(address)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("framing=plain"), "{error}");
    }
}
