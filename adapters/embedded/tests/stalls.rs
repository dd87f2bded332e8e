//! Nothing that is shared hangs, spins or leaks: whoever stops, waits or goes away

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests, which the setting for tests does not see"
)]

use core::cell::RefCell;
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embedded_io_adapters::tokio_1::FromTokio;
use flyrpc_embedded::{CallError, Clock, Incoming, Instant, Node, Plain, Reply, Shared, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::select;
use tokio::time::{sleep, timeout};

struct Time(tokio::time::Instant);

impl Clock for Time {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }

    async fn wait_until(&self, at: Instant) {
        if at == Instant::FAR {
            return core::future::pending().await;
        }
        tokio::time::sleep_until(self.0 + at.saturating_duration_since(Instant::ZERO)).await;
    }
}

type Board<'m, const CALLS: usize> = Shared<'m, NoopRawMutex, Plain, Time, CALLS, 64>;

const SECOND: Duration = Duration::from_secs(1);

fn board<const CALLS: usize>(memory: &mut [[u8; 128]; 2]) -> Board<'_, CALLS> {
    let [rx, tx] = memory;
    Shared::new(Node::new(Plain::new(), rx, tx), Time(tokio::time::Instant::now()))
}

/// Answers all but `later`, which is kept; ends with the body
async fn run<const CALLS: usize, R>(
    board: &Board<'_, CALLS>,
    line: DuplexStream,
    kept: &RefCell<Vec<Token>>,
    body: impl Future<Output = R>,
) -> R {
    let (rx, tx) = split(line);
    let running = board.run(FromTokio::new(rx), FromTokio::new(tx), |peer, event| match event {
        Incoming::Request { code: b"later", token, .. } => kept.borrow_mut().push(token),
        Incoming::Request { payload, token, .. } => peer.reply(token, Reply::ok(payload)).unwrap(),
        _ => {}
    });
    select! {
        biased;
        result = body => result,
        error = running => panic!("{error:?}"),
        () = sleep(SECOND * 600) => panic!("it hangs"),
    }
}

/// A line that has all bytes at once, and takes all at once
#[derive(Default)]
struct Ready(Vec<u8>);

impl embedded_io_async::ErrorType for Ready {
    type Error = core::convert::Infallible;
}

impl embedded_io_async::Read for Ready {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        if self.0.is_empty() {
            return core::future::pending().await;
        }
        let n = into.len().min(self.0.len());
        into[..n].copy_from_slice(&self.0[..n]);
        self.0.drain(..n);
        Ok(n)
    }
}

impl embedded_io_async::Write for Ready {
    async fn write(&mut self, from: &[u8]) -> Result<usize, Self::Error> {
        self.0.extend_from_slice(from);
        Ok(from.len())
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_requests_at_once_are_all_answered() {
    let mut memory = [[0; 128]; 2];
    let board = board::<1>(&mut memory);
    let mut rx = Ready((1..=100).flat_map(|n| [0x40, 0, n, b'e', 0, 2, n, n]).collect());
    let mut tx = Ready::default();
    {
        let mut running = pin!(board.run(&mut rx, &mut tx, |peer, event| {
            if let Incoming::Request { payload, token, .. } = event {
                peer.reply(token, Reply::ok(payload)).unwrap();
            }
        }));
        // Polled when it was woken, and only then; what it waits for in the end is the next byte.
        let task = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&task));
        let mut polled = 0;
        while polled == 0 || task.0.swap(0, Ordering::Relaxed) > 0 {
            assert!(running.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            polled += 1;
            assert!(polled < 1000, "it spins");
        }
    }
    let expected: Vec<u8> = (1..=100).flat_map(|n| [0x80, 0, n, 0, 2, n, n]).collect();
    assert_eq!(tx.0, expected);
}

#[tokio::test(start_paused = true)]
async fn calls_end_at_their_deadline_where_nobody_runs_the_line_p01() {
    let mut memory = [[0; 128]; 2];
    let board = board::<1>(&mut memory);
    let all = async {
        let calls =
            async { tokio::join!(board.call(b"echo", b"", SECOND), board.call(b"echo", b"", SECOND / 2)) };
        assert_eq!(calls.await, (Err(CallError::TimedOut), Err(CallError::TimedOut)));
        // What it sent is still in the buffer, and more fits once.
        assert_eq!(board.notify(b"button", &[0; 100], SECOND).await, Ok(()));
        assert_eq!(board.notify(b"button", &[0; 100], SECOND).await, Err(CallError::TimedOut));
    };
    timeout(SECOND * 60, all).await.expect("it hangs");

    // And the place is free again.
    let (line, host) = duplex(1000);
    let (rx, tx) = split(host);
    let mut memory = [[0; 128]; 2];
    let other = self::board::<1>(&mut memory);
    let kept = RefCell::default();
    let body = run(&board, line, &kept, async {
        assert_eq!(board.call(b"echo", b"free", SECOND).await.unwrap(), b"free");
    });
    select! {
        () = body => {}
        error = other.run(FromTokio::new(rx), FromTokio::new(tx), |peer, event| {
            if let Incoming::Request { payload, token, .. } = event {
                peer.reply(token, Reply::ok(payload)).unwrap();
            }
        }) => panic!("{error:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_when_its_time_is_up_takes_no_place_and_no_other_calls_outcome() {
    let mut memory = [[0; 128]; 2];
    let board = board::<2>(&mut memory);
    let (line, mut host) = duplex(1000);
    let body = async {
        for round in 0..8 {
            let mut given_up = Box::pin(board.call(b"x", b"", SECOND));
            assert!(timeout(SECOND / 2, &mut given_up).await.is_err());
            sleep(SECOND / 2).await;
            // Time has reached the connection with a message, before the task that runs the line had its turn.
            board.notify(b"y", b"", SECOND).await.unwrap();
            drop(given_up);
            let mut next = pin!(board.call(b"z", b"", SECOND));
            let mut sent = [0; 18];
            let sequence = select! {
                outcome = &mut next => panic!("{outcome:?} in round {round}"),
                read = host.read_exact(&mut sent) => { read.unwrap(); [sent[13], sent[14]] }
            };
            host.write_all(&[0x80, sequence[0], sequence[1], 0, 1, b'!']).await.unwrap();
            assert_eq!(next.await.unwrap(), b"!", "round {round}");
        }
    };
    run(&board, line, &RefCell::default(), body).await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_given_up_are_not_owed_for_ever() {
    let mut memory = [[0; 128]; 2];
    let board = board::<1>(&mut memory);
    // The line takes nothing until it is read.
    let (line, mut host) = duplex(8);
    let kept = RefCell::<Vec<Token>>::default();
    let body = async {
        for n in 1..=8 {
            host.write_all(&[0x40, 0, n, b'l', b'a', b't', b'e', b'r', 0, 0]).await.unwrap();
        }
        sleep(SECOND / 100).await;
        assert_eq!(kept.borrow().len(), 8);
        while board.notify(b"full", &[0; 20], SECOND / 100).await.is_ok() {}
        for token in kept.take() {
            let reply = board.reply(token, Reply::ok(b"0123456789 0123456789"), SECOND * 5);
            assert!(timeout(SECOND / 10, reply).await.is_err());
        }
        let mut all = vec![0; 1000];
        while let Ok(Ok(_)) = timeout(SECOND / 10, host.read(&mut all)).await {}
        host.write_all(b"\x40\0\x09e\0\x01!").await.unwrap();
        let mut answer = [0; 6];
        host.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"\x80\0\x09\0\x01!");
    };
    run(&board, line, &kept, body).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_found_no_room_in_time_is_not_called_too_long() {
    let mut memory = [[0; 128]; 2];
    let board = board::<1>(&mut memory);
    let (line, mut host) = duplex(8);
    let kept = RefCell::<Vec<Token>>::default();
    let body = async {
        host.write_all(b"\x40\0\x01later\0\0").await.unwrap();
        sleep(SECOND / 100).await;
        let token = kept.borrow_mut().pop().unwrap();
        while board.notify(b"full", &[0; 20], SECOND / 100).await.is_ok() {}
        let late = board.reply(token, Reply::ok(&[7; 60]), SECOND / 10).await;
        assert_eq!(late, Err(CallError::TimedOut));
        let mut all = Vec::new();
        let mut some = [0; 100];
        while let Ok(Ok(n)) = timeout(SECOND / 10, host.read(&mut some)).await {
            all.extend_from_slice(&some[..n]);
        }
        assert!(all.ends_with(b"\x80\0\x01TIMEOUT\0\0"), "{all:x?}");
    };
    run(&board, line, &kept, body).await;
}

struct Count(AtomicUsize);

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn any_number_of_tasks_wait_for_room_without_waking_each_other() {
    let mut memory = [[0; 128]; 2];
    let board = board::<1>(&mut memory);
    let tasks: Vec<_> = (0..8).map(|_| Arc::new(Count(AtomicUsize::new(0)))).collect();
    let mut calls: Vec<_> = tasks.iter().map(|_| Box::pin(board.call(b"echo", b"", SECOND))).collect();
    for (task, call) in tasks.iter().zip(&mut calls) {
        let waker = Waker::from(Arc::clone(task));
        assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let wakes = |task: &Arc<Count>| task.0.load(Ordering::Relaxed);
    assert_eq!(tasks.iter().map(wakes).sum::<usize>(), 0);
    // All of them look again, in the end.
    sleep(SECOND).await;
    for (task, call) in tasks.iter().zip(&mut calls) {
        assert!(wakes(task) > 0);
        let waker = Waker::from(Arc::clone(task));
        let outcome = call.as_mut().poll(&mut Context::from_waker(&waker));
        assert_eq!(outcome, Poll::Ready(Err(CallError::TimedOut)));
    }
}
