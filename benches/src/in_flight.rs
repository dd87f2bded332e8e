//! The same call while others are in flight

use core::time::Duration;

use flyrpc_core::fly::Fly;
use flyrpc_core::{Instant, ReplyToken, Table};

use crate::call::Ends;
use crate::{Case, Target, payload};

const GROUP: &str = "in flight";
const COUNTS: [u32; 4] = [1, 64, 1_024, 60_000];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![Case::memcpy(GROUP, payload(16))];
    for count in COUNTS {
        let oldest =
            Case::new(GROUP, format!("{count}, oldest answered"), move || steady(count, Pick::Oldest));
        let random =
            Case::new(GROUP, format!("{count}, random answered"), move || steady(count, Pick::Random));
        if count == 1 {
            cases.extend([oldest, random]);
        } else {
            cases.push(oldest.target(Target::Times(1.1, "1, oldest answered")));
            cases.push(random.target(Target::Times(1.1, "1, random answered")));
        }
    }
    cases
}

#[derive(Clone, Copy, PartialEq)]
enum Pick {
    Oldest,
    Random,
}

/// `count` calls are in flight; each operation answers one and makes another, a microsecond later
fn steady(count: u32, pick: Pick) -> impl FnMut(u64) {
    let (mut ends, mut up, mut down) =
        (Ends::<Table<u32>>::new(), Vec::with_capacity(256), Vec::with_capacity(256));
    let mut now = Instant::ZERO;
    let mut waiting: Vec<Option<ReplyToken<Fly>>> =
        (0..count).map(|tag| Some(ends.ask(now, tag, &mut up))).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut oldest = 0;
    let mut run = move |times| {
        for _ in 0..times {
            now += Duration::from_micros(1);
            let index = match pick {
                Pick::Oldest => oldest,
                Pick::Random => random.below(count),
            };
            oldest = if oldest + 1 == count { 0 } else { oldest + 1 };
            let place = waiting.get_mut(index as usize).expect("below the count");
            let token = place.take().expect("a request waits at every index");
            let tag = ends.answer(now, token, &mut down);
            assert_eq!(tag, index);
            *place = Some(ends.ask(now, tag, &mut up));
        }
    };
    if pick == Pick::Random {
        // Sequences are given out in order at first; only after some rounds are the free ones scattered.
        run(u64::from(count));
    }
    run
}

/// A few instructions of randomness (xorshift)
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) const fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * end as u64) >> 32) as u32
    }
}
