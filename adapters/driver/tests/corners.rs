//! Where two things meet: keepalive and drains, full lanes and calls, hooks that panic, buffers that are the application's

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

mod common;

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::task::{Context as Poller, Poll, Waker};
use core::time::Duration;
use std::io::{self, IoSlice};
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use common::{End, Gate, Hand, HandTimer, Hold, Wire, block_on, reset, run, step};
use flyrpc_core::fly::{Flag, RawPacket};
use flyrpc_driver::runtime::{Listener, Runtime, Task, Transport};
use flyrpc_driver::{
    Address, Client, CloseReason, Connected, Context, Direction, Error, Limits, Overload, Peer, Server,
    ServerHandle, Stage,
};

const FAR: Duration = Duration::from_secs(100_000);
/// Of keepalive: long enough for the world to run, short enough to be waited for
const BEAT: Duration = Duration::from_millis(40);

/// A server with a gate, on whose `gate` requests wait
fn server(limits: Limits, set: impl FnOnce(Server<Hand>) -> Server<Hand>) -> (Gate, ServerHandle<Hand>) {
    reset();
    let gate = Gate::default();
    let at_gate = gate.clone();
    let server = Server::<Hand>::new().limits(limits.call_timeout(FAR)).handle("gate", move || {
        let gate = at_gate.clone();
        async move { gate.wait().await }
    });
    (gate, set(server).start())
}

fn pair(server: &ServerHandle<Hand>, client: Client<Hand>) -> (Connected, Peer) {
    let (ours, theirs) = Wire::WIDE.cut();
    let at_server = server.attach(theirs).unwrap();
    let client = client.attach(ours);
    run();
    (client, at_server)
}

fn client() -> Client<Hand> {
    Client::new().limits(Limits::new().call_timeout(FAR))
}

/// There is nothing to wait for but the clock itself
#[expect(clippy::disallowed_methods, reason = "the connection reads the same clock")]
fn pass(time: Duration) {
    let start = std::time::Instant::now();
    while start.elapsed() < time {}
}

/// Timers of this runtime do not expire: has the driver come, and look at the clock
fn poke(peer: &Peer) {
    peer.try_send("note", ()).unwrap();
    run();
}

fn request(sequence: u16, code: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packet = RawPacket { flag: Flag::REQUEST, sequence, code: code.as_bytes(), payload: b"" };
    packet.encode(&mut bytes).unwrap();
    bytes
}

fn write(end: &mut End, bytes: &[u8]) {
    let mut cx = Poller::from_waker(Waker::noop());
    assert!(
        matches!(end.poll_write(&mut cx, &[IoSlice::new(bytes)]), Poll::Ready(Ok(n)) if n == bytes.len())
    );
}

fn read(end: &mut End) -> Vec<u8> {
    let mut cx = Poller::from_waker(Waker::noop());
    let mut bytes = BytesMut::with_capacity(64 << 10);
    let _ = end.poll_read(&mut cx, &mut bytes);
    bytes.to_vec()
}

#[test]
fn a_call_beside_another_after_a_quiet_time_has_all_its_time() {
    let (_gate, server) = server(Limits::new(), |server| server.handle("echo", |payload: Bytes| payload));
    let timeout = Duration::from_millis(300);
    let (client, _) = pair(&server, Client::new().limits(Limits::new().call_timeout(timeout)));
    assert_eq!(block_on(client.call("echo", "warm")), Ok("warm".into()));
    pass(2 * timeout);
    let mut calls: Vec<_> = ["a", "b", "c"].map(|payload| Hold::new(client.call("echo", payload))).into();
    for call in &mut calls {
        assert!(call.poll().is_pending());
    }
    run();
    for call in &mut calls {
        assert!(matches!(call.poll(), Poll::Ready(Ok(_))));
    }
}

#[test]
fn p09_a_message_handler_that_calls_behind_a_full_lane_gets_its_answer() {
    let done = Arc::new(AtomicUsize::new(0));
    let (gate, counted) = (Gate::default(), Arc::clone(&done));
    let at_gate = gate.clone();
    let (_, server) = server(Limits::new(), |server| {
        server.handle("note", move |context: Context<Peer>| {
            let (gate, done) = (at_gate.clone(), Arc::clone(&counted));
            async move {
                gate.wait().await;
                context.peer().call("name", ()).await?;
                done.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Error>(())
            }
        })
    });
    let (client, _) = pair(&server, client().handle("name", || "Ada"));
    for _ in 0..2000 {
        client.try_send("note", ()).unwrap();
    }
    run();
    gate.open();
    run();
    assert_eq!(done.load(Ordering::Relaxed), 2000);
}

#[test]
fn keepalive_leaves_a_peer_alone_that_has_closed_its_direction_and_waits_for_answers() {
    let (gate, server) = server(Limits::new(), |server| server.keepalive(BEAT, BEAT));
    let (mut ours, theirs) = Wire::WIDE.cut();
    let at_server = server.attach(theirs).unwrap();
    write(&mut ours, &request(7, "gate"));
    let _ = ours.poll_shutdown(&mut Poller::from_waker(Waker::noop()));
    for _ in 0..3 {
        run();
        pass(BEAT);
        // It drains already; this only has the driver come.
        drop(at_server.drain(FAR));
    }
    run();
    assert_eq!(at_server.state(), Stage::Draining);
    gate.open();
    run();
    assert_eq!(read(&mut ours).len(), 5, "the answer, with no code and no payload");
}

#[test]
fn keepalive_leaves_a_drain_the_time_it_was_given() {
    let (gate, server) = server(Limits::new(), |server| server);
    let (client, _) = pair(&server, client().keepalive(BEAT, BEAT));
    let mut call = Hold::new(client.call("gate", ()));
    assert!(call.poll().is_pending());
    run();
    for _ in 0..4 {
        drop(client.drain(FAR));
        run();
        pass(BEAT);
    }
    drop(client.drain(FAR));
    run();
    gate.open();
    run();
    assert_eq!(call.poll(), Poll::Ready(Ok(Bytes::new())));
    assert_eq!(block_on(client.closed()), CloseReason::Drained);
}

#[test]
fn keepalive_that_finds_no_room_for_a_ping_takes_nobody_for_lost() {
    let (gate, server) = server(Limits::new(), |server| server);
    let limits = Limits::new().call_timeout(FAR).max_in_flight(1);
    let (client, _) = pair(&server, Client::new().limits(limits).keepalive(BEAT, BEAT));
    let mut call = Hold::new(client.call("gate", ()));
    assert!(call.poll().is_pending());
    run();
    for _ in 0..4 {
        pass(BEAT);
        poke(&client);
    }
    gate.open();
    run();
    assert_eq!(call.poll(), Poll::Ready(Ok(Bytes::new())));
}

#[test]
fn keepalive_takes_nobody_for_lost_whose_packets_wait_for_handlers_of_ours() {
    let limits = Limits::new().max_unanswered(1).overload(Overload::Wait);
    let (gate, server) = server(limits, |server| server.keepalive(BEAT, BEAT));
    let (client, at_server) = pair(&server, client());
    let mut calls = [(); 3].map(|()| Hold::new(client.call("gate", ())));
    for call in &mut calls {
        assert!(call.poll().is_pending());
    }
    run();
    for _ in 0..4 {
        pass(BEAT);
        poke(&at_server);
    }
    gate.open();
    run();
    for call in &mut calls {
        assert_eq!(call.poll(), Poll::Ready(Ok(Bytes::new())));
    }
}

#[test]
fn keepalive_looks_at_what_has_come_before_it_takes_anybody_for_lost() {
    let (_gate, server) = server(Limits::new(), |server| server.keepalive(BEAT, BEAT));
    let (mut ours, theirs) = Wire::WIDE.cut();
    let at_server = server.attach(theirs).unwrap();
    run();
    pass(BEAT);
    poke(&at_server);
    assert!(read(&mut ours).windows(5).any(|bytes| bytes == b"$ping"), "a ping");
    // Its program, or the whole machine, sleeps for longer than the peer has to answer.
    write(&mut ours, &request(7, "none"));
    pass(2 * BEAT);
    run();
    assert_eq!(at_server.state(), Stage::Open);
    // And when nothing comes, it is lost.
    for _ in 0..4 {
        pass(BEAT);
        drop(at_server.try_send("note", ()));
        run();
    }
    assert_eq!(at_server.state(), Stage::Closed);
}

#[test]
fn a_peer_that_has_taken_what_waited_is_not_lost_for_a_driver_that_comes_late() {
    let (_gate, server) = server(Limits::new(), |server| server.write_timeout(BEAT));
    let (mut ours, theirs) = Wire { capacity: 10, ..Wire::WIDE }.cut();
    let at_server = server.attach(theirs).unwrap();
    run();
    at_server.try_send("note", &[0; 100][..]).unwrap();
    run();
    assert_eq!(read(&mut ours).len(), 10);
    pass(2 * BEAT);
    run();
    assert_eq!(at_server.state(), Stage::Open);
    // And one that takes nothing is lost.
    pass(2 * BEAT);
    drop(at_server.drain(FAR));
    run();
    assert_eq!(at_server.state(), Stage::Closed);
}

/// A buffer of the application's whose drop uses the connection, from another thread so that a test can fail
struct Pooled {
    bytes: Vec<u8>,
    peer: Peer,
    stuck: Arc<AtomicBool>,
    dropped: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let (told, tells) = std::sync::mpsc::channel();
        let peer = self.peer.clone();
        std::thread::spawn(move || told.send(peer.in_flight()));
        if tells.recv_timeout(Duration::from_secs(2)).is_err() {
            self.stuck.store(true, Ordering::Relaxed);
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn buffers_of_the_application_are_dropped_without_the_lock() {
    let (stuck, dropped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let make = {
        let (stuck, dropped) = (Arc::clone(&stuck), Arc::clone(&dropped));
        move |peer: Peer, len| {
            let (stuck, dropped) = (Arc::clone(&stuck), Arc::clone(&dropped));
            Bytes::from_owner(Pooled { bytes: vec![7; len], peer, stuck, dropped })
        }
    };
    let answer = make.clone();
    let (_gate, server) = server(Limits::new(), |server| {
        server.handle("pool", move |context: Context<Peer>, text: &str| {
            answer(context.peer().clone(), text.parse().unwrap())
        })
    });
    let mut expected = 0;
    for len in ["10", "20000", "200000"] {
        // The handler's answer, and what a caller's own write and the driver's send.
        let (client, _) = pair(&server, client());
        let body = len.parse().unwrap();
        let mut large = Hold::new(client.send("note", make(client.peer(), body)));
        assert!(large.poll().is_ready());
        drop(large);
        assert_eq!(block_on(client.call("pool", len)).unwrap().len(), body);
        let alone = block_on(client.call("none", make(client.peer(), body)));
        assert!(matches!(alone, Err(Error::Remote(_))), "{alone:?}");
        expected += 3;
        run();
        assert_eq!(dropped.load(Ordering::Relaxed), expected, "{len}");
        assert!(!stuck.load(Ordering::Relaxed), "dropped under the lock: {len}");
        // What was not sent is dropped with the connection.
        assert!(client.try_send("note", make(client.peer(), body)).is_ok());
        client.close();
        run();
        expected += 1;
        assert_eq!(dropped.load(Ordering::Relaxed), expected, "{len}");
        assert!(!stuck.load(Ordering::Relaxed), "dropped under the lock at the end: {len}");
    }
}

#[test]
fn a_packet_hook_that_panics_holds_nobody_up() {
    let (_gate, server) = server(Limits::new(), |server| server.handle("echo", |payload: Bytes| payload));
    let panics = Arc::new(AtomicBool::new(false));
    let hook = Arc::clone(&panics);
    let client = client().on_packet(move |_, direction, _| {
        assert!(direction == Direction::In || !hook.load(Ordering::Relaxed), "the hook's own");
    });
    let (client, _) = pair(&server, client);
    panics.store(true, Ordering::Relaxed);
    let hushed = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let _ = catch_unwind(AssertUnwindSafe(|| Hold::new(client.call("echo", "1")).poll()));
    run();
    panics.store(false, Ordering::Relaxed);
    std::panic::set_hook(hushed);
    let mut call = Hold::new(client.call("echo", "2"));
    assert!(call.poll().is_pending());
    run();
    assert_eq!(call.poll(), Poll::Ready(Ok("2".into())), "{:?}", client.internals());
}

#[test]
fn p03_all_calls_that_are_dropped_or_time_out_at_once_are_told_to_the_peer() {
    for timed_out in [false, true] {
        let (_gate, server) = server(Limits::new(), |server| server);
        let (client, at_server) = pair(&server, client());
        block_on(client.hello()).unwrap();
        let mut calls: Vec<_> = (0..50)
            .map(|_| Hold::new(client.call("gate", ()).within(if timed_out { BEAT } else { FAR })))
            .collect();
        for call in &mut calls {
            assert!(call.poll().is_pending());
        }
        run();
        assert_eq!(at_server.internals().requests, 50);
        if timed_out {
            pass(2 * BEAT);
            poke(&client);
        } else {
            drop(calls);
        }
        run();
        assert_eq!(at_server.internals().requests, 0, "timed out: {timed_out}");
    }
}

/// Takes all, and while it takes others send more
struct Busy {
    peer: Arc<Mutex<Option<Peer>>>,
    writes: Arc<AtomicUsize>,
}

impl Transport for Busy {
    fn poll_read(&mut self, _: &mut Poller<'_>, _: &mut BytesMut) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_write(&mut self, _: &mut Poller<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.writes.fetch_add(1, Ordering::Relaxed) < 10_000
            && let Some(peer) = &*self.peer.lock().unwrap()
        {
            peer.try_send("more", ()).unwrap();
        }
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }

    fn poll_shutdown(&mut self, _: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_driver_reads_also_while_others_send_without_an_end() {
    reset();
    let (peer, writes) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
    let client = client().attach(Busy { peer: Arc::clone(&peer), writes: Arc::clone(&writes) });
    run();
    *peer.lock().unwrap() = Some(client.peer());
    client.try_send("more", ()).unwrap();
    let mut most = 0;
    loop {
        let before = writes.load(Ordering::Relaxed);
        if !step() {
            break;
        }
        most = most.max(writes.load(Ordering::Relaxed) - before);
    }
    assert!(most < 1000, "{most} writes before other tasks got their turn");
    assert_eq!(client.internals().unsent, 0);
    assert!(writes.load(Ordering::Relaxed) > 10_000);
}

#[test]
fn a_drained_connection_waits_for_the_end_of_all_that_still_comes() {
    let (_gate, server) = server(Limits::new(), |server| server);
    let (mut ours, theirs) = Wire::WIDE.cut();
    let at_server = server.attach(theirs).unwrap();
    run();
    drop(at_server.drain(FAR));
    run();
    write(&mut ours, &[1; 30_000]);
    run();
    let _ = ours.poll_shutdown(&mut Poller::from_waker(Waker::noop()));
    run();
    assert_eq!(block_on(at_server.closed()), CloseReason::Drained);
}

#[test]
fn a_handlers_time_begins_when_its_request_comes_and_not_before_the_handlers_before() {
    let (gate, server) =
        server(Limits::new(), |server| server.handler_timeout(5 * BEAT).handle("long", || pass(6 * BEAT)));
    // The second is read after the first was handled, and in the same turn.
    let (ours, theirs) = Wire { at_a_time: 4 + "long".len(), ..Wire::WIDE }.cut();
    server.attach(theirs).unwrap();
    let client = client().attach(ours);
    run();
    let mut calls = ["long", "gate"].map(|code| Hold::new(client.call(code, ())));
    for call in &mut calls {
        assert!(call.poll().is_pending());
    }
    run();
    poke(&client);
    gate.open();
    run();
    assert_eq!(calls[1].poll(), Poll::Ready(Ok(Bytes::new())));
}

/// [`Hand`], but a connection that is accepted says so
struct Telling;

type Told = Box<dyn FnOnce() + Send>;

static TOLD: Mutex<Option<Told>> = Mutex::new(None);

struct TellingEnd(End);

impl Transport for TellingEnd {
    fn poll_read(&mut self, cx: &mut Poller<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Poller<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, parts)
    }

    fn poll_shutdown(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }

    fn remote(&self) -> String {
        let told = TOLD.lock().unwrap().take();
        if let Some(told) = told {
            told();
        }
        "told".to_owned()
    }
}

struct One(Option<End>);

impl Listener for One {
    type Stream = TellingEnd;

    fn poll_accept(&mut self, _: &mut Poller<'_>) -> Poll<io::Result<TellingEnd>> {
        self.0.take().map_or(Poll::Pending, |end| Poll::Ready(Ok(TellingEnd(end))))
    }

    fn address(&self) -> io::Result<Address> {
        Ok("told:1".parse().unwrap())
    }
}

static ACCEPTED: Mutex<Option<End>> = Mutex::new(None);

impl Runtime for Telling {
    type Timer = HandTimer;
    type Stream = TellingEnd;
    type Listener = One;

    fn timer() -> HandTimer {
        Hand::timer()
    }

    fn spawn(task: Task) {
        Hand::spawn(task);
    }

    async fn connect(_: &Address) -> io::Result<TellingEnd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn listen(_: &Address) -> io::Result<One> {
        Ok(One(ACCEPTED.lock().unwrap().take()))
    }
}

#[test]
fn a_connection_that_comes_while_its_server_stops_is_closed() {
    reset();
    let (mut ours, theirs) = Wire::WIDE.cut();
    *ACCEPTED.lock().unwrap() = Some(theirs);
    let server = block_on(Server::<Telling>::new().listen("told:1")).unwrap();
    *TOLD.lock().unwrap() = Some(Box::new(move || drop(server)));
    run();
    let mut bytes = BytesMut::with_capacity(10);
    let read = ours.poll_read(&mut Poller::from_waker(Waker::noop()), &mut bytes);
    assert!(matches!(read, Poll::Ready(Ok(0))), "its socket is open");
}

#[test]
fn p09_two_ends_that_owe_each_other_more_than_they_may_go_on() {
    let narrow = Wire { capacity: 64, ..Wire::WIDE };
    let echo = |payload: Bytes| payload;
    let (_gate, server) =
        server(Limits::new(), |server| server.owed_buffer(1000, Overload::Wait).handle("echo", echo));
    let (ours, theirs) = narrow.cut();
    let at_server = server.attach(theirs).unwrap();
    let at_client = client().owed_buffer(1000, Overload::Wait).handle("echo", echo).attach(ours);
    let mut calls: Vec<_> = [&at_server, &*at_client]
        .into_iter()
        .flat_map(|peer| (0..100).map(|_| Hold::new(peer.call("echo", vec![7; 200]))))
        .collect();
    for call in &mut calls {
        assert!(call.poll().is_pending());
    }
    run();
    for call in &mut calls {
        match call.poll() {
            Poll::Ready(Ok(answer)) => assert_eq!(answer.len(), 200),
            Poll::Ready(Err(Error::Remote(error))) => assert_eq!(error.code, "BUSY"),
            other @ (Poll::Ready(_) | Poll::Pending) => panic!("{other:?}"),
        }
    }
}

#[test]
fn p16_answers_past_the_owed_buffer_are_not_made_before_those_are_taken() {
    let (_gate, server) = server(Limits::new(), |server| {
        server.owed_buffer(1000, Overload::Wait).handle("big", || Bytes::from_static(&[7; 100_000]))
    });
    let (mut ours, theirs) = Wire { capacity: 64 << 10, writer: false, ..Wire::WIDE }.cut();
    let peer = server.attach(theirs).unwrap();
    for sequence in 1..=199 {
        write(&mut ours, &request(sequence, "big"));
    }
    run();
    let unsent = peer.internals().unsent;
    assert!(unsent > 0 && unsent < 201_000, "{unsent} bytes wait to be sent");
    let mut answers = 0;
    loop {
        let came = read(&mut ours).len();
        answers += came;
        run();
        if came == 0 {
            break;
        }
    }
    assert!(answers > 199 * 100_000, "only {answers} bytes came");
}
