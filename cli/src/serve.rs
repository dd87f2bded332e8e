//! `flyrpc serve`

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use flyrpc_driver::{
    Caller, Context, Limits, Outcome, Overload, Packet, RemoteError, Request, Router, Session, codes,
};
use flyrpc_tokio::{Server, Tokio};

use crate::report::{Failure, bytes, count, grouped, millis, preview, say};
use crate::side::{Kind, On, Side};
use crate::{Interrupts, MAX_TIME, Zip, seconds, trace};

#[derive(Args)]
#[command(after_help = HANDLERS)]
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
    /// Ping a peer from which nothing comes for so long, and take it for lost when as long again nothing comes
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    keepalive: Option<Duration>,
    /// Answer TIMEOUT when a handler takes longer
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    handler_timeout: Option<Duration>,
    /// On Ctrl-C, give requests under way this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    drain: Duration,
    /// Say nothing about single requests
    #[arg(long, short)]
    quiet: bool,
    /// Show the beginning of payloads as well
    #[arg(long)]
    show_payloads: bool,
    /// Show each packet, both ways: kind, sequence, code and length
    #[arg(long)]
    trace: bool,
}

/// For `--help`; the handlers themselves are in [`Log::router`]
const HANDLERS: &str = "\
Handlers:
  echo    the payload as it came
  upper   text in upper case
  sleep   waits for so many milliseconds; ends when it is cancelled
  greet   calls `name` at its caller and answers \"hello, NAME\"
  note    nothing; the notes are counted
  count   how many notes came; with payload `order` also how many numbered notes of the connection
          did not follow one another
  fail    the error NO_SUCH_LAMP, with the payload as its details
  big     so many bytes
  stats   what was handled, as JSON";

pub(crate) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut interrupts = Interrupts::watch()?;
    let log = Arc::new(Log {
        quiet: options.quiet,
        show_payloads: options.show_payloads,
        handler_timeout: options.handler_timeout,
        max_payload: options.max_payload,
        ..Log::default()
    });
    let limits = Limits::new().max_payload(options.max_payload).max_unanswered(options.max_requests);
    let router = Log::router::<On<Tokio>>(&log);
    let handlers = router.codes().join(", ");
    let (opened, closed, traced) = (Arc::clone(&log), Arc::clone(&log), Arc::clone(&log));
    let mut server = Server::new()
        .router(router)
        .limits(limits)
        .zip(options.zip.into())
        .max_connections(options.max_connections, Overload::Refuse)
        .on_connect(move |peer| opened.line(&format!("{} connected", peer.remote())))
        .on_close(move |peer, why| {
            let stats = peer.stats();
            let refused = u64::from(stats.rejected) + u64::from(stats.invalid);
            let refused = if refused > 0 { format!("; {refused} refused") } else { String::new() };
            closed.line(&format!("{} closed: {why}{refused}", peer.remote()));
        });
    if let Some(time) = options.keepalive {
        server = server.keepalive(time, time);
    }
    if let Some(time) = options.handler_timeout {
        server = server.handler_timeout(time);
    }
    if options.trace {
        server = server.on_packet(move |info, direction, packet| {
            traced.print(&format!("{} {}", info.remote, trace::line(direction, packet)));
        });
    }
    let listening = server.listen(&options.address).await;
    let server = listening.map_err(|error| Failure::listen(&options.address, &error))?;

    say(format_args!("listening on {}; handlers: {handlers}; Ctrl-C ends", server.address()));
    interrupts.next().await;
    log.line("draining");
    tokio::select! {
        () = server.shutdown(options.drain) => {}
        // A second Ctrl-C is for those who do not want to wait.
        () = interrupts.next() => {}
    }
    say(format_args!("{}", log.totals()));
    Ok(ExitCode::SUCCESS)
}

/// What was handled, for people to see and for `stats` to tell
pub(crate) struct Log {
    start: Instant,
    quiet: bool,
    show_payloads: bool,
    handler_timeout: Option<Duration>,
    /// What `big` gives at most, in bytes
    max_payload: u32,
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
    #[expect(clippy::disallowed_methods, reason = "a log tells when things happened")]
    fn default() -> Self {
        Self {
            start: Instant::now(),
            quiet: true,
            show_payloads: false,
            handler_timeout: None,
            max_payload: 64 << 20,
            notes: AtomicU64::new(0),
            counts: Mutex::default(),
        }
    }
}

impl Log {
    /// The handlers, each request with its line in the log
    pub(crate) fn router<K: Kind>(log: &Arc<Self>) -> Router<K::Peer> {
        let handlers = Handlers { log: Arc::clone(log), router: Router::new() };
        handlers
            .at_once("echo", |_, request| Ok(request.payload().clone()))
            .at_once("upper", |_, request| Ok(request.text()?.to_uppercase().into()))
            .at_once("fail", |_, request| Err(no_such_lamp(request.payload())))
            .at_once("note", |log, request| Ok(log.note(request)))
            .at_once("count", |log, request| Ok(log.count(request).into()))
            .at_once("big", |log, request| log.big(request))
            .at_once("stats", |log, request| Ok(log.stats(request).into()))
            .later("sleep", |context, packet| async move { sleep::<K>(&context, &packet).await })
            .later("greet", |context, _| async move { greet(&context).await })
            .otherwise(|_, _| Err(RemoteError::new(codes::NOT_FOUND)))
    }

    /// Runs a handler, and shows what became of the request
    fn watch<P: Caller>(
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
        if self.quiet {
            return;
        }
        let mut line = format!(
            "{} {} {} of {}",
            context.remote(),
            kind(packet),
            preview(&packet.code, 40),
            bytes(packet.payload.len() as u64)
        );
        if self.show_payloads {
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
    fn line(&self, text: &str) {
        if !self.quiet {
            self.print(text);
        }
    }

    /// Seconds since the start, and what happened
    fn print(&self, text: &str) {
        say(format_args!("{:>10.3}  {text}", self.start.elapsed().as_secs_f64()));
    }

    fn note<P: Caller>(&self, request: &Request<P>) -> Bytes {
        if let Some(number) = request.text().ok().and_then(|text| text.parse().ok()) {
            numbered(request.context().session()).take(number);
        }
        self.notes.fetch_add(1, Ordering::Relaxed);
        Bytes::new()
    }

    fn count<P: Caller>(&self, request: &Request<P>) -> String {
        let notes = self.notes.load(Ordering::Relaxed);
        if request.payload() == "order" {
            format!("{notes} {}", numbered(request.context().session()).misplaced())
        } else {
            notes.to_string()
        }
    }

    fn big<P: Caller>(&self, request: &Request<P>) -> Outcome {
        let len = number(request.payload(), "the payload is a number of bytes, as text")?;
        if len > u64::from(self.max_payload) {
            return Err(RemoteError::new(codes::TOO_LARGE));
        }
        Ok((b'a'..=b'z').cycle().take(len as usize).collect())
    }

    fn stats<P: Side>(&self, request: &Request<P>) -> String {
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

/// A router of handlers that have lines in the log
struct Handlers<P> {
    log: Arc<Log>,
    router: Router<P>,
}

impl<P: Side> Handlers<P> {
    /// A handler that answers at once
    fn at_once(
        mut self,
        code: &str,
        handler: impl Fn(&Log, &Request<P>) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        let log = Arc::clone(&self.log);
        self.router = self.router.handle(code, move |request: &Request<P>| log.watch(request, &handler));
        self
    }

    /// What answers every other code
    fn otherwise(self, handler: impl Fn(&Log, &Request<P>) -> Outcome + Send + Sync + 'static) -> Router<P> {
        let log = self.log;
        self.router.fallback(move |request: &Request<P>| log.watch(request, &handler))
    }

    /// A handler that waits: its requests are shown when they come as well as when they are answered
    fn later<F: Future<Output = Outcome> + Send + 'static>(
        mut self,
        code: &str,
        handler: impl Fn(Context<P>, Packet) -> F + Send + Sync + 'static,
    ) -> Self {
        let log = Arc::clone(&self.log);
        self.router = self.router.handle(code, move |context: Context<P>, packet: Packet| {
            log.line(&format!("{} {} {:?} begins", context.remote(), kind(&packet), packet.code()));
            let answer = handler(context.clone(), packet.clone());
            let (log, start) = (Arc::clone(&log), log.start.elapsed());
            let mut entry = Entry { log, context, packet, start, over: false };
            async move {
                let outcome = answer.await;
                entry.close(&outcome);
                outcome
            }
        });
        self
    }
}

/// A handler at work, for its line in the log: however it ends, also by being dropped
struct Entry<P: Caller> {
    log: Arc<Log>,
    context: Context<P>,
    packet: Packet,
    start: Duration,
    over: bool,
}

impl<P: Caller> Entry<P> {
    fn close(&mut self, outcome: &Outcome) {
        self.over = true;
        self.log.record(&self.context, &self.packet, outcome, self.log.start.elapsed() - self.start);
    }
}

impl<P: Caller> Drop for Entry<P> {
    fn drop(&mut self) {
        if !self.over {
            let time = self.log.start.elapsed() - self.start;
            let overdue = self.log.handler_timeout.is_some_and(|most| time >= most);
            self.close(&Err(RemoteError::new(if overdue { codes::TIMEOUT } else { codes::CANCELLED })));
        }
    }
}

/// A connection's numbered notes: the last number, and how many did not follow the one before
#[derive(Default)]
struct Numbered(Mutex<(u64, u64)>);

impl Numbered {
    fn take(&self, number: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, misplaced) = *state;
        *state = (number, misplaced + u64::from(Some(number) != last.checked_add(1)));
    }

    fn misplaced(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

fn numbered(session: &Session) -> Arc<Numbered> {
    session.get_or_insert_with(Numbered::default)
}

const fn kind(packet: &Packet) -> &'static str {
    if packet.flag.is_request() { "request" } else { "message" }
}

fn no_such_lamp(details: &Bytes) -> RemoteError {
    RemoteError::new("NO_SUCH_LAMP").details(details.to_vec())
}

/// A payload that is a number, or the error that says so
fn number(payload: &Bytes, otherwise: &str) -> Result<u64, RemoteError> {
    let number = core::str::from_utf8(payload).ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| RemoteError::new(codes::BAD_PAYLOAD).details(otherwise))
}

async fn greet<P: Side>(context: &Context<P>) -> Outcome {
    // The server calls its client while it handles the client's call.
    let name = context.peer().call("name", b"", GREET_TIME).await?;
    Ok([b"hello, ", &name[..]].concat().into())
}

const GREET_TIME: Duration = Duration::from_secs(10);

async fn sleep<K: Kind>(context: &Context<K::Peer>, packet: &Packet) -> Outcome {
    let millis = number(&packet.payload, "the payload is a number of milliseconds, as text")?;
    K::sleep(context, Duration::from_millis(millis).min(MAX_TIME)).await?;
    Ok(format!("slept {millis} ms").into())
}
