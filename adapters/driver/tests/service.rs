//! Services: names, arguments and results on the wire, in every format, and registration

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use core::task::{Context as Task, Poll, Waker};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use common::{Hand, block_on, reset};
use flyrpc_driver::{
    Caller, Calls, Client, Connected, Context, Dispatched, Error, Flag, FormatError, Info, Outcome, Packet,
    Payload, Peer, RemoteError, Request, RequestId, Router, Server, ServerHandle, Service, State, WireFormat,
    codes, service,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pair {
    a: i64,
    b: i64,
}

/// Every way to pass something
#[service]
trait Ways {
    fn two(&self, a: i64, b: i64) -> i64;
    fn optional(&self, text: String, times: Option<u8>) -> String;
    fn pair(&self, pair: Pair) -> i64;
    fn text(&self, text: &str) -> usize;
    fn list(&self, items: &[u32]) -> u32;
    fn map(&self, map: BTreeMap<String, i64>) -> i64;
    fn lent(&self, pair: &Pair) -> i64;
    #[rpc(params = "named")]
    fn by_name(&self, a: i64, #[rpc(rename = "type")] b: i64) -> i64;
    #[rpc(params = "named")]
    fn one_by_name(&self, pair: Pair) -> i64;
    #[rpc(params = "single")]
    fn alone(&self, items: Vec<u32>) -> u32;
    fn nothing(&self);
    fn maybe(&self) -> Result<Option<u8>, RemoteError>;
    async fn later(&self, r#type: i64) -> Result<i64, &'static str> {
        if r#type < 0 { Err("NEGATIVE") } else { Ok(r#type) }
    }
    #[rpc(notification)]
    async fn told(&self, line: String);
}

#[derive(Default)]
struct All(Mutex<Vec<String>>);

impl Ways for All {
    fn two(&self, a: i64, b: i64) -> i64 {
        a * 10 + b
    }

    fn optional(&self, text: String, times: Option<u8>) -> String {
        text.repeat(times.unwrap_or(2).into())
    }

    fn pair(&self, Pair { a, b }: Pair) -> i64 {
        self.two(a, b)
    }

    fn text(&self, text: &str) -> usize {
        text.len()
    }

    fn list(&self, items: &[u32]) -> u32 {
        items.iter().sum()
    }

    fn map(&self, map: BTreeMap<String, i64>) -> i64 {
        map.into_values().sum()
    }

    fn lent(&self, Pair { a, b }: &Pair) -> i64 {
        self.two(*a, *b)
    }

    fn by_name(&self, a: i64, b: i64) -> i64 {
        self.two(a, b)
    }

    fn one_by_name(&self, pair: Pair) -> i64 {
        self.pair(pair)
    }

    fn alone(&self, items: Vec<u32>) -> u32 {
        self.list(&items)
    }

    fn nothing(&self) {}

    fn maybe(&self) -> Result<Option<u8>, RemoteError> {
        Ok(None)
    }

    async fn told(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

/// The other end of a connection with a format of its own
#[derive(Clone)]
struct Formatted(Peer, WireFormat);

impl Caller for Formatted {
    fn info(&self) -> &Info {
        self.0.info()
    }

    fn is_cancelled(&self, request: RequestId) -> bool {
        self.0.is_cancelled(request)
    }

    fn poll_cancelled(&self, request: RequestId, cx: &mut Task<'_>) -> Poll<()> {
        self.0.poll_cancelled(request, cx)
    }

    fn format(&self) -> WireFormat {
        self.1
    }
}

/// Calls a router in the same process, and notes what goes over
struct Loop {
    router: Router<Formatted>,
    peer: Formatted,
    sent: Mutex<Vec<(String, Bytes)>>,
    answered: Mutex<Bytes>,
    _both: (ServerHandle<Hand>, Connected),
}

impl Loop {
    fn new(format: WireFormat) -> Self {
        Self::of(format, Router::new().register(WaysServer::new(All::default())).unwrap())
    }

    fn of(format: WireFormat, router: Router<Formatted>) -> Self {
        reset();
        let server = block_on(Server::<Hand>::new().listen("loop:1")).unwrap();
        let client = block_on(Client::<Hand>::new().connect("loop:1")).unwrap();
        let peer = Formatted(client.peer(), format);
        Self { router, peer, sent: Mutex::default(), answered: Mutex::default(), _both: (server, client) }
    }

    fn dispatch(&self, code: &str, payload: Bytes) -> Outcome {
        let context = Context::new(self.peer.clone(), RequestId { index: 0, generation: 0 }, None);
        let code = Bytes::copy_from_slice(code.as_bytes());
        let request = Request::new(context, Packet { flag: Flag::REQUEST, sequence: 1, code, payload });
        match self.router.dispatch(request, &mut Task::from_waker(Waker::noop())) {
            Dispatched::Ready(outcome) => outcome,
            Dispatched::Pending(_) => panic!("nothing here waits"),
        }
    }

    /// What a payload as it is is answered with
    fn raw(&self, code: &str, payload: &str) -> Result<String, String> {
        self.dispatch(code, payload.to_owned().into())
            .map(|payload| String::from_utf8(payload.into()).unwrap())
            .map_err(|error| error.code)
    }

    /// What was sent last
    fn last(&self) -> (String, Bytes) {
        self.sent.lock().unwrap().last().cloned().unwrap()
    }

    fn text(&self) -> (String, String) {
        let (code, payload) = self.last();
        (code, String::from_utf8(payload.into()).unwrap())
    }
}

impl Calls for &Loop {
    type Call<'a, T: DeserializeOwned>
        = Result<T, Error>
    where
        Self: 'a;
    type Sending<'a>
        = Result<(), Error>
    where
        Self: 'a;

    fn wire_format(&self) -> WireFormat {
        self.peer.format()
    }

    fn call_service<'a, T: DeserializeOwned>(
        &'a self,
        code: &'a str,
        payload: Result<Payload<'static>, FormatError>,
        _: Option<Duration>,
    ) -> Result<T, Error> {
        let payload = payload.map_err(Error::Unencodable)?.into_bytes();
        self.sent.lock().unwrap().push((code.to_owned(), payload.clone()));
        let answer = self.dispatch(code, payload)?;
        *self.answered.lock().unwrap() = answer.clone();
        self.wire_format().decode_result(&answer)
    }

    fn notify_service<'a>(
        &'a self,
        code: &'a str,
        payload: Result<Payload<'static>, FormatError>,
    ) -> Result<(), Error> {
        self.call_service(code, payload, None)
    }
}

#[test]
fn arguments_are_an_array_or_as_the_method_says() {
    let ends = Loop::new(WireFormat::Json);
    let ways = WaysClient::new(&ends);
    let sent = |code: &str, payload: &str| assert_eq!(ends.text(), (code.to_owned(), payload.to_owned()));
    assert_eq!(ways.two(7, 2), Ok(72));
    sent("Ways.Two", "[7,2]");
    assert_eq!(ways.optional("ab".to_owned(), None), Ok("abab".to_owned()));
    sent("Ways.Optional", r#"["ab",null]"#);
    assert_eq!(ways.pair(Pair { a: 7, b: 2 }), Ok(72));
    sent("Ways.Pair", r#"[{"a":7,"b":2}]"#);
    assert_eq!(ways.text("four"), Ok(4));
    sent("Ways.Text", r#"["four"]"#);
    assert_eq!(ways.list(&[1, 2, 3]), Ok(6));
    sent("Ways.List", "[[1,2,3]]");
    assert_eq!(ways.map([("a".to_owned(), 1)].into()), Ok(1));
    sent("Ways.Map", r#"[{"a":1}]"#);
    assert_eq!(ways.lent(&Pair { a: 7, b: 2 }), Ok(72));
    sent("Ways.Lent", r#"[{"a":7,"b":2}]"#);
    assert_eq!(ways.by_name(7, 2), Ok(72));
    sent("Ways.ByName", r#"{"a":7,"type":2}"#);
    assert_eq!(ways.one_by_name(Pair { a: 7, b: 2 }), Ok(72));
    sent("Ways.OneByName", r#"{"pair":{"a":7,"b":2}}"#);
    assert_eq!(ways.alone(vec![1, 2]), Ok(3));
    sent("Ways.Alone", "[1,2]");
    assert_eq!(ways.nothing(), Ok(()));
    sent("Ways.Nothing", "");
    assert!(ends.answered.lock().unwrap().is_empty(), "the implicit ack");
    assert_eq!(ways.maybe(), Ok(None));
    assert_eq!(*ends.answered.lock().unwrap(), "null");
    assert_eq!(ways.later(3), Ok(3));
    sent("Ways.Later", "[3]");
    assert_eq!(ways.later(-3), Err(Error::Remote(RemoteError::new("NEGATIVE"))));
    ways.told("a line".to_owned()).unwrap();
    sent("Ways.Told", r#"["a line"]"#);
}

#[test]
fn arguments_are_taken_in_order_by_name_or_alone() {
    let ends = Loop::new(WireFormat::Json);
    let good = |code: &str, payload: &str, result: &str| {
        assert_eq!(ends.raw(code, payload).as_deref(), Ok(result), "{code} {payload}");
    };
    let bad = |code: &str, payload: &str| {
        assert_eq!(ends.raw(code, payload), Err(codes::BAD_PAYLOAD.to_owned()), "{code} {payload}");
    };
    // Several: in order, or by name, whatever the client would do; of two members with the same name the last counts
    for code in ["Ways.Two", "Ways.ByName"] {
        good(code, " [7, 2]\n", "72");
        for payload in
            ["[7]", "[7,2,1]", "[7,\"2\"]", "[]", "{}", r#"{"a":7}"#, "7", "null", "", " ", "[7,2", "[7,2]]"]
        {
            bad(code, payload);
        }
    }
    good("Ways.Two", r#"{"b":2,"a":7}"#, "72");
    good("Ways.Two", r#"{"b":3,"b":2,"a":7}"#, "72");
    good("Ways.Two", r#"{"c":[{}],"b":2,"a":7}"#, "72");
    good("Ways.ByName", r#"{"type":2,"a":7}"#, "72");
    bad("Ways.ByName", r#"{"b":2,"a":7}"#);
    bad("Ways.Two", r#"{"A":7,"b":2}"#);
    // What may be absent is
    for payload in [r#"["ab"]"#, r#"["ab",null]"#, r#"{"text":"ab"}"#, r#"{"times":2,"text":"ab"}"#] {
        good("Ways.Optional", payload, "\"abab\"");
    }
    bad("Ways.Optional", "[null,2]");
    // One: an object is the argument, an array with one element holds it, and it may come as it is
    for payload in [r#"{"a":7,"b":2}"#, r#"[{"a":7,"b":2}]"#, r#"{"pair":{"a":7,"b":2}}"#] {
        good("Ways.Pair", payload, "72");
    }
    for payload in [r#"{"a":7}"#, r#"[{"a":7,"b":2},1]"#, "[]", "null", ""] {
        bad("Ways.Pair", payload);
    }
    for payload in [r#""four""#, r#"["four"]"#, r#"{"text":"four"}"#] {
        good("Ways.Text", payload, "4");
    }
    good("Ways.List", "[[1,2]]", "3");
    bad("Ways.List", "[1,2]");
    // A map takes any object, so it is the argument and not its name
    good("Ways.Map", r#"{"map":5}"#, "5");
    good("Ways.OneByName", r#"{"pair":{"a":7,"b":2}}"#, "72");
    bad("Ways.OneByName", r#"{"a":7,"b":2}"#);
    good("Ways.OneByName", r#"[{"a":7,"b":2}]"#, "72");
    // One that is sent as it is
    good("Ways.Alone", "[1,2]", "3");
    good("Ways.Alone", "[[1,2]]", "3");
    good("Ways.Alone", r#"{"items":[1,2]}"#, "3");
    // None
    for payload in ["", "[]", "{}", r#"{"a":1}"#, "null", " \n"] {
        good("Ways.Nothing", payload, "");
    }
    for payload in ["[1]", "1", "nul", "{"] {
        bad("Ways.Nothing", payload);
    }
    // A raw identifier goes without its mark
    good("Ways.Later", r#"{"type":3}"#, "3");
}

#[test]
fn p22_a_wrong_shape_is_told_without_its_bytes() {
    let ends = Loop::new(WireFormat::Json);
    for payload in [r#"["secret",1]"#, r#"{"secret":1}"#, r#"{"a":"secret","b":1}"#, "\"secret\"", "secret"] {
        let error = ends.dispatch("Ways.Two", payload.to_owned().into()).unwrap_err();
        assert_eq!(error.code, codes::BAD_PAYLOAD);
        let details = String::from_utf8(error.details).unwrap();
        assert!(details.starts_with("not JSON for (i64, i64): "), "{details}");
        assert!(!details.contains("secret"), "{details}");
    }
}

#[test]
fn p17_deep_arguments_end_in_an_error() {
    let ends = Loop::new(WireFormat::Json);
    for open in ["[", "{\"a\":", "{\"unknown\":["] {
        assert_eq!(ends.raw("Ways.Two", &open.repeat(100_000)), Err(codes::BAD_PAYLOAD.to_owned()));
    }
}

#[cfg(feature = "msgpack")]
#[test]
fn message_pack_has_names_too() {
    let ends = Loop::new(WireFormat::MsgPack);
    let ways = WaysClient::new(&ends);
    assert_eq!(ways.two(7, 2), Ok(72));
    assert_eq!(ends.last().1, b"\x92\x07\x02"[..]);
    assert_eq!(ways.by_name(7, 2), Ok(72));
    assert_eq!(ends.last().1, b"\x82\xa1a\x07\xa4type\x02"[..]);
    assert_eq!(ways.optional("ab".to_owned(), Some(3)), Ok("ababab".to_owned()));
    assert_eq!(ways.pair(Pair { a: 7, b: 2 }), Ok(72));
    assert_eq!(ends.last().1, b"\x91\x82\xa1a\x07\xa1b\x02"[..]);
    assert_eq!(ways.alone(vec![1, 2]), Ok(3));
    assert_eq!(ends.last().1, b"\x92\x01\x02"[..]);
    assert_eq!(ways.nothing(), Ok(()));
    assert_eq!(ways.maybe(), Ok(None));
    assert_eq!(*ends.answered.lock().unwrap(), b"\xc0"[..]);
    assert_eq!(ways.list(&[1, 2, 3]), Ok(6));
    // An object that is the argument, a bare one, and lengths that are lies (P17)
    let raw = |code: &str, payload: &'static [u8]| ends.dispatch(code, Bytes::from_static(payload));
    assert_eq!(raw("Ways.Pair", b"\x82\xa1a\x07\xa1b\x02"), Ok(Bytes::from_static(b"\x48")));
    assert_eq!(raw("Ways.Text", b"\xa4four"), Ok(Bytes::from_static(b"\x04")));
    for lie in [
        &b"\xdd\xff\xff\xff\xff\x07\x02"[..],
        b"\xdf\xff\xff\xff\xff\xa1a\x07",
        b"\x92\x07",
        b"\x93\x07\x02\x01",
    ] {
        assert_eq!(raw("Ways.Two", lie).map_err(|error| error.code), Err(codes::BAD_PAYLOAD.to_owned()));
    }
    let lie = b"\x91\xdd\xff\xff\xff\xff\x01";
    assert_eq!(raw("Ways.List", lie).map_err(|error| error.code), Err(codes::BAD_PAYLOAD.to_owned()));
}

#[cfg(feature = "postcard")]
#[test]
fn postcard_knows_order_only() {
    let ends = Loop::new(WireFormat::Postcard);
    let ways = WaysClient::new(&ends);
    assert_eq!(ways.two(7, 2), Ok(72));
    assert_eq!(ends.last().1, [14, 4][..]);
    assert_eq!(ways.by_name(7, 2), Ok(72));
    assert_eq!(ends.last().1, [14, 4][..]);
    assert_eq!(ways.pair(Pair { a: 7, b: 2 }), Ok(72));
    assert_eq!(ends.last().1, [14, 4][..]);
    assert_eq!(ways.alone(vec![1, 2]), Ok(3));
    assert_eq!(ends.last().1, [2, 1, 2][..]);
    assert_eq!(ways.optional("ab".to_owned(), None), Ok("abab".to_owned()));
    assert_eq!(ways.nothing(), Ok(()));
    assert_eq!(ways.maybe(), Ok(None));
    assert_eq!(*ends.answered.lock().unwrap(), [0][..]);
    for wrong in [&b""[..], &[14], &[14, 4, 1]] {
        let answer = ends.dispatch("Ways.Two", Bytes::copy_from_slice(wrong));
        assert_eq!(answer.map_err(|error| error.code), Err(codes::BAD_PAYLOAD.to_owned()));
    }
}

#[service(name = "arith", rename_all = "snake_case", separator = "_", params = "named")]
trait Snake {
    fn multiply_all(&self, a: i64) -> i64;
}

#[service(name = "textDocument", rename_all = "camelCase", separator = "/")]
trait Document {
    fn did_open(&self);
    #[rpc(rename = "hover")]
    fn hover_over(&self);
    #[rpc(name = "$/progress")]
    fn progress(&self);
}

#[service(name = "", rename_all = "camelCase")]
trait Bare {
    fn subtract(&self, a: i64, b: i64) -> i64;
}

struct Names;

impl Snake for Names {
    fn multiply_all(&self, a: i64) -> i64 {
        a
    }
}

impl Document for Names {
    fn did_open(&self) {}
    fn hover_over(&self) {}
    fn progress(&self) {}
}

impl Bare for Names {
    fn subtract(&self, a: i64, b: i64) -> i64 {
        a - b
    }
}

/// What a macro hands on stands in invisible parentheses
macro_rules! made {
    ($name:ident, $argument:ty, $text:ty, $result:ty) => {
        #[service(params = "single")]
        trait $name {
            fn get(&self, argument: $argument) -> $result;
            fn len(&self, text: $text) -> usize;
            fn nothing(&self) -> ();
        }
    };
}
made!(Made, u8, &str, Result<u8, RemoteError>);

impl Made for Names {
    fn get(&self, argument: u8) -> Result<u8, RemoteError> {
        Ok(argument)
    }

    fn len(&self, text: &str) -> usize {
        text.len()
    }

    fn nothing(&self) {}
}

#[test]
fn a_macro_may_make_the_trait() {
    let ends = Loop::of(WireFormat::Json, Router::new().register(MadeServer::new(Names)).unwrap());
    let made = MadeClient::new(&ends);
    assert_eq!(made.get(7), Ok(7));
    assert_eq!(ends.text(), ("Made.Get".to_owned(), "7".to_owned()));
    assert_eq!(made.len("four"), Ok(4));
    assert_eq!(made.nothing(), Ok(()));
    assert_eq!(ends.text(), ("Made.Nothing".to_owned(), String::new()));
}

#[test]
fn names_are_as_the_trait_says() {
    let router: Router<Formatted> = Router::new()
        .register(SnakeServer::new(Names))
        .and_then(|router| router.register(DocumentServer::new(Names)))
        .and_then(|router| router.register(BareServer::new(Names)))
        .unwrap();
    let codes =
        ["$/progress", "arith_multiply_all", "subtract", "textDocument/didOpen", "textDocument/hover"];
    assert_eq!(router.codes(), codes);
    let ends = Loop::of(WireFormat::Json, router);
    assert_eq!(SnakeClient::new(&ends).multiply_all(3), Ok(3));
    assert_eq!(ends.text(), ("arith_multiply_all".to_owned(), r#"{"a":3}"#.to_owned()));
    assert_eq!(BareClient::new(&ends).subtract(42, 23), Ok(19));
    assert_eq!(DocumentClient::new(&ends).did_open(), Ok(()));
    assert_eq!(DocumentClient::new(&ends).progress(), Ok(()));
}

#[test]
fn a_service_may_be_registered_under_other_names() {
    let router: Router<Formatted> = Router::new()
        .register(DocumentServer::new(Names))
        .and_then(|router| router.register_name("fields", BareServer::new(Names)))
        .unwrap();
    assert_eq!(
        router.codes(),
        ["$/progress", "fields.subtract", "textDocument/didOpen", "textDocument/hover"]
    );
    let ends = Loop::of(WireFormat::Json, router);
    assert_eq!(BareClient::named(&ends, "fields").subtract(42, 23), Ok(19));
    assert_eq!(BareClient::new(&ends).subtract(1, 1), Err(Error::Remote(RemoteError::new(codes::NOT_FOUND))));
    // A full name stays what it is.
    let document = DocumentClient::named(&ends, "other");
    assert_eq!(document.progress(), Ok(()));
    assert!(document.did_open().is_err());
    assert_eq!(ends.last().0, "other/didOpen");
}

#[test]
fn what_is_registered_twice_or_has_no_methods_is_refused() {
    let router = || Router::<Peer>::new().register(WaysServer::new(All::default())).unwrap();
    let refused = |result: Result<Router<Peer>, flyrpc_driver::RegisterError>| {
        let error = result.map(drop).unwrap_err();
        (error.service().to_owned(), error.to_string())
    };
    let text = |service: &str, text: &str| (service.to_owned(), text.to_owned());
    let again = router().register(WaysServer::new(All::default()));
    assert_eq!(refused(again), text("Ways", "service Ways is registered already"));
    let again = router().register_name("Ways", BareServer::new(Names));
    assert_eq!(refused(again), text("Ways", "service Ways is registered already"));
    let none = router().register(Service::named("Empty"));
    assert_eq!(refused(none), text("Empty", "service Empty has no methods"));
    let twice = router().register(Service::named("Text").method("A", || "").method("A", || ""));
    assert_eq!(refused(twice), text("Text", "method Text.A is registered already"));
    let taken = router().handle("subtract", || "").register(BareServer::new(Names));
    assert_eq!(refused(taken), text("", "method subtract is registered already"));
    assert!(router().register_name("Ways2", WaysServer::new(All::default())).is_ok());
}

#[test]
fn services_can_be_made_by_hand() {
    mod geometry {
        pub(super) struct Shapes<T>(pub(super) T);
    }
    let service =
        Service::<Peer>::of::<geometry::Shapes<Vec<u8>>>().method("Area", || "7").method_as("ping", || "");
    assert_eq!(service.name(), "Shapes");
    assert_eq!(service.codes().collect::<Vec<_>>(), ["Shapes.Area", "ping"]);
    assert_eq!(format!("{service:?}"), r#"Service { name: "Shapes", codes: ["Shapes.Area", "ping"] }"#);
    assert_eq!(Service::<Peer>::of::<dyn Ways2>().name(), "Ways2");
}

trait Ways2 {}

#[service]
trait Contexts {
    async fn remote(&self, a: u8, #[rpc(context)] context: Context<Peer>, b: u8) -> String;
    fn shared(&self, #[rpc(context)] number: State<u32>) -> u32;
    fn lent(&self, #[rpc(context)] context: &Context<Peer>) -> Result<String, Error>;
    #[rpc(notification)]
    async fn add(&self, n: u32, #[rpc(context)] context: Context<Peer>);
    async fn for_ever(&self);
}

struct Who;

impl Contexts for Who {
    async fn remote(&self, a: u8, context: Context<Peer>, b: u8) -> String {
        format!("{a} {} {b}", context.remote())
    }

    fn shared(&self, number: State<u32>) -> u32 {
        *number
    }

    fn lent(&self, context: &Context<Peer>) -> Result<String, Error> {
        Ok(context.remote().to_owned())
    }

    async fn add(&self, n: u32, context: Context<Peer>) {
        let told = ToldClient::new(context.peer().clone());
        assert_eq!(told.heard(n).await, Ok(()));
    }

    async fn for_ever(&self) {
        core::future::pending::<()>().await;
    }
}

#[service]
trait Told {
    async fn heard(&self, n: u32);
}

struct Ear(std::sync::Arc<Mutex<Vec<u32>>>);

impl Told for Ear {
    async fn heard(&self, n: u32) {
        self.0.lock().unwrap().push(n);
    }
}

#[test]
fn both_ends_of_a_connection_call_and_tell_each_other() {
    reset();
    let router = Router::new().state(9_u32).register(ContextsServer::new(Who)).unwrap();
    let server = block_on(Server::<Hand>::new().router(router).listen("both:1")).unwrap();
    let heard = std::sync::Arc::default();
    let router = Router::new().register(ToldServer::new(Ear(std::sync::Arc::clone(&heard)))).unwrap();
    let client = block_on(Client::<Hand>::new().router(router).hello().connect("both:1")).unwrap();
    let who = ContextsClient::new(client.peer());
    let remote = block_on(who.lent()).unwrap();
    assert_eq!(block_on(who.remote(1, 2)), Ok(format!("1 {remote} 2")));
    assert_eq!(block_on(who.shared()), Ok(9));
    block_on(who.add(5)).unwrap();
    common::run();
    assert_eq!(*heard.lock().unwrap(), [5]);

    // Time and cancellation are the call's, or the client's for all of its calls.
    assert_eq!(block_on(who.for_ever().within(Duration::ZERO)), Err(Error::TimedOut));
    assert_eq!(block_on(who.clone().within(Duration::ZERO).for_ever()), Err(Error::TimedOut));
    let mut call = common::Hold::new(who.for_ever());
    assert!(call.poll().is_pending());
    common::run();
    assert_eq!(who.peer().in_flight(), 1);
    drop(call);
    assert_eq!(who.peer().in_flight(), 0);

    // A method that is not there, an answer of another type, and a connection that ended.
    let names = BareClient::new(client.peer());
    let not_found = Err(Error::Remote(RemoteError::new(codes::NOT_FOUND)));
    assert_eq!(block_on(names.subtract(1, 2)), not_found);
    client.close();
    assert!(matches!(block_on(who.shared()), Err(Error::Lost(_) | Error::Refused(_))));
    drop(server);
}

#[test]
fn an_answer_of_another_type_is_unreadable() {
    reset();
    let service =
        Service::<Peer>::named("Contexts").method("Shared", || "\"a text\"").method("ForEver", || "true");
    let router = Router::new().register(service).unwrap();
    let _server = block_on(Server::<Hand>::new().router(router).listen("other:1")).unwrap();
    let client = block_on(Client::<Hand>::new().connect("other:1")).unwrap();
    let who = ContextsClient::new(client.peer());
    assert!(matches!(block_on(who.shared()), Err(Error::UnreadableReply(_))));
    assert!(matches!(block_on(who.for_ever()), Err(Error::UnreadableReply(_))));
}
