//! The lock and the wakers under every order of events
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p flyrpc-driver --release --test loom`
//!
//! The connection's real code runs on [loom](https://docs.rs/loom)'s threads, over a wire that answers what is written to it.
//! A wake-up that is lost shows as a deadlock.

#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Wake;

use bytes::{Bytes, BytesMut};
use flyrpc_core::fly::{Flag, RawPacket};
use flyrpc_driver::runtime::{Listener, Runtime, Task, Timer, Transport, TryWrite};
use flyrpc_driver::{Address, Client, CloseReason, Connected, Error, Limits, Overload, Peer, Refusal, Stage};
use loom::sync::{Mutex, Notify};
use loom::thread::{self, JoinHandle};

/// Fewer steps than loom's own, whose wakers count their clones
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Thread(Notify);

    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.0.notify();
        }
    }

    let thread = Arc::new(Thread(Notify::new()));
    let waker = Waker::from(Arc::clone(&thread));
    let (mut future, mut cx) = (pin!(future), Context::from_waker(&waker));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        thread.0.wait();
    }
}

/// Takes note of tasks for the model to run
struct Model;

thread_local! {
    // All threads of a model are one of the system's.
    static SPAWNED: RefCell<Vec<Task>> = const { RefCell::new(Vec::new()) };
}

impl Runtime for Model {
    type Timer = Never;
    type Stream = Wire;
    type Listener = Nowhere;

    fn timer() -> Never {
        Never
    }

    fn spawn(task: Task) {
        SPAWNED.with_borrow_mut(|spawned| spawned.push(task));
    }

    async fn connect(_: &Address) -> io::Result<Wire> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn listen(_: &Address) -> io::Result<Nowhere> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The clock of a model stands still
struct Never;

impl Timer for Never {
    fn set(&mut self, after: Duration) {
        assert!(!after.is_zero(), "nothing of this model is due");
    }

    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

struct Nowhere;

impl Listener for Nowhere {
    type Stream = Wire;

    fn poll_accept(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Wire>> {
        Poll::Pending
    }

    fn address(&self) -> io::Result<Address> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A wire whose far end answers each request with its payload
#[derive(Clone)]
struct Wire(Arc<Mutex<Pipes>>);

struct Pipes {
    written: Vec<u8>,
    /// Bytes of `written` that were answered
    answered: usize,
    input: Vec<u8>,
    reader: Option<Waker>,
    /// This end has closed its direction, and the far end its own
    ended: bool,
    /// Who waits for something to be written
    watcher: Option<Waker>,
    /// What one attempt to write without waiting takes
    at_once: usize,
}

impl Wire {
    fn new(at_once: usize) -> Self {
        let pipes = Pipes {
            written: Vec::new(),
            answered: 0,
            input: Vec::new(),
            reader: None,
            ended: false,
            watcher: None,
            at_once,
        };
        Self(Arc::new(Mutex::new(pipes)))
    }

    fn write(&self, parts: &[IoSlice<'_>], at_once: bool) -> usize {
        let mut pipes = self.0.lock().unwrap();
        let most = if at_once { pipes.at_once } else { usize::MAX };
        let mut left = most;
        for part in parts {
            let n = part.len().min(left);
            pipes.written.extend_from_slice(&part[..n]);
            left -= n;
        }
        let mut answers = Vec::new();
        while let Ok(Some((packet, len))) = RawPacket::decode(&pipes.written[pipes.answered..], 99, 1 << 20) {
            if packet.flag.is_request() {
                let (flag, code) = (Flag::RESPONSE, &b""[..]);
                RawPacket { flag, code, ..packet }.encode(&mut answers).unwrap();
            }
            pipes.answered += len;
        }
        let reader = if answers.is_empty() { None } else { pipes.reader.take() };
        pipes.input.append(&mut answers);
        let watcher = pipes.watcher.take();
        drop(pipes);
        reader.into_iter().chain(watcher).for_each(Waker::wake);
        most - left
    }

    /// Ready when this many packets have been written
    fn poll_packets(&self, wanted: usize, cx: &Context<'_>) -> Poll<()> {
        let mut pipes = self.0.lock().unwrap();
        let (mut rest, mut packets) = (&pipes.written[..], 0);
        while let Ok(Some((_, len))) = RawPacket::decode(rest, 99, 1 << 20) {
            rest = &rest[len..];
            packets += 1;
        }
        if packets == wanted && rest.is_empty() {
            return Poll::Ready(());
        }
        assert!(packets <= wanted, "something was written twice");
        pipes.watcher = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Transport for Wire {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut pipes = self.0.lock().unwrap();
        let n = pipes.input.len().min(buf.capacity() - buf.len());
        if n == 0 && !pipes.ended {
            pipes.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        buf.extend_from_slice(&pipes.input[..n]);
        pipes.input.drain(..n);
        Poll::Ready(Ok(n))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.write(parts, false)))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipes = self.0.lock().unwrap();
        pipes.ended = true;
        let reader = pipes.reader.take();
        drop(pipes);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }

    fn writer(&self) -> Option<Arc<dyn TryWrite>> {
        Some(Arc::new(self.clone()))
    }
}

impl TryWrite for Wire {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.write(parts, true) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Wakers lead back to what they wake.
        let mut pipes = self.0.lock().unwrap();
        pipes.reader = None;
        pipes.watcher = None;
    }
}

/// A connection, and the thread that drives it
struct Scene {
    client: Connected,
    wire: Wire,
    driver: JoinHandle<()>,
}

impl Scene {
    fn new(at_once: usize, send_buffer: usize) -> Self {
        let wire = Wire::new(at_once);
        let client = Client::<Model>::new()
            .limits(Limits::new().call_timeout(Duration::from_secs(1)))
            .send_buffer(send_buffer, Overload::Wait)
            .attach(wire.clone());
        let task = SPAWNED.with_borrow_mut(Vec::pop).unwrap();
        let peer = client.peer();
        let driver = thread::spawn(move || {
            let (mut task, mut polls) = (task, 0);
            block_on(poll_fn(|cx| {
                polls += 1;
                assert!(polls < 100, "the driver spins: {:?}", peer.internals());
                task.as_mut().poll(cx)
            }));
        });
        Self { client, wire, driver }
    }

    /// Runs in a thread of its own
    fn beside(&self, run: impl FnOnce(Peer) + 'static) -> JoinHandle<()> {
        let peer = self.client.peer();
        thread::spawn(move || run(peer))
    }

    fn end(self) {
        let held = self.client.internals();
        assert_eq!((held.calls, held.room), (0, 0), "{held:?}");
        self.client.close();
        self.driver.join().unwrap();
        assert_eq!((self.client.in_flight(), self.client.state()), (0, Stage::Closed));
    }
}

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 10_000;
    builder.check(model);
}

fn call(peer: &Peer, payload: &'static str) {
    assert_eq!(block_on(peer.call("echo", payload)), Ok(Bytes::from(payload)));
}

#[test]
fn two_callers_get_each_its_own_answer() {
    for at_once in [usize::MAX, 3] {
        check(2, move || {
            let scene = Scene::new(at_once, 1 << 20);
            let other = scene.beside(|peer| call(&peer, "other"));
            call(&scene.client, "mine");
            other.join().unwrap();
            scene.end();
        });
    }
}

#[test]
fn everything_encoded_is_written_though_nobody_waits_for_an_answer() {
    check(2, || {
        let scene = Scene::new(3, 1 << 20);
        let other = scene.beside(|peer| block_on(peer.send("note", "other")).unwrap());
        block_on(scene.client.send("note", "mine")).unwrap();
        block_on(poll_fn(|cx| scene.wire.poll_packets(2, cx)));
        other.join().unwrap();
        scene.end();
    });
}

#[test]
fn a_caller_that_writes_at_once_and_one_that_only_sends_lose_nothing() {
    for at_once in [usize::MAX, 3] {
        check(2, move || {
            let scene = Scene::new(at_once, 1 << 20);
            let other = scene.beside(|peer| block_on(peer.send("note", "other")).unwrap());
            call(&scene.client, "mine");
            block_on(poll_fn(|cx| scene.wire.poll_packets(2, cx)));
            other.join().unwrap();
            scene.end();
        });
    }
}

#[test]
fn two_that_write_at_once_write_one_after_the_other() {
    check(2, || {
        let scene = Scene::new(3, 1 << 20);
        // The driver's timer runs now, so that it need not come for the next calls.
        call(&scene.client, "warm");
        let other = scene.beside(|peer| block_on(peer.send("note", "other")).unwrap());
        call(&scene.client, "mine");
        block_on(poll_fn(|cx| scene.wire.poll_packets(3, cx)));
        other.join().unwrap();
        scene.end();
    });
}

#[test]
fn who_waits_for_room_is_woken() {
    for at_once in [usize::MAX, 3] {
        check(2, move || {
            let scene = Scene::new(at_once, 1);
            let other = scene.beside(|peer| call(&peer, "other"));
            call(&scene.client, "mine");
            other.join().unwrap();
            scene.end();
        });
    }
}

#[test]
fn a_call_that_is_dropped_while_its_answer_comes_leaves_nothing() {
    check(2, || {
        let scene = Scene::new(usize::MAX, 1 << 20);
        let other = scene.beside(|peer| {
            let mut dropped = pin!(peer.call("echo", "dropped"));
            let _ = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        });
        call(&scene.client, "mine");
        other.join().unwrap();
        scene.end();
    });
}

#[test]
fn a_call_that_meets_the_end_ends() {
    check(2, || {
        let scene = Scene::new(usize::MAX, 1);
        let other = scene.beside(|peer| {
            let answer = block_on(peer.call("echo", "other"));
            let over =
                matches!(answer, Err(Error::Lost(CloseReason::Local) | Error::Refused(Refusal::Closed)));
            assert!(over || answer == Ok("other".into()), "{answer:?}");
        });
        scene.client.close();
        other.join().unwrap();
        assert_eq!(block_on(scene.client.closed()), CloseReason::Local);
        scene.end();
    });
}

#[test]
fn a_drain_waits_for_the_answer_that_is_owed() {
    check(2, || {
        let scene = Scene::new(usize::MAX, 1 << 20);
        let other = scene.beside(|peer| {
            let answer = block_on(peer.call("echo", "other"));
            let late = matches!(answer, Err(Error::Refused(_)));
            assert!(late || answer == Ok("other".into()), "{answer:?}");
        });
        drop(scene.client.drain(Duration::from_secs(1)));
        other.join().unwrap();
        scene.client.close();
        block_on(scene.client.closed());
        scene.driver.join().unwrap();
    });
}
