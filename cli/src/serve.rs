//! `flyrpc serve`

use core::time::Duration;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

use clap::Args;
use flyrpc_blocking::{IntoReply, Limits, RemoteError, Request, Server, codes};

use crate::report::{Failure, bytes, count, grouped, millis, preview, say};
use crate::{MAX_TIME, Zip, seconds};

#[derive(Args)]
pub(crate) struct Options {
    /// Where to listen: host:port, tcp://host:port or unix:/path
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:7000")]
    address: String,
    /// When to compress what is sent
    #[arg(long, value_enum, default_value_t = Zip::Mirror)]
    zip: Zip,
    /// Longest payload to take, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    max_payload: u32,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_connections: usize,
    /// Requests that run at a time, for each connection
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_requests: u32,
    /// On Ctrl-C, give requests under way this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    drain: Duration,
    /// Say nothing about single requests
    #[arg(long, short)]
    quiet: bool,
    /// Show the beginning of payloads as well
    #[arg(long)]
    show_payloads: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let log = Arc::new(Log::new(options.quiet, options.show_payloads));
    let limits = Limits::new().max_payload(options.max_payload).max_unanswered(options.max_requests);
    let (opened, closed) = (Arc::clone(&log), Arc::clone(&log));
    let server = Log::handlers(&log, Server::new())
        .limits(limits)
        .zip(options.zip.into())
        .max_connections(options.max_connections)
        .on_connect(move |peer| opened.line(&format!("{} connected", peer.remote())))
        .on_close(move |peer, why| {
            let stats = peer.stats();
            let refused = u64::from(stats.rejected) + u64::from(stats.invalid);
            let refused = if refused > 0 { format!("; {refused} refused") } else { String::new() };
            closed.line(&format!("{} closed: {why}{refused}", peer.remote()));
        })
        .listen(&options.address)
        .map_err(|error| Failure::listen(&options.address, &error))?;

    let (stop, stopped) = mpsc::channel();
    let hook = ctrlc::set_handler(move || {
        let _ = stop.send(());
    });
    hook.map_err(|error| Failure::new(format!("can't watch for Ctrl-C: {error}")))?;
    say(format_args!("listening on {}; handlers: echo, upper, sleep, stats; Ctrl-C ends", server.address()));
    let _ = stopped.recv();
    log.line("draining");
    server.shutdown(options.drain);
    say(format_args!("{}", log.totals()));
    Ok(ExitCode::SUCCESS)
}

/// What was handled, for people to see and for `stats` to tell
pub(crate) struct Log {
    start: Instant,
    quiet: bool,
    show_payloads: bool,
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

/// The one handler that takes long: its requests are shown when they come as well as when they are answered
const SLOW: &str = "sleep";

/// Codes counted apart; a peer that makes up more must not make the table grow
const MAX_CODES: usize = 1000;

impl Log {
    #[expect(clippy::disallowed_methods, reason = "a log tells when things happened")]
    pub(crate) fn new(quiet: bool, show_payloads: bool) -> Self {
        Self { start: Instant::now(), quiet, show_payloads, counts: Mutex::default() }
    }

    /// Adds the handlers to a server, each with its line in the log
    pub(crate) fn handlers(log: &Arc<Self>, server: Server) -> Server {
        let told = Arc::clone(log);
        server
            .handle("echo", Self::logged(log, |request| Ok(request.payload().to_vec())))
            .handle("upper", Self::logged(log, |request| Ok(request.text()?.to_uppercase().into_bytes())))
            .handle(SLOW, Self::logged(log, sleep))
            .handle("stats", Self::logged(log, move |request| Ok(told.stats(request).into_bytes())))
            .fallback(Self::logged(log, |_| Err(RemoteError::new(codes::NOT_FOUND))))
    }

    /// The handler, with a line in the log for each request
    fn logged(
        log: &Arc<Self>,
        handler: impl Fn(&Request<'_>) -> Result<Vec<u8>, RemoteError> + Send + Sync + 'static,
    ) -> impl Fn(&Request<'_>) -> Result<Vec<u8>, RemoteError> + Send + Sync + 'static {
        let log = Arc::clone(log);
        move |request| {
            let start = log.start.elapsed();
            if request.code() == SLOW {
                log.line(&format!("{} request {SLOW:?} begins", request.peer().remote()));
            }
            let result = handler(request).into_reply();
            log.record(request, &result, log.start.elapsed() - start);
            result
        }
    }

    fn record(&self, request: &Request<'_>, result: &Result<Vec<u8>, RemoteError>, time: Duration) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *(if request.wants_reply() { &mut counts.requests } else { &mut counts.messages }) += 1;
        counts.bytes_in += request.payload().len() as u64;
        if counts.by_code.len() < MAX_CODES || counts.by_code.contains_key(request.code()) {
            *counts.by_code.entry(request.code().to_owned()).or_default() += 1;
        }
        match result {
            Ok(answer) => counts.bytes_out += answer.len() as u64,
            Err(_) => counts.errors += 1,
        }
        drop(counts);
        if self.quiet {
            return;
        }
        let kind = if request.wants_reply() { "request" } else { "message" };
        let mut line = format!(
            "{} {kind} {} of {}",
            request.peer().remote(),
            preview(request.code().as_bytes(), 40),
            bytes(request.payload().len() as u64)
        );
        if self.show_payloads {
            line += &format!(" {}", preview(request.payload(), 40));
        }
        if request.wants_reply() {
            line += &match result {
                Ok(answer) if answer.is_empty() => " -> ack".to_owned(),
                Ok(answer) => format!(" -> {}", bytes(answer.len() as u64)),
                Err(error) => format!(" -> error {error}"),
            };
        }
        self.line(&format!("{line} in {}", millis(time)));
    }

    /// A line of the log: seconds since the start, and what happened
    fn line(&self, text: &str) {
        if !self.quiet {
            say(format_args!("{:>10.3}  {text}", self.start.elapsed().as_secs_f64()));
        }
    }

    fn stats(&self, request: &Request<'_>) -> String {
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

    fn totals(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (requests, messages) = (count(counts.requests, "request"), count(counts.messages, "message"));
        format!("handled {requests} and {messages}, {} of them with an error", grouped(counts.errors))
    }
}

/// Sleeps for the milliseconds in the payload, and stops when nobody waits any more
fn sleep(request: &Request<'_>) -> Result<Vec<u8>, RemoteError> {
    let millis: u64 = request.text()?.trim().parse().map_err(|_| {
        RemoteError::new(codes::BAD_PAYLOAD).details("the payload is a number of milliseconds, as text")
    })?;
    let mut left = Duration::from_millis(millis).min(MAX_TIME);
    while !left.is_zero() {
        let nap = left.min(Duration::from_millis(20));
        std::thread::sleep(nap);
        left -= nap;
        if request.is_cancelled() {
            return Err(RemoteError::new(codes::CANCELLED));
        }
    }
    Ok(format!("slept {millis} ms").into_bytes())
}
