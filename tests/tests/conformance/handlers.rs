//! What handlers take, give, and may do wrong, over the wire

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::borrow::Cow;
use std::sync::mpsc::channel;

use bytes::Bytes;
use flyrpc_driver::{
    Borsh, Context, Encode, Error, FormatError, Json, MsgPack, Packet, Postcard, Protobuf, RemoteError,
    Request, State, UnreadableReply, codes,
};
use serde::{Deserialize, Serialize};

use crate::rig::{End, Gate, Rig, SOON, echo, plain};
use crate::wire::{Text, assert_failed};

async fn answers<P: End>(peer: &P, code: &str, payload: &'static str, expected: &str) {
    assert_eq!(peer.call(code, payload).await, Ok(Bytes::copy_from_slice(expected.as_bytes())), "{code}");
}

async fn fails<P: End>(peer: &P, code: &str, payload: &'static str, expected: &str) {
    assert_failed(peer.call(code, payload).await, expected);
}

pub(crate) async fn p12_every_argument_comes_over_the_wire<P: End>(rig: Rig<P>) {
    let setup = plain()
        .router(|router| router.state(AtomicUsize::new(40)))
        .handle("nothing", || "nothing")
        .handle("bytes", |payload: Bytes| payload)
        .handle("slice", |payload: &[u8]| payload.to_vec())
        .handle("vec", |payload: Vec<u8>| payload)
        .handle("str", |text: &str| text.to_uppercase())
        .handle("string", |text: String| text.to_uppercase())
        .handle("packet", |packet: &Packet| format!("{} {}", packet.code(), packet.payload.len()))
        .handle("owned packet", |packet: Packet| format!("{} {}", packet.code(), packet.payload.len()))
        .handle("request", |request: &Request<P>| format!("{} {}", request.code(), request.wants_reply()))
        .handle("context", |context: &Context<P>| context.remote().is_empty().to_string())
        .handle("owned context", |context: Context<P>| (context.connection().0 > 0).to_string())
        .handle("state", |state: State<AtomicUsize>| (state.load(Ordering::SeqCst) + 2).to_string())
        .handle("no state", |_: State<String>| "there is none")
        .handle("option", |text: Option<String>| text.unwrap_or_else(|| "none".to_owned()))
        .handle("result", |text: Result<String, RemoteError>| text.unwrap_or_else(|e| e.code))
        .handle(
            "all",
            |text: &str, packet: &Packet, context: Context<P>, bytes: Bytes, all: &Request<P>, s: String| {
                let same = text == s && bytes == s && all.payload() == &bytes && packet.payload == bytes;
                format!("{same} {}", context.deadline().is_none())
            },
        )
        .handle("later", async |text: String, context: Context<P>, packet: Packet| {
            format!("{text} {} {}", context.remote().is_empty(), packet.sequence > 0)
        });
    let (_server, client) = rig.pair(setup, plain()).await;
    for (code, expected) in [
        ("nothing", "nothing"),
        ("bytes", "hi"),
        ("slice", "hi"),
        ("vec", "hi"),
        ("str", "HI"),
        ("string", "HI"),
        ("packet", "packet 2"),
        ("owned packet", "owned packet 2"),
        ("request", "request true"),
        ("context", "false"),
        ("owned context", "true"),
        ("state", "42"),
        ("option", "hi"),
        ("result", "hi"),
        ("all", "true true"),
        ("later", "hi false true"),
    ] {
        answers(&client.peer, code, "hi", expected).await;
    }
    fails(&client.peer, "no state", "hi", codes::ERROR).await;
    // What is no text.
    for code in ["str", "string", "all", "later"] {
        let failed = client.call(code, &b"\xff"[..]).await;
        assert!(
            matches!(&failed, Err(Error::Remote(error)) if error.code == codes::BAD_PAYLOAD),
            "{failed:?}"
        );
    }
    assert_eq!(client.call("option", &b"\xff"[..]).await, Ok(Bytes::from("none")));
    assert_eq!(client.call("result", &b"\xff"[..]).await, Ok(Bytes::from(codes::BAD_PAYLOAD)));
}

pub(crate) async fn p12_every_result_goes_over_the_wire<P: End>(rig: Rig<P>) {
    let setup = plain()
        .handle("unit", || ())
        .handle("bytes", || Bytes::from_static(b"hi"))
        .handle("vec", || vec![b'h', b'i'])
        .handle("string", || "hi".to_owned())
        .handle("str", || "hi")
        .handle("slice", || -> &'static [u8] { b"hi" })
        .handle("array", || *b"hi")
        .handle("array ref", || b"hi")
        .handle("cow", || Cow::Borrowed("hi"))
        .handle("ok", || Ok::<_, Error>("hi"))
        .handle("later", async || "hi")
        .handle("later ok", async || Ok::<_, RemoteError>(Bytes::from("hi")))
        .handle("remote error", || RemoteError::new("REMOTE"))
        .handle("error", || Error::TimedOut)
        .handle("err", || Err::<(), _>(RemoteError::new("ERR")))
        .handle("text err", || Err::<(), _>("TEXT"))
        .handle("string err", || Err::<(), _>("STRING".to_owned()))
        .handle("later err", async || Err::<(), _>(Error::Cancelled))
        .handle("format err", || FormatError::writing::<u8>("words", "no"))
        .handle("empty code", || RemoteError::new(""))
        .handle("nul code", || RemoteError::new("a\0b"));
    let (_server, client) = rig.pair(setup, plain()).await;
    answers(&client.peer, "unit", "", "").await;
    for code in
        ["bytes", "vec", "string", "str", "slice", "array", "array ref", "cow", "ok", "later", "later ok"]
    {
        answers(&client.peer, code, "", "hi").await;
    }
    for (code, expected) in [
        ("remote error", "REMOTE"),
        ("error", codes::TIMEOUT),
        ("err", "ERR"),
        ("text err", "TEXT"),
        ("string err", "STRING"),
        ("later err", codes::CANCELLED),
        ("format err", codes::ERROR),
        ("empty code", codes::ERROR),
        ("nul code", codes::ERROR),
        ("no handler", codes::NOT_FOUND),
    ] {
        fails(&client.peer, code, "", expected).await;
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, borsh::BorshSerialize, borsh::BorshDeserialize)]
struct Lamp {
    name: String,
    watts: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ProtoLamp {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    watts: u32,
}

/// Arguments and results in every format, sync and async, and what is not in the format
pub(crate) async fn p12_every_format_goes_both_ways<P: End>(rig: Rig<P>) {
    fn brighter(mut lamp: Lamp) -> Lamp {
        lamp.watts += 1;
        lamp
    }
    let setup = plain()
        .handle("json", |Json(lamp): Json<Lamp>| Json(brighter(lamp)))
        .handle("msgpack", |MsgPack(lamp): MsgPack<Lamp>| MsgPack(brighter(lamp)))
        .handle("borsh", |Borsh(lamp): Borsh<Lamp>| Borsh(brighter(lamp)))
        .handle("postcard", |Postcard(lamp): Postcard<Lamp>| Postcard(brighter(lamp)))
        .handle("protobuf", |Protobuf(mut lamp): Protobuf<ProtoLamp>| {
            lamp.watts += 1;
            Protobuf(lamp)
        })
        .handle("later", async |Json(lamp): Json<Lamp>| Ok::<_, RemoteError>(Json(brighter(lamp))))
        .handle("garbage", || &b"\xc1garbage"[..]);
    let (_server, client) = rig.pair(setup, plain()).await;
    let lamp = Lamp { name: "kitchen".to_owned(), watts: 9 };
    let after = Lamp { name: "kitchen".to_owned(), watts: 10 };
    macro_rules! both_ways {
        ($($code:literal $format:ident;)*) => { $(
            let payload = $format(lamp.clone()).encode().expect("it has a form");
            let answer = client.call_as::<$format<Lamp>>($code, payload).await.expect("an answer");
            assert_eq!(answer.0, after, $code);
            let garbage = client.call_as::<$format<Lamp>>("garbage", "").await;
            assert!(
                matches!(garbage.map(drop), Err(Error::UnreadableReply(UnreadableReply::Format(_)))),
                "{}", $code
            );
            fails(&client.peer, $code, "\u{7f}", codes::BAD_PAYLOAD).await;
        )* };
    }
    both_ways! {
        "json" Json;
        "msgpack" MsgPack;
        "borsh" Borsh;
        "postcard" Postcard;
        "later" Json;
    }
    let payload =
        Protobuf(ProtoLamp { name: "kitchen".to_owned(), watts: 9 }).encode().expect("it has a form");
    let answer = client.call_as::<Protobuf<ProtoLamp>>("protobuf", payload).await.expect("an answer");
    assert_eq!((answer.0.name.as_str(), answer.0.watts), ("kitchen", 10));
    fails(&client.peer, "protobuf", "\u{7f}", codes::BAD_PAYLOAD).await;
    // An error is one whatever format was expected.
    let failed = client.call_as::<Json<Lamp>>("nothing", "").await;
    assert_eq!(failed.map(drop), Err(Error::Remote(RemoteError::new(codes::NOT_FOUND))));
}

/// A panic answers its own request, is reported here and not there, and harms nothing else
pub(crate) async fn p07_a_panic_is_its_own_requests_trouble<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let gate = Gate::shut();
    let inner = gate.clone();
    let setup = echo()
        .router(|router| {
            router.on_panic(move |report| {
                let _ = told.send((report.code.clone(), report.message.clone()));
            })
        })
        .handle("now", || -> &'static str { panic!("a secret") })
        .handle("first poll", async || -> &'static str { panic!("a secret") })
        .handle("later", move || {
            let gate = inner.clone();
            async move {
                gate.pass().await;
                panic!("a secret");
                #[expect(unreachable_code, reason = "the type of the result")]
                "nothing"
            }
        });
    let (_server, client) = rig.pair(setup, plain()).await;
    let peer = client.peer.clone();
    let later = rig.spawn(async move { peer.call("later", "").await });
    let assert_panicked = |outcome: Result<Bytes, Error>| {
        assert!(
            matches!(&outcome, Err(Error::Remote(error)) if error.details.is_empty()),
            "no detail is told"
        );
        assert_failed(outcome, codes::HANDLER_PANIC);
    };
    let expected = |code: &str| Ok((code.to_owned(), Some("a secret".to_owned())));
    for code in ["now", "first poll"] {
        assert_panicked(client.call(code, "").await);
        assert_eq!(tells.recv_timeout(SOON), expected(code));
        assert_eq!(client.call("echo", "hi").await, Ok(Bytes::from("hi")));
    }
    gate.open();
    assert_panicked(later.await);
    assert_eq!(tells.recv_timeout(SOON), expected("later"));
    // Of a message too, and the next message is handled.
    for code in ["now", "later", "first poll"] {
        assert_eq!(client.send(code, "").await, Ok(()));
        if !rig.wire().has_way_back() {
            // Messages that are posted have no order.
            assert_eq!(tells.recv_timeout(SOON), expected(code));
        }
    }
    for code in ["now", "later", "first poll"].into_iter().filter(|_| rig.wire().has_way_back()) {
        assert_eq!(tells.recv_timeout(SOON), expected(code));
    }
    assert_eq!(client.call("echo", "hi").await, Ok(Bytes::from("hi")));
}

/// A handler that takes too long is dropped, and its request answered
pub(crate) async fn p06_a_handler_has_its_time<P: End>(rig: Rig<P>) {
    struct Dropped(std::sync::mpsc::Sender<bool>, bool);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(self.1);
        }
    }
    let (told, tells) = channel();
    let setup =
        echo().handler_timeout(Duration::from_millis(20)).handle("slow", move |context: Context<P>| {
            let dropped = Dropped(told.clone(), context.deadline().is_some());
            async move {
                let _dropped = dropped;
                core::future::pending::<()>().await;
            }
        });
    let (_server, client) = rig.pair(setup, plain()).await;
    for _ in 0..3 {
        fails(&client.peer, "slow", "", codes::TIMEOUT).await;
        assert_eq!(tells.recv_timeout(SOON), Ok(true));
    }
    assert_eq!(client.call("echo", "hi").await, Ok(Bytes::from("hi")));
}

/// What a connection keeps is its own; what the router keeps is everybody's
pub(crate) async fn p10_session_and_shared_state_are_kept_apart<P: End>(rig: Rig<P>) {
    let wire = rig.wire();
    let setup = plain()
        .router(|router| router.state(AtomicUsize::new(0)))
        .handle("count", move |context: Context<P>, all: State<AtomicUsize>| {
            let mine = context.session().get_or_insert_with(AtomicUsize::default);
            let mine = mine.fetch_add(1, Ordering::SeqCst) + 1;
            wire.wrap(format!("{mine} of {}", all.fetch_add(1, Ordering::SeqCst) + 1))
        })
        .handle("log in", |context: Context<P>, Text(name): Text| {
            context.session().insert(name);
        })
        .handle("who", move |context: Context<P>| async move {
            Ok::<_, RemoteError>(
                wire.wrap(context.session().get::<String>().ok_or("LOG_IN_FIRST")?.as_bytes()),
            )
        });
    let server = rig.serve(setup).await;
    let ada = rig.client(plain(), &server).await;
    let bob = rig.client(plain(), &server).await;
    answers(&ada.peer, "count", "", "1 of 1").await;
    answers(&bob.peer, "count", "", "1 of 2").await;
    answers(&ada.peer, "count", "", "2 of 3").await;
    answers(&ada.peer, "log in", "Ada", "").await;
    answers(&ada.peer, "who", "", "Ada").await;
    fails(&bob.peer, "who", "", "LOG_IN_FIRST").await;
    let theirs = server.peers().into_iter().find(|peer| peer.info().session.get::<String>().is_some());
    assert_eq!(
        theirs.and_then(|peer| peer.info().session.remove::<String>()).as_deref().map(String::as_str),
        Some("Ada")
    );
    fails(&ada.peer, "who", "", "LOG_IN_FIRST").await;
}

on_all_stacks! {
    everywhere:
    p06_a_handler_has_its_time
    p07_a_panic_is_its_own_requests_trouble;
    both_ways:
    p10_session_and_shared_state_are_kept_apart;
    fly:
    p12_every_argument_comes_over_the_wire
    p12_every_result_goes_over_the_wire
    p12_every_format_goes_both_ways;
}
