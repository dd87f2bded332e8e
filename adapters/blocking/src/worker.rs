//! The threads of a connection: one reads, others run handlers
//!
//! The thread that reads a request hands the reading on to the next thread and runs the handler itself, so a request
//! never waits for a thread to wake up; the one that takes over the reading wakes meanwhile.

use core::future::Future;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context as Poller, Poll, Waker};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::panic::catch_unwind;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use flyrpc_core::fly::zip::{Unzip, ZipError};
use flyrpc_core::fly::{Flag, codes};
use flyrpc_core::{Body, Dialect as _, Incoming, Instant, Loss, Overload, ReplyToken, State as Stage, What};
use flyrpc_driver::dialect::{AnyDialect, Meta, method_name, remote_error};
use flyrpc_driver::{Dispatched, Error, Outcome, Packet, Protocol, RemoteError, RequestId, UnreadableReply};

use crate::alarm::Alarm;
use crate::inbox::Inbox;
use crate::link::{Guard, Link, State, is_timeout};
use crate::peer::{Done, Waiter};
use crate::requests::{Fate, MESSAGE};
use crate::{Context, Request};

/// What a thread does after it has handed the reading on
enum Job {
    /// Run the handler of a request, and answer
    Request(Packet, ReplyToken<AnyDialect>, RequestId),
    /// Run the handlers of the messages that wait
    Messages,
}

/// Messages of a connection: handled one at a time, in the order they came
#[derive(Default)]
pub(crate) struct Messages {
    waiting: VecDeque<Packet>,
    bytes: usize,
    running: bool,
}

/// A handler that was not done at once
type Handler = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Most messages, and most bytes of them beside the last one, that wait for their turn; then reading stops
const MAX_MESSAGES: usize = 1024;
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// How many times as much may wait while calls of ours are in flight
const WHILE_CALLING: usize = 16;

/// Bytes of a ping of our own
const PING: usize = 4;

/// Most bytes of answers of the connection's own that wait to be written; then reading stops
const MAX_OWN: usize = 256 << 10;

/// Starts another thread of a connection
pub(crate) fn start(link: &Arc<Link>) -> std::io::Result<()> {
    let link = Arc::clone(link);
    std::thread::Builder::new().name("flyrpc".to_owned()).spawn(move || run(&link)).map(drop)
}

/// The life of one thread
fn run(link: &Arc<Link>) {
    let alarm = Alarm::new();
    loop {
        link.followers.fetch_add(1, Ordering::SeqCst);
        let mut inbox = link.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        link.followers.fetch_sub(1, Ordering::SeqCst);
        if inbox.ended {
            return;
        }
        let Some(job) = next_job(link, &mut inbox) else {
            inbox.ended = true;
            drop(inbox);
            link.reader_ended();
            return;
        };
        let replaced = link.followers.load(Ordering::SeqCst) > 0 || start(link).is_ok();
        drop(inbox);
        match job {
            Job::Request(packet, token, id) => answer(link, packet, token, id, &alarm),
            Job::Messages => run_messages(link, &alarm),
        }
        // One thread that reads and one that waits are enough; who found no replacement must read on.
        if replaced && link.followers.load(Ordering::SeqCst) > 0 {
            return;
        }
    }
}

/// Reads until there is a handler to be run; `None` when nothing more comes
fn next_job(link: &Arc<Link>, inbox: &mut Inbox) -> Option<Job> {
    loop {
        let mut state = hold_back(link);
        let Ok(step) = state.conn.handle_input(link.now(), inbox.buf.data()) else {
            link.pump(&mut state);
            link.flush_elsewhere(state);
            return None;
        };
        let consumed = step.consumed;
        let (job, wanted) = match step.what {
            What::NeedMore { at_least } => {
                link.pump(&mut state);
                link.flush_elsewhere(state);
                (None, at_least)
            }
            What::Blocked | What::Handled => {
                link.pump(&mut state);
                let ended = state.conn.state() == Stage::Closed;
                drop(state);
                link.observe_in(inbox.buf.data().get(..consumed).unwrap_or_default());
                (None, if ended { 1 } else { 0 })
            }
            What::Incoming(incoming) => {
                drop(state);
                link.observe_in(inbox.buf.data().get(..consumed).unwrap_or_default());
                (take(link, &mut inbox.unzip, incoming), 0)
            }
        };
        inbox.buf.consume(consumed);
        if job.is_some() {
            return job;
        }
        if wanted > 0 && !read(link, inbox, wanted) {
            return None;
        }
    }
}

/// The lock, once more may be read: what the peer makes us send, and owe, is bounded (P16)
fn hold_back(link: &Arc<Link>) -> Guard<'_> {
    let mut state = link.lock();
    while !may_read(link, &state) {
        if link.wake_writer(&mut state) {
            state = link.wait(state, Instant::FAR);
        } else {
            link.flush_locked(state);
            state = link.lock();
        }
    }
    state
}

fn may_read(link: &Link, state: &State) -> bool {
    let (limits, messages) = (&link.options.limits, &state.messages);
    let busy =
        limits.get_overload() == Overload::Wait && state.conn.unanswered() >= limits.get_max_unanswered();
    // The handler whose turn it is may wait for an answer that comes behind these messages and requests (P9).
    let calling = state.conn.in_flight() > 0;
    let times = if calling { WHILE_CALLING } else { 1 };
    let full = messages.waiting.len() >= times * MAX_MESSAGES || messages.bytes >= times * MAX_MESSAGE_BYTES;
    // Only what ends by itself is waited for: the answers of a batch leave when the rest of it was read.
    let owed = link.options.when_owed == Overload::Wait
        && !calling
        && state.requests.held() > 0
        && owes_enough(link, state);
    state.conn.state() == Stage::Closed || !(busy || full || owed || state.own >= MAX_OWN)
}

/// Do requests under way, and answers that wait for the rest of their batch, hold as many bytes as they may?
fn owes_enough(link: &Link, state: &State) -> bool {
    state.requests.held() + state.conn.dialect().held() >= link.options.owed_buffer
}

/// Must requests be refused?
fn is_busy(link: &Link, state: &State) -> bool {
    let batches = state.conn.dialect().held() >= link.options.owed_buffer;
    batches || link.options.when_owed == Overload::Refuse && owes_enough(link, state)
}

/// Reads more; false when nothing more comes
fn read(link: &Arc<Link>, inbox: &mut Inbox, at_least: usize) -> bool {
    let lost = loop {
        match (&link.stream).read(inbox.space(at_least)) {
            Ok(0) => break None,
            Ok(len) => {
                inbox.buf.filled(len);
                if inbox.pinged {
                    inbox.pinged = false;
                    be_patient(link, false);
                }
                return true;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) && link.options.keepalive.is_some() => {
                if inbox.pinged {
                    break Some(Loss::Unresponsive);
                }
                inbox.pinged = true;
                be_patient(link, true);
                ping(link);
            }
            // Nothing can be sent any more either.
            Err(_) => break Some(Loss::Reset),
        }
    };
    let mut state = link.lock();
    if let Some(loss) = lost {
        link.lost(&mut state, loss);
    } else {
        state.conn.handle_eof(link.now());
        link.pump(&mut state);
    }
    link.flush_elsewhere(state);
    false
}

/// How long a read waits: for the answer to a ping of our own, or until it is time for one
fn be_patient(link: &Link, pinged: bool) {
    if let Some((interval, timeout)) = link.options.keepalive {
        // It fails on a socket that is of no more use anyway, as the next read tells.
        let _ = link.stream.set_read_timeout(Some(if pinged { timeout } else { interval }));
    }
}

/// Asks the peer for a sign of life; whatever comes is one, so nobody waits for this answer
fn ping(link: &Arc<Link>) {
    let Some((_, timeout)) = link.options.keepalive else { return };
    let now = link.now();
    let mut guard = link.lock();
    let state = &mut *guard;
    // Where it can't be sent, nothing else need come to prove life either.
    let _ = state.conn.ping(now, PING, now + timeout, Arc::new(Waiter::default()), &mut state.out);
    link.tick(state);
    link.flush_locked(guard);
}

/// Acts on a message from the peer
fn take(link: &Arc<Link>, unzip: &mut Unzip, incoming: Incoming<'_, AnyDialect, Arc<Waiter>>) -> Option<Job> {
    match incoming {
        Incoming::Reply { tag, code, body, meta, .. } if meta.notes.error.is_some() => {
            tag.finish(Done::Answer(Err(remote_error(code, body.bytes(), meta.notes))));
            None
        }
        Incoming::Reply { tag, code, body, meta, .. } => {
            let opened = open(link, unzip, code, body, meta);
            if tag.is_for_hello() {
                if let Ok((code, list)) = opened
                    && code.is_empty()
                {
                    link.lock().conn.dialect_mut().learn(&list);
                }
                return None;
            }
            tag.finish(match opened {
                Ok((code, payload)) if code.is_empty() => Done::Answer(Ok(payload)),
                Ok((code, payload)) => {
                    let code = String::from_utf8_lossy(&code).into_owned();
                    Done::Answer(Err(RemoteError { code, number: None, details: payload.into() }))
                }
                Err(error) => Done::Failed(Error::UnreadableReply(UnreadableReply::Zip(error))),
            });
            None
        }
        Incoming::Pong { tag, len, .. } => {
            tag.finish(Done::Pong(len));
            None
        }
        Incoming::BadReply { tag, why, .. } => {
            tag.finish(Done::Failed(Error::UnreadableReply(UnreadableReply::Bad(why))));
            None
        }
        Incoming::Request { method, body, meta, token } => {
            take_request(link, unzip, (method, body, meta), token)
        }
        Incoming::Notification { method, body, meta } => {
            let (code, payload) = open(link, unzip, method, body, meta).ok()?;
            let packet = Packet { flag: Flag::MESSAGE.with(meta.zip, 0), sequence: 0, code, payload };
            let mut state = link.lock();
            state.messages.bytes += packet.payload.len();
            state.messages.waiting.push_back(packet);
            (!core::mem::replace(&mut state.messages.running, true)).then_some(Job::Messages)
        }
        Incoming::Cancel { request } => {
            let watchers = link.lock().requests.cancel(request);
            watchers.into_iter().for_each(Waker::wake);
            None
        }
        // Bodies are always taken whole.
        Incoming::Piece { .. } | _ => None,
    }
}

fn take_request(
    link: &Arc<Link>,
    unzip: &mut Unzip,
    (method, body, meta): (&[u8], Body<'_>, Meta),
    token: ReplyToken<AnyDialect>,
) -> Option<Job> {
    let flies = link.info.protocol == Protocol::FlyRpc;
    let refusal = match open(link, unzip, method, body, meta) {
        // Longer than those that the core answers itself.
        Ok((code, payload)) if flies && *code == *codes::PING.as_bytes() => Ok(payload),
        Ok(_) if is_busy(link, &link.lock()) => Err(RemoteError::new(codes::BUSY)),
        Ok((code, payload)) => {
            let key = token.key();
            // Of the others, whose numbers are the peer's own, the packet says nothing.
            let sequence = if flies { key as u16 } else { 0 };
            let packet = Packet { flag: Flag::REQUEST.with(meta.zip, 0), sequence, code, payload };
            let id = link.lock().requests.start(key, packet.payload.len());
            return Some(Job::Request(packet, token, id));
        }
        Err(error) => Err(RemoteError::new(error.code())),
    };
    let mut state = link.lock();
    let before = state.out.len();
    state.reply(token, &refusal);
    state.own += state.out.len() - before;
    None
}

/// Code and payload as they were meant, in a block of their own
fn open(
    link: &Link,
    unzip: &mut Unzip,
    code: &[u8],
    body: Body<'_>,
    meta: Meta,
) -> Result<(Bytes, Bytes), ZipError> {
    if link.info.protocol != Protocol::FlyRpc {
        return Ok(in_block(&method_name(code, meta.notes), body.bytes()));
    }
    if meta.zip.any() {
        link.lock().packer.peer_unzips();
    }
    let opened = unzip.open(code, body.bytes(), meta.zip, &link.options.limits)?;
    Ok(in_block(opened.code.as_bytes(), opened.payload))
}

fn in_block(code: &[u8], payload: &[u8]) -> (Bytes, Bytes) {
    let mut block = Vec::with_capacity(code.len() + payload.len());
    block.extend_from_slice(code);
    block.extend_from_slice(payload);
    let mut payload = Bytes::from(block);
    let code = payload.split_to(code.len());
    (code, payload)
}

/// Runs a request's handler and sends what it gives back
fn answer(link: &Arc<Link>, packet: Packet, token: ReplyToken<AnyDialect>, id: RequestId, alarm: &Alarm) {
    let deadline = link.options.handler_timeout.map_or(Instant::FAR, |time| link.now() + time);
    let context = Context::new(link.peer(), id, link.clock.to_std(deadline));
    let request = Request::new(context, packet);
    let outcome = match link.router.dispatch(request, &mut Poller::from_waker(alarm.waker())) {
        Dispatched::Ready(outcome) => outcome,
        Dispatched::Pending(mut handler) => {
            let outcome = drive(link, &mut handler, id, deadline, alarm);
            give_up(handler);
            outcome
        }
    };
    let mut guard = link.lock_for_reply();
    let state = &mut *guard;
    let watchers = state.requests.end(id);
    state.reply(token, &outcome);
    link.pump(state);
    // Under `Overload::Wait` the reader waits for this.
    link.notify(state);
    link.flush_locked(guard);
    watchers.into_iter().for_each(Waker::wake);
}

/// Polls a handler until it is done, cancelled or overdue
fn drive(link: &Link, handler: &mut Handler, id: RequestId, deadline: Instant, alarm: &Alarm) -> Outcome {
    loop {
        let fate = {
            let mut state = link.lock();
            // The thread is woken when the fate changes; when it has, that is seen below.
            let _ = state.requests.poll_cancelled(id, alarm.waker());
            if state.closed.is_some() { Fate::Ended } else { state.requests.fate(id) }
        };
        if fate != Fate::Go {
            // After the end of the connection nobody gets this.
            return Err(RemoteError::new(codes::CANCELLED));
        }
        let now = link.now();
        if now >= deadline {
            return Err(RemoteError::new(codes::TIMEOUT));
        }
        alarm.wait((deadline != Instant::FAR).then(|| deadline.saturating_duration_since(now)));
        if let Poll::Ready(outcome) = handler.as_mut().poll(&mut Poller::from_waker(alarm.waker())) {
            return outcome;
        }
    }
}

/// Drops a handler, which is the application's code and may panic
fn give_up(handler: Handler) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(handler)));
}

/// Runs the handlers of messages until none waits
fn run_messages(link: &Arc<Link>, alarm: &Alarm) {
    loop {
        let mut state = link.lock();
        let Some(packet) = state.messages.waiting.pop_front() else {
            state.messages.running = false;
            return;
        };
        state.messages.bytes -= packet.payload.len();
        link.notify(&state);
        drop(state);
        let request = Request::new(Context::new(link.peer(), MESSAGE, None), packet);
        let mut cx = Poller::from_waker(alarm.waker());
        // Nobody waits for what a message's handler gives back.
        if let Dispatched::Pending(mut handler) = link.router.dispatch(request, &mut cx) {
            loop {
                alarm.wait(None);
                if handler.as_mut().poll(&mut cx).is_ready() {
                    break;
                }
            }
            give_up(handler);
        }
    }
}
