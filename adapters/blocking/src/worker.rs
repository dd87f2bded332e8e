//! The threads of a connection: one reads, others run handlers
//!
//! The thread that reads a request hands the reading on to the next thread and runs the handler itself, so a request
//! never waits for a thread to wake up; the one that takes over the reading wakes meanwhile.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::sync::{Arc, PoisonError};

use flyrpc_core::fly::zip::{Opened, Unzip, ZipError};
use flyrpc_core::fly::{Fly, Zip, codes};
use flyrpc_core::{Body, Incoming, Instant, Overload, Refusal, Reply, ReplyToken, State as Stage, What};

use crate::inbox::Inbox;
use crate::link::{Guard, Link, State, pack};
use crate::peer::{Response, Waiter};
use crate::router::Request;
use crate::{Error, RemoteError, UnreadableReply};

/// What a thread does after it has handed the reading on
enum Job {
    /// Run the handler of a request, and answer
    Request(Work, ReplyToken<Fly>),
    /// Run the handlers of the messages that wait
    Messages,
}

/// What a handler is run for
struct Work {
    code: String,
    payload: Vec<u8>,
    cancelled: Arc<AtomicBool>,
}

/// Messages of a connection: handled one at a time, in the order they came
#[derive(Default)]
pub(crate) struct Messages {
    waiting: VecDeque<Work>,
    bytes: usize,
    running: bool,
}

/// Most messages, and most bytes of them beside the last one, that wait for their turn; then reading stops
const MAX_MESSAGES: usize = 1024;
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// How many times as much may wait while calls of ours are in flight
const WHILE_CALLING: usize = 16;

/// Most bytes of answers of the connection's own that wait to be written; then reading stops
const MAX_OWN: usize = 256 << 10;

/// Starts another thread of a connection
pub(crate) fn start(link: &Arc<Link>) -> std::io::Result<()> {
    let link = Arc::clone(link);
    std::thread::Builder::new().name("flyrpc".to_owned()).spawn(move || run(&link)).map(drop)
}

/// The life of one thread
fn run(link: &Arc<Link>) {
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
            Job::Request(work, token) => answer(link, &work, token),
            Job::Messages => run_messages(link),
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
                (None, if ended { 1 } else { 0 })
            }
            What::Incoming(incoming) => {
                drop(state);
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
    // The handler whose turn it is may wait for an answer that comes behind these messages (P9).
    let times = if state.conn.in_flight() > 0 { WHILE_CALLING } else { 1 };
    let full = messages.waiting.len() >= times * MAX_MESSAGES || messages.bytes >= times * MAX_MESSAGE_BYTES;
    state.conn.state() == Stage::Closed || !(busy || full || state.own >= MAX_OWN)
}

/// Reads more; false when nothing more comes
fn read(link: &Arc<Link>, inbox: &mut Inbox, at_least: usize) -> bool {
    let gone = loop {
        match (&link.stream).read(inbox.space(at_least)) {
            Ok(0) => break false,
            Ok(len) => {
                inbox.buf.filled(len);
                return true;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Reset: nothing can be sent any more either.
            Err(_) => break true,
        }
    };
    let mut state = link.lock();
    if gone {
        link.lost(&mut state);
    } else {
        state.conn.handle_eof(link.now());
        link.pump(&mut state);
    }
    link.flush_elsewhere(state);
    false
}

/// Acts on a message from the peer
fn take(link: &Arc<Link>, unzip: &mut Unzip, incoming: Incoming<'_, Fly, Arc<Waiter>>) -> Option<Job> {
    match incoming {
        Incoming::Reply { tag, code, body, meta, .. } => {
            let opened = open(link, unzip, code, body, meta);
            tag.finish(match opened {
                Ok(Opened { code, payload }) => {
                    Ok(Response { code: code.to_owned(), payload: payload.to_vec() })
                }
                Err(error) => Err(Error::UnreadableReply(UnreadableReply::Zip(error))),
            });
            None
        }
        Incoming::Pong { tag, len, .. } => {
            // `Peer::ping` knows that its answer is a length.
            tag.finish(Ok(Response { code: String::new(), payload: len.to_le_bytes().to_vec() }));
            None
        }
        Incoming::BadReply { tag, why, .. } => {
            tag.finish(Err(Error::UnreadableReply(UnreadableReply::Bad(why))));
            None
        }
        Incoming::Request { method, body, meta, token } => {
            take_request(link, unzip, (method, body, meta), token)
        }
        Incoming::Notification { method, body, meta } => {
            let opened = open(link, unzip, method, body, meta).ok()?;
            let work = Work::new(opened);
            let mut state = link.lock();
            state.messages.bytes += work.payload.len();
            state.messages.waiting.push_back(work);
            (!core::mem::replace(&mut state.messages.running, true)).then_some(Job::Messages)
        }
        Incoming::Cancel { request } => {
            let state = link.lock();
            state.running.iter().filter(|(key, _)| *key == request).for_each(|(_, cancelled)| {
                cancelled.store(true, Ordering::Relaxed);
            });
            None
        }
        // Bodies are always taken whole.
        Incoming::Piece { .. } | _ => None,
    }
}

fn take_request(
    link: &Arc<Link>,
    unzip: &mut Unzip,
    (method, body, meta): (&[u8], Body<'_>, Zip),
    token: ReplyToken<Fly>,
) -> Option<Job> {
    let refusal = match open(link, unzip, method, body, meta) {
        // Longer than those that the core answers itself.
        Ok(Opened { code: codes::PING, payload }) => Reply::ok(payload),
        Ok(opened) => {
            let work = Work::new(opened);
            link.lock().running.push((token.key(), Arc::clone(&work.cancelled)));
            return Some(Job::Request(work, token));
        }
        Err(error) => Reply::error(error.code(), b""),
    };
    let mut state = link.lock();
    let before = state.out.len();
    let state = &mut *state;
    if let Err(refused) = state.conn.reply(token, refusal, &mut state.out) {
        state.conn.abandon(refused.back);
    }
    state.own += state.out.len() - before;
    None
}

/// Code and payload as they were meant
fn open<'a>(
    link: &Link,
    unzip: &'a mut Unzip,
    code: &'a [u8],
    body: Body<'a>,
    zip: Zip,
) -> Result<Opened<'a>, ZipError> {
    if zip.any() {
        link.lock().zipper.peer_unzips();
    }
    unzip.open(code, body.bytes(), zip, &link.options.limits)
}

impl Work {
    fn new(opened: Opened<'_>) -> Self {
        let Opened { code, payload } = opened;
        Self { code: code.to_owned(), payload: payload.to_vec(), cancelled: Arc::new(AtomicBool::new(false)) }
    }

    fn run(&self, link: &Arc<Link>, wants_reply: bool) -> Result<Vec<u8>, RemoteError> {
        let (peer, cancelled) = (link.peer(), &*self.cancelled);
        let request =
            Request { peer: &peer, code: &self.code, payload: &self.payload, cancelled, wants_reply };
        link.router.run(&request)
    }
}

/// Runs a request's handler and sends what it gives back
fn answer(link: &Arc<Link>, work: &Work, token: ReplyToken<Fly>) {
    let result = work.run(link, true);
    let mut guard = link.lock_for_reply();
    let state = &mut *guard;
    state.running.retain(|(_, cancelled)| !Arc::ptr_eq(cancelled, &work.cancelled));
    let reply = match &result {
        Ok(payload) => match pack(&state.conn, &mut state.zipper, b"", payload) {
            Ok(packed) => Reply::ok(packed.payload).meta(packed.zip),
            Err(_) => Reply::error(codes::TOO_LARGE, b""),
        },
        Err(RemoteError { code, details }) => Reply::error(code, details),
    };
    if let Err(refused) = state.conn.reply(token, reply, &mut state.out) {
        // The caller is told why it gets nothing else: a code that can't be sent, or an answer longer than it takes.
        let instead = if matches!(refused.why, Refusal::TooLarge { .. }) {
            Reply::error(codes::TOO_LARGE, b"")
        } else {
            Reply::error(codes::ERROR, b"the handler's error code can't be sent")
        };
        if let Err(refused) = state.conn.reply(refused.back, instead, &mut state.out) {
            state.conn.abandon(refused.back);
        }
    }
    link.pump(state);
    // Under `Overload::Wait` the reader waits for this.
    link.notify(state);
    link.flush_locked(guard);
}

/// Runs the handlers of messages until none waits
fn run_messages(link: &Arc<Link>) {
    loop {
        let mut state = link.lock();
        let Some(work) = state.messages.waiting.pop_front() else {
            state.messages.running = false;
            return;
        };
        state.messages.bytes -= work.payload.len();
        link.notify(&state);
        drop(state);
        // Nobody waits for what a message's handler gives back.
        let _ = work.run(link, false);
    }
}
