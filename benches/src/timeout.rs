//! Calls that are never answered

use core::hint::black_box;
use core::time::Duration;

use flyrpc_core::fly::Fly;
use flyrpc_core::{Call, Connection, Event, Instant, Limits, Table};

use crate::call::Peer;
use crate::in_flight::Random;
use crate::{Case, payload};

const GROUP: &str = "timed out";
const COUNTS: [u32; 4] = [1, 64, 1_024, 60_000];

/// Between two deadlines; longer than the shortest rest of a sequence, so that sequences never run out
const STEP: Duration = Duration::from_micros(1 << 21);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![Case::memcpy(GROUP, payload(16))];
    for count in COUNTS {
        let name = |how: &str| format!("{count}, {how}");
        cases.push(Case::new(GROUP, name("in order"), move || one_by_one(count, false)));
        cases.push(Case::new(GROUP, name("random deadlines"), move || one_by_one(count, true)));
        let together = Case::new(GROUP, name("all at once"), move || all_at_once(count));
        cases.push(together.operations(u64::from(count).max(10_240)));
    }
    cases
}

struct Client {
    conn: Peer<Table<u32>>,
    now: Instant,
    out: Vec<u8>,
    payload: Vec<u8>,
}

impl Client {
    fn new() -> Self {
        let limits = Limits::new().quarantine(Duration::ZERO);
        let conn = Connection::new(Fly::default(), limits);
        Self { conn, now: Instant::ZERO, out: Vec::with_capacity(256), payload: payload(16) }
    }

    /// A call whose time is up after so many steps
    fn call(&mut self, steps: u32) {
        self.out.clear();
        let call = Call::new(black_box(b"echo1"), black_box(&self.payload)).deadline(self.now + STEP * steps);
        let id = self.conn.call(self.now, call, steps, &mut self.out).expect("not refused");
        black_box((id, &self.out));
    }

    /// Lets time pass until a call's is up
    fn expire(&mut self) {
        loop {
            match self.conn.poll_event() {
                Some(Event::TimedOut { call, tag }) => {
                    black_box((call, tag));
                    return;
                }
                other => assert_eq!(other, None, "calls only time out"),
            }
            self.now = self.conn.poll_timeout().expect("calls are in flight");
            self.conn.handle_timeout(self.now);
        }
    }
}

/// `count` calls are in flight; each operation lets the next one time out and makes another
fn one_by_one(count: u32, scattered: bool) -> impl FnMut(u64) {
    let (mut client, mut random) = (Client::new(), Random(0x9e37_79b9_7f4a_7c15));
    (1..=count).for_each(|steps| client.call(if scattered { 1 + random.below(2 * count) } else { steps }));
    let mut run = move |times| {
        for _ in 0..times {
            client.expire();
            client.call(if scattered { 1 + random.below(2 * count) } else { count });
        }
    };
    if scattered {
        run(u64::from(count));
    }
    run
}

/// `count` calls with the same deadline time out, then as many are made again; one call is one operation
fn all_at_once(count: u32) -> impl FnMut(u64) {
    let mut client = Client::new();
    move |times| {
        for _ in 0..times {
            if client.conn.in_flight() == 0 {
                // The same moment for all, and past the rest of all their sequences.
                client.now += STEP;
                (0..count).for_each(|_| client.call(1));
            }
            client.expire();
        }
    }
}
