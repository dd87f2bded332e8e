//! A whole call through two connections: call, request, reply, answer

use core::hint::black_box;

use flyrpc_core::fly::Fly;
use flyrpc_core::{
    Call, Connection, Incoming, Instant, Limits, Reply, ReplyToken, Sink, SliceSink, Slot, Slots, Table, What,
};

use crate::{Case, Target, payload};

pub(crate) type Peer<S> = Connection<Fly, S>;
pub(crate) type Few = heapless::Vec<Slot<u32>, 8>;

pub(crate) const GROUP: &str = "call 16 B";
const CODE: &[u8] = b"echo1";

pub(crate) fn cases() -> Vec<Case> {
    let most = Target::Instructions(800);
    vec![
        Case::memcpy(GROUP, payload(16)),
        Case::new(GROUP, "Table, Vec", through_vecs::<Table<u32>>).target(most),
        Case::new(GROUP, "Table, SliceSink", through_slices::<Table<u32>>).target(most),
        Case::new(GROUP, "heapless 8, Vec", through_vecs::<Few>).target(most),
        Case::new(GROUP, "heapless 8, SliceSink", through_slices::<Few>).target(most),
    ]
}

/// A sink that is read from and used again
pub(crate) trait Buffer: Sink {
    fn bytes(&self) -> &[u8];
    fn empty(&mut self);
}

impl Buffer for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn empty(&mut self) {
        self.clear();
    }
}

impl Buffer for SliceSink<'_> {
    fn bytes(&self) -> &[u8] {
        self.written()
    }

    fn empty(&mut self) {
        self.clear();
    }
}

/// Two connections, and a call from one to the other in two halves
pub(crate) struct Ends<S: Slots<Tag = u32>> {
    client: Peer<S>,
    server: Peer<S>,
    payload: Vec<u8>,
}

impl<S: Slots<Tag = u32>> Ends<S> {
    pub(crate) fn new() -> Self {
        let limits = Limits::new().max_unanswered(u32::MAX);
        let client = Connection::new(Fly::default(), limits.clone());
        let server = Connection::new(Fly::default(), limits);
        Self { client, server, payload: payload(16) }
    }

    /// Sends a request as far as the server's handler
    pub(crate) fn ask<B: Buffer>(&mut self, now: Instant, tag: u32, up: &mut B) -> ReplyToken<Fly> {
        up.empty();
        let call = Call::new(black_box(CODE), black_box(&self.payload));
        let id = self.client.call(now, call, tag, up).expect("not refused");
        black_box(id);
        let step = self.server.handle_input(now, black_box(up.bytes())).expect("sound");
        let What::Incoming(Incoming::Request { method, body, token, .. }) = step.what else {
            panic!("not a request");
        };
        black_box((method, body, step.consumed));
        token
    }

    /// Answers it as far as the caller, and tells the tag of the call
    pub(crate) fn answer<B: Buffer>(&mut self, now: Instant, token: ReplyToken<Fly>, down: &mut B) -> u32 {
        down.empty();
        let sent = self.server.reply(token, Reply::ok(black_box(&self.payload)), down);
        sent.expect("not refused");
        let step = self.client.handle_input(now, black_box(down.bytes())).expect("sound");
        let What::Incoming(Incoming::Reply { tag, code, body, .. }) = step.what else {
            panic!("not a reply");
        };
        black_box((code, body, step.consumed));
        tag
    }

    fn round_trips<B: Buffer>(&mut self, times: u64, up: &mut B, down: &mut B) {
        for tag in 0..times {
            let token = self.ask(Instant::ZERO, tag as u32, up);
            let back = self.answer(Instant::ZERO, token, down);
            assert_eq!(back, tag as u32);
        }
    }
}

fn through_vecs<S: Slots<Tag = u32> + 'static>() -> impl FnMut(u64) {
    let (mut ends, mut up, mut down) = (Ends::<S>::new(), Vec::with_capacity(256), Vec::with_capacity(256));
    move |times| ends.round_trips(times, &mut up, &mut down)
}

fn through_slices<S: Slots<Tag = u32> + 'static>() -> impl FnMut(u64) {
    let (mut ends, mut up, mut down) = (Ends::<S>::new(), [0; 256], [0; 256]);
    move |times| ends.round_trips(times, &mut SliceSink::new(&mut up), &mut SliceSink::new(&mut down))
}
