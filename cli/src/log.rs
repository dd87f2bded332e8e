//! What `flyrpc serve` tells of the requests it handles

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use flyrpc_driver::{Caller, Context, Outcome, Packet, RemoteError, Request, codes};

use crate::report::{bytes, count, grouped, millis, preview, say};
use crate::side::Side;

/// What the log shows, and how
pub(crate) struct Settings {
    pub(crate) quiet: bool,
    pub(crate) show_payloads: bool,
    pub(crate) handler_timeout: Option<Duration>,
    /// What `big` gives at most, in bytes
    pub(crate) max_payload: u32,
    /// Nothing but messages may be written on standard output
    pub(crate) on_stderr: bool,
}

/// What was handled, for people to see and for `stats` to tell
pub(crate) struct Log {
    pub(crate) settings: Settings,
    start: Instant,
    notes: AtomicU64,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: u64,
    messages: u64,
    errors: u64,
    bytes_in: u64,
    bytes_out: u64,
    by_code: BTreeMap<String, u64>,
}

/// Codes counted apart; a peer that makes up more must not make the table grow
const MAX_CODES: usize = 1000;

/// One that prints nothing
impl Default for Log {
    fn default() -> Self {
        Self::new(Settings {
            quiet: true,
            show_payloads: false,
            handler_timeout: None,
            max_payload: 64 << 20,
            on_stderr: false,
        })
    }
}

impl Log {
    #[expect(clippy::disallowed_methods, reason = "a log tells when things happened")]
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, start: Instant::now(), notes: AtomicU64::new(0), counts: Mutex::default() }
    }

    /// Runs a handler, and shows what became of the request
    pub(crate) fn watch<P: Caller>(
        &self,
        request: &Request<P>,
        handler: impl Fn(&Self, &Request<P>) -> Outcome,
    ) -> Outcome {
        let start = self.start.elapsed();
        let outcome = handler(self, request);
        self.record(request.context(), request.packet(), &outcome, self.start.elapsed() - start);
        outcome
    }

    fn record<P: Caller>(&self, context: &Context<P>, packet: &Packet, outcome: &Outcome, time: Duration) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let wants_reply = packet.flag.is_request();
        *(if wants_reply { &mut counts.requests } else { &mut counts.messages }) += 1;
        counts.bytes_in += packet.payload.len() as u64;
        if let Some(count) = counts.by_code.get_mut(packet.code()) {
            *count += 1;
        } else if counts.by_code.len() < MAX_CODES {
            counts.by_code.insert(packet.code().to_owned(), 1);
        }
        match outcome {
            Ok(answer) => counts.bytes_out += answer.len() as u64,
            Err(_) => counts.errors += 1,
        }
        drop(counts);
        if self.settings.quiet {
            return;
        }
        let mut line = format!(
            "{} {} {} of {}",
            context.remote(),
            kind(packet),
            preview(&packet.code, 40),
            bytes(packet.payload.len() as u64)
        );
        if self.settings.show_payloads {
            line += &format!(" {}", preview(&packet.payload, 40));
        }
        if wants_reply {
            line += &match outcome {
                Ok(answer) if answer.is_empty() => " -> ack".to_owned(),
                Ok(answer) => format!(" -> {}", bytes(answer.len() as u64)),
                Err(error) => format!(" -> error {error}"),
            };
        }
        self.line(&format!("{line} in {}", millis(time)));
    }

    /// A line of the log, unless it is to be quiet
    pub(crate) fn line(&self, text: &str) {
        if !self.settings.quiet {
            self.print(text);
        }
    }

    /// Seconds since the start, and what happened
    pub(crate) fn print(&self, text: &str) {
        self.say(&format!("{:>10.3}  {text}", self.start.elapsed().as_secs_f64()));
    }

    /// A line that is no part of the log
    pub(crate) fn say(&self, text: &str) {
        if self.settings.on_stderr {
            // A server does not depend on somebody's reading its log.
            let _ = writeln!(std::io::stderr(), "{text}");
        } else {
            say(text);
        }
    }

    /// A request that waits for something has come
    pub(crate) fn begins<P: Caller>(&self, context: &Context<P>, packet: &Packet) {
        self.line(&format!("{} {} {:?} begins", context.remote(), kind(packet), packet.code()));
    }

    pub(crate) fn note(&self) {
        self.notes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn notes(&self) -> u64 {
        self.notes.load(Ordering::Relaxed)
    }

    pub(crate) fn stats<P: Side>(&self, request: &Request<P>) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = request.peer().stats();
        serde_json::json!({
            "uptime_seconds": self.start.elapsed().as_secs_f64(),
            "requests": counts.requests,
            "messages": counts.messages,
            "errors": counts.errors,
            "bytes_in": counts.bytes_in,
            "bytes_out": counts.bytes_out,
            "by_code": counts.by_code,
            "this_connection": {
                "requests": connection.requests,
                "messages": connection.notifications,
                "pings_and_hellos": connection.own,
                "refused": connection.rejected,
                "unusable": connection.invalid,
            },
        })
        .to_string()
    }

    pub(crate) fn totals(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (requests, messages) = (count(counts.requests, "request"), count(counts.messages, "message"));
        format!("handled {requests} and {messages}, {} of them with an error", grouped(counts.errors))
    }
}

/// A handler at work, for its line in the log: however it ends, also by being dropped
pub(crate) struct Entry<P: Caller> {
    log: Arc<Log>,
    context: Context<P>,
    packet: Packet,
    start: Duration,
    over: bool,
}

impl<P: Caller> Entry<P> {
    pub(crate) fn new(log: &Arc<Log>, context: &Context<P>, packet: &Packet) -> Self {
        let (log, start) = (Arc::clone(log), log.start.elapsed());
        Self { log, context: context.clone(), packet: packet.clone(), start, over: false }
    }

    /// The handler has ended with this
    pub(crate) fn close(mut self, outcome: Outcome) -> Outcome {
        self.record(&outcome);
        outcome
    }

    fn record(&mut self, outcome: &Outcome) {
        self.over = true;
        self.log.record(&self.context, &self.packet, outcome, self.log.start.elapsed() - self.start);
    }
}

impl<P: Caller> Drop for Entry<P> {
    fn drop(&mut self) {
        if !self.over {
            let time = self.log.start.elapsed() - self.start;
            let overdue = self.log.settings.handler_timeout.is_some_and(|most| time >= most);
            self.record(&Err(RemoteError::new(if overdue { codes::TIMEOUT } else { codes::CANCELLED })));
        }
    }
}

const fn kind(packet: &Packet) -> &'static str {
    if packet.flag.is_request() { "request" } else { "message" }
}
