//! What must be true at all times, and at the end of the world

use flyrpc_core::{Call, Instant, Refusal, Slots, State};

use super::op::Op;
use super::receive::eof_deadline;
use super::world::{End, World};
use crate::Side;

impl<S: Slots<Tag = u32>> End<S> {
    /// After anything that happens
    pub(super) fn check(&mut self) {
        let (conn, book) = (&self.conn, &mut self.book);
        assert_eq!(conn.in_flight() as usize, book.calls.len(), "calls in flight");
        assert_eq!(conn.unanswered() as usize, book.owed.len(), "requests unanswered");
        assert!(conn.unanswered() <= conn.limits().get_max_unanswered());
        if conn.state() != State::Closed {
            assert_eq!(conn.body_left(), book.sending.map_or(0, |flow| u64::from(flow.left)), "body to send");
        }
        let stats = conn.stats();
        let over = stats.answered + u64::from(stats.timed_out) + u64::from(stats.cancelled) + book.lost;
        assert_eq!(stats.calls, over + u64::from(conn.in_flight()), "calls that ended");

        let rank = match conn.state() {
            State::Open => 0,
            State::Draining => 1,
            State::Closed => 2,
        };
        assert!(rank >= book.rank, "the state went back");
        book.rank = rank;
        if rank == 1 {
            assert!(book.drain_by.is_some() || book.eof_at.is_some(), "draining for no reason");
        }
        if rank == 2 {
            let cause =
                book.closed_here || book.failed.is_some() || book.eof_at.is_some() || book.drain_by.is_some();
            assert!(cause, "closed for no reason");
        }
        // Nobody who only watches the timer misses a deadline (P19).
        if let Some(deadline) =
            book.calls.iter().map(|call| call.deadline).min().filter(|at| *at != Instant::FAR)
        {
            let timer = conn.poll_timeout();
            assert!(timer.is_some_and(|at| at <= deadline.max(book.seen)), "{timer:?} is after {deadline:?}");
        }
    }

    /// After all events and packets were taken
    pub(super) fn check_idle(&self) {
        let (conn, book) = (&self.conn, &self.book);
        assert_eq!(book.told, conn.state() == State::Closed);
        let overdue = book.calls.iter().find(|call| call.deadline <= book.seen);
        assert!(overdue.is_none(), "{overdue:?} should have timed out");
        assert!(book.eof_at.is_none() || book.calls.is_empty(), "calls hang after the end of the stream");
        for by in [book.drain_by, eof_deadline(self)].into_iter().flatten() {
            assert!(by > book.seen || book.told, "the end did not come by {by:?}");
        }
        let draining = book.drain_by.is_some() || book.eof_at.is_some();
        let idle = book.calls.is_empty() && book.owed.is_empty() && book.sending.is_none();
        if draining && idle && !self.has_no_room() {
            let receives = book.receiving.is_some();
            assert!(book.told || receives, "nothing is left to wait for, and it waits");
        }
        // An owner that waits for the timer now must not find it in the past, or it would spin.
        let due = conn.poll_timeout().is_some_and(|at| at <= book.seen);
        assert!(!due || book.sending.is_some() || self.has_no_room(), "all was taken, and something is due");
    }

    fn over(&self) {
        assert!(self.book.calls.is_empty(), "calls hang: {:?}", self.book.calls);
        assert_eq!(self.conn.in_flight(), 0);
        assert!(self.book.told && self.conn.state() == State::Closed);
        assert_eq!(self.conn.poll_timeout(), None);
    }
}

impl<S: Slots<Tag = u32>> World<S> {
    /// Nothing more arrives: the link is lost, or the peer is silent for ever; everything must come to its end
    pub fn finish(mut self, link_lost: bool) {
        self.ends.iter_mut().for_each(|end| end.room = usize::MAX);
        if link_lost {
            self.apply(Op::Cut);
        }
        for _ in 0..100 {
            self.apply(Op::Flush { side: Side::A });
            self.apply(Op::Flush { side: Side::B });
            if !self.apply(Op::NextTimer) {
                break;
            }
        }
        assert_eq!(self.next_timer(), None, "it never comes to rest");
        for side in [Side::A, Side::B] {
            let waits = |call: &&super::book::Waiting| call.deadline != Instant::FAR;
            let end = self.end(side).0;
            assert!(end.book.calls.iter().find(waits).is_none(), "calls hang: {:?}", end.book.calls);
            if !link_lost {
                self.apply(Op::Close { side });
                self.apply(Op::Flush { side });
            }
        }
        for end in &mut self.ends {
            end.over();
            end.refuses_all();
        }
    }
}

impl<S: Slots<Tag = u32>> End<S> {
    /// After the end nothing is accepted (P1)
    fn refuses_all(&mut self) {
        let (now, mut out) = (self.book.seen, Vec::new());
        let refused = self.conn.call(now, Call::new("late", b""), 77, &mut out);
        assert_eq!(refused.map_err(|refused| (refused.why, refused.back)), Err((Refusal::Closed, 77)));
        let refused = self.conn.ping(now, 1, Instant::FAR, 78, &mut out);
        assert_eq!(refused.map_err(|refused| (refused.why, refused.back)), Err((Refusal::Closed, 78)));
        let refused = self.conn.notify(now, Call::new("late", b""), &mut out);
        assert_eq!(refused.map_err(|refused| refused.why), Err(Refusal::Closed));
        assert_eq!(self.conn.send_body(b"", &mut out), Err(Refusal::Closed));
        while let Some(owed) = self.book.owed.pop() {
            let refused = self.conn.reply(owed.token, flyrpc_core::Reply::ack(), &mut out);
            assert_eq!(refused.map_err(|refused| refused.why), Err(Refusal::Closed));
        }
        assert_eq!(out, b"");
        assert_eq!(self.conn.poll_event(), None);
    }
}
