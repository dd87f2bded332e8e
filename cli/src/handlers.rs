//! What `flyrpc serve` answers, in FlyRPC and in JSON-RPC
//!
//! FlyRPC's payloads are text here, and JSON-RPC's the same as JSON.

use core::future::poll_fn;
use core::task::{self, Poll};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flyrpc_driver::{
    Caller, Context, Decode, Dispatched, Outcome, Packet, Protocol, RemoteError, Request, Router, Session,
    codes,
};
use flyrpc_tokio::{Json, Peer, Subscription};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::MAX_TIME;
use crate::arith::{ArithServer, Calculator};
use crate::log::{Entry, Log};
use crate::side::{Kind, Side};

/// For `--help`; the handlers themselves are in [`router`]
pub(crate) const HELP: &str = "\
Handlers, with JSON-RPC's parameters behind them; FlyRPC's payloads are the same as text:
  echo  [..]         the payload as it came
  upper [TEXT]       text in upper case
  sleep [N]          waits for so many milliseconds; ends when it is cancelled
  greet              calls `name` at its caller and answers \"hello, NAME\"
  note  [..]         nothing; the notes are counted
  count              how many notes came; with `order` also how many numbered
                     notes of the connection did not follow one another
  fail  [..]         the error NO_SUCH_LAMP, in JSON-RPC with the code 7, with
                     the payload as its details
  big   [N]          so many bytes
  stats              what was handled, as JSON
  subscribe_ticks    a subscription's id, and then a hundred notifications a
                     second: `ticks` {\"subscription\":ID,\"result\":N}
  unsubscribe_ticks [ID]   ends the subscription
  Arith.Multiply {\"A\":7,\"B\":8}   the product
  Arith.Divide   {\"A\":7,\"B\":2}   {\"Quo\":3,\"Rem\":1}; \"divide by zero\" is an error
  Arith.Sum [1,2,3]            the sum";

/// The handlers, each request with its line in the log
pub(crate) fn router<K: Kind>(log: &Arc<Log>) -> Router<K::Peer> {
    let handlers = Handlers { log: Arc::clone(log), router: Router::new() };
    handlers
        .at_once("echo", |_, request| Ok(request.payload().clone()))
        .at_once("upper", |_, request| Ok(text(request.context(), &text_of(request)?.to_uppercase())))
        .at_once("fail", |_, request| Err(no_such_lamp(request)))
        .at_once("note", |log, request| Ok(note(log, request)))
        .at_once("count", |log, request| Ok(count(log, request)))
        .at_once("big", big)
        .at_once("stats", |log, request| Ok(log.stats(request).into()))
        .later("sleep", |request| async move { sleep::<K>(&request).await })
        .later("greet", |request| async move { greet(&request).await })
        .otherwise(services::<K>())
}

/// Adds a subscription
pub(crate) fn ticks(router: Router<Peer>) -> Router<Peer> {
    router.subscription(
        "subscribe_ticks",
        "ticks",
        "unsubscribe_ticks",
        |ticks: Subscription, _| async move {
            for tick in 0_u64.. {
                if ticks.send(&tick).await.is_err() {
                    break;
                }
                tokio::time::sleep(TICK).await;
            }
        },
    )
}

const TICK: Duration = Duration::from_millis(10);

/// All that has a handler, sorted
pub(crate) fn codes<K: Kind>(handlers: &Router<K::Peer>) -> String {
    let services = services::<K>();
    let mut codes = handlers.codes();
    codes.extend(services.codes());
    codes.sort_unstable();
    codes.join(", ")
}

fn services<K: Kind>() -> Router<K::Peer> {
    let registered = Router::new().register(ArithServer::new(Calculator));
    registered.unwrap_or_else(|_| unreachable!("it is the only service"))
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

    /// A handler that waits: its requests are shown when they come as well as when they are answered
    fn later<F: Future<Output = Outcome> + Send + 'static>(
        mut self,
        code: &str,
        handler: impl Fn(Request<P>) -> F + Send + Sync + 'static,
    ) -> Self {
        let log = Arc::clone(&self.log);
        self.router = self.router.handle(code, move |context: Context<P>, packet: Packet| {
            log.begins(&context, &packet);
            let entry = Entry::new(&log, &context, &packet);
            let answer = handler(Request::new(context, packet));
            async move { entry.close(answer.await) }
        });
        self
    }

    /// Who answers, or does not know, every other code
    fn otherwise(self, services: Router<P>) -> Router<P> {
        let (log, services) = (self.log, Arc::new(services));
        self.router.fallback(move |context: Context<P>, packet: Packet| {
            let entry = Entry::new(&log, &context, &packet);
            let (services, mut request) = (Arc::clone(&services), Some(Request::new(context, packet)));
            async move {
                let begin = |cx: &mut task::Context<'_>| {
                    Poll::Ready(request.take().map(|request| services.dispatch(request, cx)))
                };
                let outcome = match poll_fn(begin).await {
                    Some(Dispatched::Ready(outcome)) => outcome,
                    Some(Dispatched::Pending(answer)) => answer.await,
                    None => Err(RemoteError::new(codes::ERROR)),
                };
                entry.close(outcome)
            }
        })
    }
}

fn is_json<P: Caller>(context: &Context<P>) -> bool {
    context.protocol() == Protocol::JsonRpc
}

/// The parameter in JSON-RPC, whose parameters may be an array of it; the payload as text in FlyRPC
fn parameter<P: Caller, T: DeserializeOwned>(
    request: &Request<P>,
    from_text: impl FnOnce(&str) -> Option<T>,
    what: &str,
) -> Result<T, RemoteError> {
    let found = if is_json(request.context()) {
        request.decode::<Json<T>>().ok().map(|Json(value)| value)
    } else {
        request.text().ok().and_then(from_text)
    };
    found.ok_or_else(|| RemoteError::new(codes::BAD_PAYLOAD).details(what))
}

fn text_of<P: Caller>(request: &Request<P>) -> Result<String, RemoteError> {
    parameter(request, |text| Some(text.to_owned()), "the payload is text")
}

fn number_of<P: Caller>(request: &Request<P>, what: &str) -> Result<u64, RemoteError> {
    parameter(request, |text| text.trim().parse().ok(), what)
}

/// A text as the protocol has it
pub(crate) fn text<P: Caller>(context: &Context<P>, text: &str) -> Bytes {
    if is_json(context) { json(&text) } else { Bytes::copy_from_slice(text.as_bytes()) }
}

fn json(value: &impl Serialize) -> Bytes {
    // Texts and numbers always have a form.
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn no_such_lamp<P: Caller>(request: &Request<P>) -> RemoteError {
    let error = RemoteError::new("NO_SUCH_LAMP").details(request.payload().to_vec());
    if is_json(request.context()) { error.number(7) } else { error }
}

fn note<P: Caller>(log: &Log, request: &Request<P>) -> Bytes {
    if let Ok(number) = number_of(request, "") {
        numbered(request.context().session()).take(number);
    }
    log.note();
    Bytes::new()
}

fn count<P: Caller>(log: &Log, request: &Request<P>) -> Bytes {
    let (notes, context) = (log.notes(), request.context());
    let with_order = text_of(request).is_ok_and(|text| text == "order");
    let misplaced = || numbered(context.session()).misplaced();
    match (is_json(context), with_order) {
        (true, true) => json(&[notes, misplaced()]),
        (false, true) => format!("{notes} {}", misplaced()).into(),
        (_, false) => notes.to_string().into(),
    }
}

fn big<P: Caller>(log: &Log, request: &Request<P>) -> Outcome {
    let len = number_of(request, "the payload is a number of bytes, as text")?;
    if len > u64::from(log.settings.max_payload) {
        return Err(RemoteError::new(codes::TOO_LARGE));
    }
    let letters = (b'a'..=b'z').cycle().take(len as usize);
    let quote = is_json(request.context()).then_some(b'"');
    Ok(quote.into_iter().chain(letters).chain(quote).collect())
}

async fn greet<P: Side>(request: &Request<P>) -> Outcome {
    // The server calls its client while it handles the client's call.
    let name = request.peer().call("name", b"", GREET_TIME).await?;
    let name = if is_json(request.context()) {
        Json::<String>::decode(&name)?.0
    } else {
        String::from_utf8_lossy(&name).into_owned()
    };
    Ok(text(request.context(), &format!("hello, {name}")))
}

const GREET_TIME: Duration = Duration::from_secs(10);

async fn sleep<K: Kind>(request: &Request<K::Peer>) -> Outcome {
    let millis = number_of(request, "the payload is a number of milliseconds, as text")?;
    K::sleep(request.context(), Duration::from_millis(millis).min(MAX_TIME)).await?;
    // Not null in JSON-RPC either: clients of version 1.0 take that for no answer.
    Ok(text(request.context(), &format!("slept {millis} ms")))
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
