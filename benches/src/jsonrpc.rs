//! One JSON-RPC request: answered by a server's connection and router, and made by a client
//!
//! Without sockets and without a runtime. `benches/compare` has the same with jsonrpsee and with plain `serde_json`.

use core::hint::black_box;
use core::task::{Context as Task, Poll, Waker};
use std::sync::Arc;

use bytes::Bytes;
use flyrpc_core::jsonrpc::JsonRpc;
use flyrpc_core::{Call, Connection, Incoming, Instant, Limits, Reply, Table, What};
use flyrpc_driver::{
    Caller, ConnectionId, Context, Decode, Dispatched, Encode, Flag, Info, Json, Packet, Protocol, Request,
    RequestId, Router, Session,
};
use serde::{Deserialize, Serialize};

use crate::Case;

#[path = "jsonrpc/texts.rs"]
mod texts;

use texts::{CALL, ECHO, ECHOED, MULTIPLY, PRODUCT, SERVE_ECHO, SERVE_MULTIPLY};

/// The form of Go's net/rpc: the argument in an array
const GO: &str = r#"{"jsonrpc":"2.0","method":"Arith.Multiply","params":[{"A":7,"B":8}],"id":1}"#;
const TEXT: &str = r#""0123456789abcdef""#;

type Conn = Connection<JsonRpc, Table<u32>>;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::memcpy(SERVE_ECHO, ECHO.into()),
        Case::new(SERVE_ECHO, "flyrpc", || serve(ECHO, ECHOED)),
        Case::new(SERVE_ECHO, "flyrpc, one value", || serve(&ECHO.replace("echo", "value"), ECHOED)),
        Case::new(SERVE_ECHO, "flyrpc, raw JSON", || {
            serve(&ECHO.replace("echo", "raw"), &ECHOED.replace(TEXT, &format!("[{TEXT}]")))
        }),
        Case::memcpy(SERVE_MULTIPLY, MULTIPLY.into()),
        Case::new(SERVE_MULTIPLY, "flyrpc", || serve(MULTIPLY, PRODUCT)),
        Case::new(SERVE_MULTIPLY, "flyrpc, as Go sends it", || serve(GO, PRODUCT)),
        Case::memcpy(CALL, ECHO.into()),
        Case::new(CALL, "flyrpc", call),
    ]
}

#[derive(Serialize, Deserialize)]
struct Args {
    #[serde(rename = "A")]
    a: i64,
    #[serde(rename = "B")]
    b: i64,
}

/// The other end of a connection that does not exist
#[derive(Clone)]
struct Nobody(Arc<Info>);

impl Caller for Nobody {
    fn info(&self) -> &Info {
        &self.0
    }

    fn is_cancelled(&self, _: RequestId) -> bool {
        false
    }

    fn poll_cancelled(&self, _: RequestId, _: &mut Task<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// From the bytes that were read to those that are written: parsed, routed, the parameters read, the result written
fn serve(request: &str, answer: &str) -> impl FnMut(u64) + use<> {
    let router: Router<Nobody> = Router::new()
        .handle("echo", |Json([text]): Json<[String; 1]>| Json(text))
        .handle("value", |Json(text): Json<String>| Json(text))
        .handle("raw", |params: Bytes| params)
        .handle("Arith.Multiply", |Json(args): Json<Args>| Json(args.a * args.b));
    let nobody = Nobody(Arc::new(Info {
        id: ConnectionId(1),
        remote: String::new(),
        protocol: Protocol::JsonRpc,
        may_be_called: true,
        session: Session::new(),
        shared: router.shared(),
    }));
    let mut conn = Conn::new(JsonRpc::new(), Limits::new());
    let (request, answer) = (Bytes::from(format!("{request}\n")), format!("{answer}\n"));
    let mut out = Vec::with_capacity(1024);
    move |times| {
        for _ in 0..times {
            out.clear();
            let step = conn.handle_input(Instant::ZERO, black_box(&request)).expect("sound");
            let What::Incoming(Incoming::Request { method, body, token, .. }) = step.what else {
                panic!("not a request");
            };
            let packet = Packet {
                flag: Flag::REQUEST,
                sequence: 0,
                code: request.slice_ref(method),
                payload: request.slice_ref(body.bytes()),
            };
            let context = Context::new(nobody.clone(), RequestId { index: 0, generation: 0 }, None);
            let mut task = Task::from_waker(Waker::noop());
            let Dispatched::Ready(Ok(result)) = router.dispatch(Request::new(context, packet), &mut task)
            else {
                panic!("not answered");
            };
            conn.reply(token, Reply::ok(&result), &mut out).expect("not refused");
            assert_eq!(black_box(&out), answer.as_bytes());
        }
    }
}

/// From the parameter to the bytes that are written, and from those that are read to the result
fn call() -> impl FnMut(u64) {
    let mut conn = Conn::new(JsonRpc::new(), Limits::new());
    let mut out = Vec::with_capacity(1024);
    let mut answer = Vec::with_capacity(1024);
    move |times| {
        for tag in 0..times {
            out.clear();
            let params = Json([black_box("0123456789abcdef")]).encode().expect("JSON");
            conn.call(Instant::ZERO, Call::new("echo", &params), tag as u32, &mut out).expect("not refused");
            texts::answer(texts::last_id(black_box(&out)), &mut answer);
            answer.push(b'\n');
            let step = conn.handle_input(Instant::ZERO, black_box(&answer)).expect("sound");
            let What::Incoming(Incoming::Reply { tag: back, code: [], body, .. }) = step.what else {
                panic!("not an answer");
            };
            assert_eq!(back, tag as u32);
            let Json(text) = Json::<String>::decode(&Bytes::copy_from_slice(body.bytes())).expect("a string");
            assert_eq!(black_box(text).len(), 16);
        }
    }
}
