//! A line shared between async tasks, in virtual time

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

use core::cell::RefCell;
use core::num::NonZeroU16;
use core::time::Duration;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embedded_io_adapters::tokio_1::FromTokio;
use flyrpc_embedded::{
    CallError, Clock, Framed, Incoming, Instant, Link, Node, Plain, Raw, Reply, RunError, Shared, Token,
    codes,
};
use tokio::io::{DuplexStream, duplex, split};
use tokio::select;

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

type Board<'m, L> = Shared<'m, NoopRawMutex, L, Time, 4, 64, Raw>;

const SECOND: Duration = Duration::from_secs(1);

fn board<'m, L: Link>(link: L, memory: &'m mut [[u8; 128]; 2]) -> Board<'m, L> {
    let [rx, tx] = memory;
    Shared::new(Node::new(link, rx, tx), Time(tokio::time::Instant::now()))
}

/// Runs it: `echo` is answered at once, `later` is kept, `long` is answered with more than is taken
async fn run<L: Link>(
    board: &Board<'_, L>,
    line: DuplexStream,
    kept: &RefCell<Vec<Token>>,
    told: &RefCell<Vec<String>>,
) -> RunError<std::io::ErrorKind, std::io::ErrorKind> {
    let (rx, tx) = split(line);
    let kind = |error: std::io::Error| error.kind();
    let Err(error) = board
        .run(FromTokio::new(rx), FromTokio::new(tx), |peer, event| match event {
            Incoming::Request { code: b"echo", payload, token } => {
                peer.reply(token, Reply::ok(payload)).unwrap();
            }
            Incoming::Request { code: b"long", token, .. } => {
                peer.reply(token, Reply::ok(&[0; 65])).unwrap();
            }
            Incoming::Request { code: b"later", token, .. } => kept.borrow_mut().push(token),
            Incoming::Request { token, .. } => {
                peer.reply(token, Reply::error(codes::NOT_FOUND, b"?")).unwrap();
            }
            Incoming::Message { code, payload } => told.borrow_mut().push(format!(
                "{} {}",
                String::from_utf8_lossy(code),
                String::from_utf8_lossy(payload)
            )),
            Incoming::Cancelled { sequence } => told.borrow_mut().push(format!("cancelled {sequence}")),
            Incoming::Ended { why } => told.borrow_mut().push(format!("{why:?}")),
            other @ (Incoming::Reply { .. } | _) => panic!("{other:?}"),
        })
        .await;
    match error {
        RunError::Read(error) => RunError::Read(kind(error)),
        RunError::Write(error) => RunError::Write(kind(error)),
        RunError::EndOfInput => RunError::EndOfInput,
        other => panic!("{other:?}"),
    }
}

/// Both ends of a line of `width` bytes, run as long as the body does
async fn with_two<L: Link>(
    links: [L; 2],
    width: usize,
    body: impl AsyncFnOnce(&Board<'_, L>, &Board<'_, L>, &RefCell<Vec<Token>>, &RefCell<Vec<String>>),
) {
    let mut memory = [[[0; 128]; 2]; 2];
    let [one, two] = &mut memory;
    let [here, there] = links;
    let (here, there) = (board(here, one), board(there, two));
    let (kept, told) = (RefCell::default(), RefCell::default());
    let (left, right) = duplex(width);
    select! {
        biased;
        () = body(&here, &there, &kept, &told) => {}
        error = run(&here, left, &kept, &told) => panic!("{error:?}"),
        error = run(&there, right, &kept, &told) => panic!("{error:?}"),
        () = tokio::time::sleep(Duration::from_secs(600)) => panic!("it hangs"),
    }
}

fn framed() -> [Framed; 2] {
    [1, 2].map(|session| Framed::new(NonZeroU16::new(session).unwrap()))
}

#[tokio::test(start_paused = true)]
async fn eight_tasks_share_four_places_both_ways() {
    for width in [1, 7, 1000] {
        with_two(framed(), width, async |here, there, _, _| {
            let one = async |board: &Board<'_, Framed>, name: u32| {
                for round in 0..20 {
                    let text = format!("{name} {round}");
                    let answer = board.call(b"echo", text.as_bytes(), SECOND).await.unwrap();
                    assert_eq!(answer, text.as_bytes());
                }
            };
            tokio::join!(
                one(here, 1),
                one(here, 2),
                one(here, 3),
                one(here, 4),
                one(here, 5),
                one(here, 6),
                one(there, 7),
                one(there, 8),
            );
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn errors_long_answers_and_messages_arrive() {
    with_two([Plain::new(), Plain::new()], 1000, async |here, _, _, told| {
        let Err(CallError::Remote { code, details }) = here.call(b"nothing", b"", SECOND).await else {
            panic!("no error")
        };
        assert_eq!((&code[..], &details[..]), (&b"NOT_FOUND"[..], &b"?"[..]));
        let Err(CallError::Remote { code, .. }) = here.call(b"long", b"", SECOND).await else {
            panic!("no error")
        };
        assert_eq!(code, b"TOO_LARGE");
        here.notify(b"button", b"3", SECOND).await.unwrap();
        here.call(b"echo", b"", SECOND).await.unwrap();
        assert_eq!(*told.borrow(), ["button 3"]);
        let refused = here.call(b"echo", &[0; 200], SECOND).await.unwrap_err();
        assert!(matches!(refused, CallError::Refused(_)), "{refused:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn time_is_up_for_calls_in_flight_and_for_those_that_wait_for_a_place() {
    with_two([Plain::new(), Plain::new()], 1000, async |here, there, kept, _| {
        let start = tokio::time::Instant::now();
        let call = || here.call(b"later", b"", SECOND);
        let all = tokio::join!(call(), call(), call(), call(), here.call(b"echo", b"", SECOND / 2));
        for outcome in [all.0, all.1, all.2, all.3, all.4] {
            assert_eq!(outcome, Err(CallError::TimedOut));
        }
        let took = start.elapsed();
        assert!(took >= SECOND && took < SECOND * 2, "{took:?}");
        // The answers are late, and harm nobody.
        let tokens = kept.take();
        for token in tokens {
            there.reply(token, Reply::ack(), SECOND).await.unwrap();
        }
        assert_eq!(here.call(b"echo", b"next", SECOND).await.unwrap(), b"next");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_frees_its_place() {
    with_two([Plain::new(), Plain::new()], 1000, async |here, there, kept, told| {
        for _ in 0..8 {
            let given_up = tokio::time::timeout(SECOND / 10, here.call(b"later", b"", SECOND * 100)).await;
            assert!(given_up.is_err());
            let token = kept.borrow_mut().pop().unwrap();
            there.reply(token, Reply::ack(), SECOND).await.unwrap();
        }
        assert_eq!(here.call(b"echo", b"free", SECOND).await.unwrap(), b"free");
        assert!(told.borrow().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_kept_request_is_answered_from_another_task() {
    with_two([Plain::new(), Plain::new()], 1000, async |here, there, kept, _| {
        let answer = async {
            loop {
                tokio::time::sleep(SECOND / 100).await;
                let token = kept.borrow_mut().pop();
                if let Some(token) = token {
                    there.reply(token, Reply::ok(b"at last"), SECOND).await.unwrap();
                    return;
                }
            }
        };
        let (outcome, ()) = tokio::join!(here.call(b"later", b"", SECOND), answer);
        assert_eq!(outcome.unwrap(), b"at last");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_other_end_fails_calls_at_once() {
    let [mut one, mut two, mut three] = [[[0; 128]; 2]; 3];
    let [session, other] = framed();
    let here = board(session, &mut one);
    let (kept, told) = (RefCell::<Vec<Token>>::default(), RefCell::default());
    let mut call = core::pin::pin!(here.call(b"later", b"", SECOND * 100));
    let first = board(other, &mut two);
    let (left, right) = duplex(1000);
    let taken = async {
        while kept.borrow().is_empty() {
            tokio::time::sleep(SECOND / 100).await;
        }
    };
    select! {
        outcome = &mut call => panic!("{outcome:?}"),
        () = taken => {}
        error = run(&here, left, &kept, &told) => panic!("{error:?}"),
        error = run(&first, right, &kept, &told) => panic!("{error:?}"),
    }
    let again = board(Framed::new(NonZeroU16::new(9).unwrap()), &mut three);
    let (left, right) = duplex(1000);
    let start = tokio::time::Instant::now();
    select! {
        outcome = &mut call => assert_eq!(outcome, Err(CallError::Lost)),
        error = run(&here, left, &kept, &told) => panic!("{error:?}"),
        error = run(&again, right, &kept, &told) => panic!("{error:?}"),
    }
    assert!(start.elapsed() < SECOND);
    assert_eq!(*told.borrow(), ["Restarted"]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_input_ends_the_run() {
    let mut memory = [[0; 128]; 2];
    let here = board(Plain::new(), &mut memory);
    let (left, right) = duplex(1000);
    drop(right);
    let (kept, told) = (RefCell::default(), RefCell::default());
    assert_eq!(run(&here, left, &kept, &told).await, RunError::EndOfInput);
}
