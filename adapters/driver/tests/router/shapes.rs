//! Every argument, every result, in any order, `async` or not

use core::convert::Infallible;
use std::borrow::Cow;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use flyrpc_core::fly::Flag;
use flyrpc_driver::{
    Context, Decode as _, Encode, Error, FormatError, Packet, Payload, RemoteError, Request, Router, State,
};

use crate::common::{Fake, dispatch, error, good, pause, pending, poll, ready};

/// Checks that each code is answered so, for the payload `hi`
fn answers(router: &Router<Fake>, wanted: &str) {
    let codes: Vec<&'static str> = router.codes().into_iter().map(|code| &*code.to_owned().leak()).collect();
    assert!(!codes.is_empty());
    for code in codes {
        assert_eq!(ready(router, code, "hi"), good(wanted), "{code}");
    }
}

fn bytes_item(payload: Bytes) -> Bytes {
    payload
}

fn str_item(text: &str) -> String {
    text.to_owned()
}

fn request_item(request: &Request<Fake>) -> Bytes {
    request.payload().clone()
}

async fn async_item(payload: Bytes) -> Bytes {
    payload
}

async fn async_item_with_context(context: Context<Fake>, text: String) -> Result<String, Error> {
    assert_eq!(context.remote(), "memory");
    Ok(text)
}

#[test]
fn each_argument_of_a_handler_that_is_not_async() {
    let router = Router::<Fake>::new()
        .state(5_u8)
        .handle("bytes", |payload: Bytes| payload)
        .handle("slice", |payload: &[u8]| payload.to_vec())
        .handle("vec", |payload: Vec<u8>| payload)
        .handle("str", |text: &str| text.to_owned())
        .handle("string", |text: String| text)
        .handle("request", |request: &Request<Fake>| request.payload().clone())
        .handle("request and ?", |request: &Request<_>| request.text().map(str::to_owned))
        .handle("packet", |packet: Packet| packet.payload)
        .handle("&packet", |packet: &Packet| packet.payload.clone())
        .handle("context", |context: Context<_>, payload: Bytes| {
            assert_eq!(context.remote(), "memory");
            payload
        })
        .handle("&context", |context: &Context<_>, payload: Bytes| {
            assert_eq!(context.remote(), "memory");
            payload
        })
        .handle("state", |State(five): State<u8>, text: &str| {
            assert_eq!(*five, 5);
            text.to_owned()
        })
        .handle("option", |text: Option<&str>, no: Option<State<u16>>| {
            assert!(no.is_none());
            text.map(str::to_owned).ok_or("NOTHING")
        })
        .handle("result", |text: Result<String, RemoteError>, no: Result<(), RemoteError>| {
            assert_eq!(no.unwrap_err().code, "BAD_PAYLOAD");
            text
        })
        .handle("bytes item", bytes_item)
        .handle("str item", str_item)
        .handle("request item", request_item)
        .handle("none", || "hi");
    answers(&router, "hi");
}

#[test]
fn each_argument_of_an_async_handler() {
    let router = Router::<Fake>::new()
        .state(5_u8)
        .handle("bytes", |payload: Bytes| async move { payload })
        .handle("async closure", async |payload: Bytes| payload)
        .handle("vec", |payload: Vec<u8>| async { payload })
        .handle("string", async |text: String| text)
        .handle("packet", async |packet: Packet| packet.payload)
        .handle("context", async |context: Context<Fake>, payload: Bytes| {
            assert_eq!(context.remote(), "memory");
            payload
        })
        .handle("state", async |State(five): State<u8>, text: String| {
            assert_eq!(*five, 5);
            text
        })
        .handle("option", async |text: Option<String>| text.ok_or("NOTHING"))
        .handle("result", async |text: Result<String, RemoteError>| text)
        .handle("before the block", |text: String| {
            let upper = text.to_uppercase();
            async move { upper.to_lowercase() }
        })
        .handle("boxed", |text: String| Box::pin(async move { text }))
        .handle("dyn", |text: String| -> core::pin::Pin<Box<dyn Future<Output = String> + Send>> {
            Box::pin(async move { text })
        })
        .handle("ready", |text: String| core::future::ready(text))
        .handle("item", async_item)
        .handle("item with context", async_item_with_context)
        .handle("none", async || "hi");
    answers(&router, "hi");
}

#[test]
fn arguments_come_in_any_order_and_number() {
    let router = Router::<Fake>::new()
        .state(5_u8)
        .handle("2", |_: &Packet, text: &str| text.to_owned())
        .handle("2 turned", |text: &str, _: &Packet| text.to_owned())
        .handle("3", |_: State<u8>, text: &str, _: Context<Fake>| text.to_owned())
        .handle("4", |_: Context<Fake>, _: &[u8], text: String, _: State<u8>| text)
        .handle("5", |_: Bytes, _: Bytes, _: &Request<Fake>, _: Option<()>, text: &str| text.to_owned())
        .handle("6", |_: Bytes, text: String, _: &[u8], _: &str, _: Packet, _: &Packet| text)
        .handle("async 3", async |text: String, _: State<u8>, _: Context<Fake>| text)
        .handle("async 4", async |_: State<u8>, _: Context<Fake>, _: Packet, text: String| text)
        .handle("async 5", async |_: Bytes, _: Bytes, text: String, _: State<u8>, _: Packet| text)
        .handle("async 6", async |text: String, _: Bytes, _: Bytes, _: Bytes, _: Bytes, _: Bytes| text);
    answers(&router, "hi");
}

struct Own;

impl Encode for Own {
    fn encode(&self) -> Result<Bytes, FormatError> {
        Ok(Bytes::from_static(b"hi"))
    }
}

/// The same results given at once and later
macro_rules! results {
    ($($code:literal: $type:ty = $value:expr;)*) => {
        Router::<Fake>::new()
            $(.handle($code, || -> $type { $value }).handle(concat!("async ", $code), async || {
                let value: $type = $value;
                value
            }))*
    };
}

#[test]
fn each_result() {
    let router = results! {
        "bytes": Bytes = Bytes::from_static(b"hi");
        "bytes mut": BytesMut = BytesMut::from("hi");
        "vec": Vec<u8> = b"hi".to_vec();
        "string": String = "hi".to_owned();
        "str": &'static str = "hi";
        "slice": &'static [u8] = b"hi";
        "array": [u8; 2] = *b"hi";
        "&array": &'static [u8; 2] = b"hi";
        "cow": Cow<'static, str> = "hi".into();
        "owned cow": Cow<'static, [u8]> = b"hi".to_vec().into();
        "payload": Payload<'static> = Payload::Borrowed(b"hi");
        "shared payload": Payload<'static> = Payload::Shared("hi".into());
        "own": Own = Own;
        "result": Result<&'static str, RemoteError> = Ok("hi");
        "error": Result<String, Error> = Ok("hi".to_owned());
        "own in a result": Result<Own, String> = Ok(Own);
        "twice": Result<Result<Own, &'static str>, RemoteError> = Ok(Ok(Own));
    };
    answers(&router, "hi");

    let router = results! {
        "unit": () = ();
        "ok": Result<(), RemoteError> = Ok(());
    };
    answers(&router, "");

    let router = results! {
        "remote": RemoteError = RemoteError::new("LAMP").details("7");
        "error": Error = Error::Remote(RemoteError::new("LAMP").details("7"));
        "result": Result<(), RemoteError> = Err(RemoteError::new("LAMP").details("7"));
        "call": Result<String, Error> = Err(Error::Remote(RemoteError::new("LAMP").details("7")));
        "never": Result<Bytes, RemoteError> = Err(RemoteError::new("LAMP").details("7"));
    };
    for code in ["remote", "error", "result", "call", "never"] {
        assert_eq!(ready(&router, code, ""), error("LAMP", "7"), "{code}");
    }
    for code in ["async remote", "async error", "async result", "async call"] {
        assert_eq!(ready(&router, code, ""), error("LAMP", "7"), "{code}");
    }

    let router = results! {
        "str": Result<(), &'static str> = Err("WORD");
        "string": Result<Bytes, String> = Err("WORD".to_owned());
    };
    for code in ["str", "string", "async str", "async string"] {
        assert_eq!(ready(&router, code, ""), error("WORD", ""), "{code}");
    }
    let router = results! { "timed out": Error = Error::TimedOut; };
    assert_eq!(ready(&router, "timed out", ""), error("TIMEOUT", ""));
}

#[test]
fn the_question_mark_answers_with_the_error() {
    let router = Router::<Fake>::new()
        .handle("text", |request: &Request<Fake>| -> Result<String, RemoteError> {
            let number: u8 = request.text()?.parse().map_err(|_| "NO_NUMBER")?;
            Ok(number.to_string())
        })
        .handle("call", async |text: String| {
            let answer: Result<String, Error> = Err(Error::Cancelled);
            Ok::<_, Error>(answer? + &text)
        })
        .handle("decode", |payload: Bytes| -> Result<String, RemoteError> {
            Ok(String::decode(&payload)?.to_lowercase())
        });
    assert_eq!(ready(&router, "text", "7"), good("7"));
    assert_eq!(ready(&router, "text", "x"), error("NO_NUMBER", ""));
    assert_eq!(
        ready(&router, "text", &b"\xff"[..]),
        error("BAD_PAYLOAD", "not UTF-8 for str: wrong at byte 0")
    );
    assert_eq!(ready(&router, "call", "x"), error("CANCELLED", ""));
    assert_eq!(ready(&router, "decode", "X"), good("x"));
    let bad = ready(&router, "decode", &b"ab\xff"[..]);
    assert_eq!(bad, error("BAD_PAYLOAD", "not UTF-8 for str: wrong at byte 2"));
}

#[test]
fn an_argument_that_cant_be_had_answers_the_request() {
    let router = Router::<Fake>::new()
        .handle("str", |_: &str| -> Result<(), Infallible2> { unreachable!() })
        .handle("string", async |_: String| unreachable_unit())
        .handle("empty", |(): ()| "")
        .handle("state", |_: State<u8>| unreachable_unit());
    for code in ["str", "string"] {
        let bad = ready(&router, code, &b"a\xff"[..]);
        assert_eq!(bad, error("BAD_PAYLOAD", "not UTF-8 for str: wrong at byte 1"));
    }
    assert_eq!(ready(&router, "empty", ""), good(""));
    assert_eq!(ready(&router, "empty", "abc"), error("BAD_PAYLOAD", "not empty for (): 3 bytes came"));
    assert_eq!(ready(&router, "state", ""), error("ERROR", "the router has no state of type u8"));
}

/// An application's own error
struct Infallible2(Infallible);

impl From<Infallible2> for RemoteError {
    fn from(error: Infallible2) -> Self {
        match error.0 {}
    }
}

fn unreachable_unit() {
    unreachable!()
}

#[test]
fn handlers_may_hold_what_cant_be_cloned() {
    let sum = Mutex::new(0_usize);
    let router = Router::<Fake>::new().handle("add", move |payload: &[u8]| {
        let mut sum = sum.lock().unwrap();
        *sum += payload.len();
        sum.to_string()
    });
    assert_eq!(ready(&router, "add", "hi"), good("2"));
    assert_eq!(ready(&router, "add", "hi!"), good("5"));
}

#[test]
fn a_message_goes_to_the_same_handler() {
    let router = Router::<Fake>::new()
        .handle("wants", |request: &Request<Fake>| request.wants_reply().to_string())
        .handle("parts", |packet: &Packet| {
            format!("{:?} {} {}", packet.flag, packet.sequence, packet.code())
        });
    assert_eq!(ready(&router, "wants", ""), good("true"));
    assert_eq!(ready(&router, "parts", ""), good("Flag(0x40) 3 parts"));
    let (context, mut packet) = Fake::of(&router).request("wants", &Bytes::new()).into_parts();
    packet.flag = Flag::MESSAGE;
    let outcome = dispatch(&router, Request::new(context, packet));
    assert_eq!(format!("{outcome:?}"), "Ready(5 bytes)");
}

#[test]
fn a_handler_that_is_not_ready_goes_on_later() {
    let router = Router::<Fake>::new().handle("wait", async |payload: Bytes| {
        pause().await;
        pause().await;
        payload
    });
    let peer = Fake::of(&router);
    for _ in 0..3 {
        let dispatched = dispatch(&router, peer.request("wait", &"hi".into()));
        assert_eq!(format!("{dispatched:?}"), "Pending");
        let mut first = pending(dispatched);
        let mut second = pending(dispatch(&router, peer.request("wait", &"ho".into())));
        assert!(poll(&mut first).is_pending());
        assert_eq!(poll(&mut first), core::task::Poll::Ready(good("hi")));
        assert!(poll(&mut second).is_pending());
        assert_eq!(poll(&mut second), core::task::Poll::Ready(good("ho")));
        // Not even a finished future that nobody has dropped keeps the connection.
        assert_eq!(peer.holders(), 1);
    }
    // One that is dropped takes its request with it.
    let given_up = pending(dispatch(&router, peer.request("wait", &Bytes::new())));
    assert_eq!(peer.holders(), 2);
    drop(given_up);
    assert_eq!(peer.holders(), 1);
}

#[test]
fn what_a_handler_took_is_dropped_when_it_has_answered() {
    let router = Router::<Fake>::new().handle("sync", |_: Context<Fake>| ()).handle(
        "async",
        async |context: Context<Fake>, payload: Bytes| {
            assert_eq!(context.remote(), "memory");
            payload
        },
    );
    let peer = Fake::of(&router);
    for code in ["sync", "async"] {
        let payload = Bytes::from(vec![0; 64]);
        drop(dispatch(&router, peer.request(code, &payload)));
        assert_eq!(peer.holders(), 1, "{code}");
        assert!(payload.is_unique(), "{code}");
    }
}

#[test]
fn a_handler_may_dispatch_to_itself() {
    use std::sync::OnceLock;
    static ROUTER: OnceLock<Router<Fake>> = OnceLock::new();
    let router = ROUTER.get_or_init(|| {
        Router::new().handle("down", async |text: String| match text.parse::<u32>() {
            Ok(0) | Err(_) => "end".to_owned(),
            Ok(depth) => {
                let router = ROUTER.get().unwrap();
                let outcome = ready(router, "down", (depth - 1).to_string()).unwrap();
                format!("{depth} {}", core::str::from_utf8(&outcome).unwrap())
            }
        })
    });
    assert_eq!(ready(router, "down", "6"), good("6 5 4 3 2 1 end"));
    assert_eq!(ready(router, "down", "2"), good("2 1 end"));
}
