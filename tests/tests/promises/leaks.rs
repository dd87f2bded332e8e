//! P6: a local time-out frees its slot; nothing leaks

use core::time::Duration;

use flyrpc_core::fly::Fly;
use flyrpc_core::{Call, Connection, Event, Instant, Limits, Slots, State, Table};

use crate::{Heapless, at, ms};

/// Calls at once that nobody answers
const AT_ONCE: u32 = 8;

/// Slots that the table has, as its debug text shows them
fn slots<S: Slots + core::fmt::Debug>(conn: &Connection<Fly, S>) -> usize {
    format!("{conn:?}").matches("Slot {").count()
}

/// Makes and loses `calls` calls to time-outs, as many at once as the smallest table holds
fn time_out<S: Slots<Tag = u32> + core::fmt::Debug>(calls: u32) -> Connection<Fly, S>
where
    S::Tag: core::fmt::Debug,
{
    let limits = Limits::new().quarantine(Duration::from_secs(1));
    let mut conn: Connection<Fly, S> = Connection::new(Fly::default(), limits);
    let mut out: heapless::Vec<u8, 256> = heapless::Vec::new();
    let (mut now, mut made, mut told, mut waits) = (at(0), 0_u32, 0_u32, 0_u32);
    let mut sum_of_tags = 0_u64;
    while made < calls {
        out.clear();
        let mut refused = false;
        for _ in 0..AT_ONCE {
            match conn.call(now, Call::new("x", "").deadline(now + ms(1)), made, &mut out) {
                Ok(_) => made += 1,
                Err(_) => refused = true,
            }
        }
        now += ms(1);
        conn.handle_timeout(now);
        while let Some(event) = conn.poll_event() {
            assert!(matches!(event, Event::TimedOut { .. }), "{event:?}");
            if let Event::TimedOut { tag, .. } = event {
                sum_of_tags += u64::from(tag);
                told += 1;
            }
        }
        if refused {
            // All sequences rest: the promise is that they come back.
            now += ms(3_200);
            waits += 1;
        }
    }
    println!("{made} calls, {told} told, waited {waits} times for resting sequences");
    assert_eq!(told, made);
    assert_eq!(sum_of_tags, u64::from(made) * u64::from(made - 1) / 2, "each tag once");
    conn
}

fn nothing_is_left<S: Slots<Tag = u32>>(conn: &Connection<Fly, S>, calls: u32) {
    assert_eq!((conn.in_flight(), conn.state(), conn.poll_timeout()), (0, State::Open, None));
    assert!(conn.stats().timed_out >= calls);
}

#[test]
fn p06_ten_million_timed_out_calls_leak_nothing_without_a_heap() {
    let conn = time_out::<Heapless<8>>(10_000_000);
    nothing_is_left(&conn, 10_000_000);
    assert_eq!(slots(&conn), 8);
}

#[test]
fn p06_a_million_timed_out_calls_do_not_grow_the_table() {
    let mut warm = time_out::<Table<u32>>(AT_ONCE);
    let size = slots(&warm);
    assert_eq!(size, 16, "eight calls at once, and the table at most half full");
    let conn = time_out::<Table<u32>>(1_000_000);
    nothing_is_left(&conn, 1_000_000);
    assert_eq!(slots(&conn), size);
    warm.close();
}

#[test]
fn p06_a_timed_out_call_frees_the_only_slot() {
    let mut conn: Connection<Fly, Heapless<1>> = Connection::new(Fly::default(), Limits::new());
    let mut out = Vec::new();
    conn.call(at(0), Call::new("x", "").deadline(at(5)), 1, &mut out).unwrap();
    assert!(conn.call(at(0), Call::new("x", ""), 2, &mut out).is_err());
    conn.handle_timeout(at(5));
    assert!(matches!(conn.poll_event(), Some(Event::TimedOut { tag: 1, .. })));
    assert!(conn.call(at(5), Call::new("x", ""), 2, &mut out).is_ok());
}

#[test]
fn p06_a_million_cancelled_and_answered_calls_leave_nothing() {
    let mut conn: Connection<Fly, Heapless<8>> =
        Connection::new(Fly::default(), Limits::new().quarantine(Duration::ZERO));
    let mut out: heapless::Vec<u8, 64> = heapless::Vec::new();
    let mut now = Instant::ZERO;
    for tag in 0..1_000_000 {
        out.clear();
        now += Duration::from_micros(100);
        let call = match conn.call(now, Call::new("x", ""), tag, &mut out) {
            Ok(call) => call,
            Err(refused) => {
                assert_eq!(refused.back, tag);
                now += ms(2_100);
                continue;
            }
        };
        if tag % 2 == 0 {
            assert_eq!(conn.cancel(call), Some(tag));
        } else {
            let [_, high, low, ..] = out[..] else { panic!("no packet") };
            let step = conn.handle_input(now, &[0x80, high, low, 0, 0]).map(|step| step.consumed);
            assert_eq!(step, Ok(5));
        }
    }
    assert_eq!((conn.in_flight(), conn.poll_timeout()), (0, None));
}
