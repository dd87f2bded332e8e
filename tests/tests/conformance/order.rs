//! Order and delivery: P10 to P12

use core::time::Duration;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flyrpc_driver::{Context, Direction, Error, Packet, Refusal, codes};
use flyrpc_tests::vectors::packet;

use crate::raw::{MESSAGE, REQUEST, RESPONSE, Raw};
use crate::rig::{End, Gate, Rig, SOON, echo, plain};
use crate::wire::Text;

/// One at a time, in the order in which they were sent, whether their handlers wait or not
pub(crate) async fn p10_messages_are_handled_one_at_a_time_in_order<P: End>(rig: Rig<P>) {
    let many = rig.many(2_000, 200);
    let (told, tells) = channel();
    let busy = Arc::new(Mutex::new(()));
    let sync = told.clone();
    let server = plain()
        .handle("wait", move |Text(text): Text| {
            let (told, busy) = (told.clone(), Arc::clone(&busy));
            async move {
                assert!(busy.try_lock().is_ok(), "two at a time");
                let i: usize = text.parse().expect("a number");
                for _ in 0..i % 3 {
                    yield_once().await;
                }
                let _ = told.send(i);
            }
        })
        .handle("now", move |Text(text): Text| {
            let _ = sync.send(text.parse().expect("a number"));
        });
    let (_server, client) = rig.pair(server, plain()).await;
    for i in 0..many {
        let code = if i % 5 == 0 { "now" } else { "wait" };
        assert_eq!(client.send(code, i.to_string()).await, Ok(()));
    }
    for i in 0..many {
        assert_eq!(tells.recv_timeout(SOON), Ok(i));
    }
}

/// Lets others go first
async fn yield_once() {
    let mut yielded = false;
    core::future::poll_fn(|cx| {
        if core::mem::replace(&mut yielded, true) {
            return core::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        core::task::Poll::Pending
    })
    .await;
}

/// A message that waits holds up messages behind it, not requests; each connection has its own order
pub(crate) async fn p10_requests_run_while_a_message_waits<P: End>(rig: Rig<P>) {
    let gate = Gate::shut();
    let (told, tells) = channel();
    let (inner, waiting) = (gate.clone(), told.clone());
    let server = echo()
        .handle("first", move || {
            let (gate, told) = (inner.clone(), waiting.clone());
            async move {
                let _ = told.send("begun");
                gate.pass().await;
                let _ = told.send("first");
            }
        })
        .handle("second", move || {
            let _ = told.send("second");
        });
    let (server, client) = rig.pair(server, plain()).await;
    assert_eq!(client.send("first", "").await, Ok(()));
    assert_eq!(client.send("second", "").await, Ok(()));
    assert_eq!(tells.recv_timeout(SOON), Ok("begun"));
    assert_eq!(client.call("echo", "meanwhile").await, Ok(Bytes::from("meanwhile")));
    assert_eq!(tells.try_recv().ok(), None);
    let other = rig.client(plain(), &server).await;
    assert_eq!(other.send("second", "").await, Ok(()));
    assert_eq!(tells.recv_timeout(SOON), Ok("second"));
    gate.open();
    assert_eq!(tells.recv_timeout(SOON), Ok("first"));
    assert_eq!(tells.recv_timeout(SOON), Ok("second"));
}

/// Handlers of requests run side by side, and the one that is done first is answered first
pub(crate) async fn p10_requests_run_side_by_side<P: End>(rig: Rig<P>) {
    let gates: Arc<Vec<Gate>> = Arc::new((0..8).map(|_| Gate::shut()).collect());
    let (began, begins) = channel();
    let inner = Arc::clone(&gates);
    let server = rig
        .serve(plain().handle("gated", move |payload: Bytes, Text(text): Text| {
            let (gates, began) = (Arc::clone(&inner), began.clone());
            async move {
                let _ = began.send(());
                let i: usize = text.parse().expect("a number");
                gates[i].pass().await;
                payload
            }
        }))
        .await;
    let mut raw = Raw::connect(&rig, &server);
    for i in 0..8 {
        raw.send(REQUEST, i + 1, "gated", i.to_string());
    }
    for _ in 0..8 {
        begins.recv_timeout(SOON).expect("all run at the same time");
    }
    for i in [5, 2, 7, 0, 1, 6, 3, 4] {
        gates[usize::from(i)].open();
        raw.expect(RESPONSE, i + 1, "", i.to_string());
    }
}

/// Packets leave in the order of the calls that made them
pub(crate) async fn p10_packets_leave_in_the_order_of_their_commands<P: End>(rig: Rig<P>) {
    let (mut raw, client) = Raw::with(&rig, plain()).await;
    for i in 0..200 {
        if i % 10 == 9 {
            let within = Duration::ZERO;
            assert_eq!(client.call_within("call", i.to_string(), within).await, Err(Error::TimedOut));
        } else {
            assert_eq!(client.send("message", i.to_string()).await, Ok(()));
        }
    }
    for i in 0..200 {
        let packet = raw.read();
        assert_eq!(packet.payload, i.to_string().as_bytes());
        assert_eq!(packet.flag & !3, if i % 10 == 9 { REQUEST } else { MESSAGE });
    }
}

/// What had no answer when the connection ended is not sent again, and nothing dials again by itself
pub(crate) async fn p11_nothing_is_sent_twice<P: End>(rig: Rig<P>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let (mut raw, client) = Raw::accept(&rig, plain(), &listener).await;
    let peer = client.peer.clone();
    let call = rig.spawn(async move { peer.call("once", "1").await });
    raw.expect(REQUEST, 1, "once", b"1");
    assert_eq!(client.call_within("twice", "2", Duration::from_millis(2)).await, Err(Error::TimedOut));
    raw.expect(REQUEST, 2, "twice", b"2");
    raw.expect_alive();
    raw.finish_writing();
    assert!(matches!(call.await, Err(Error::Lost(_))));
    raw.expect_end();
    client.closed().await;
    assert_eq!(client.call("once", "1").await, Err(Error::Refused(Refusal::Closed)));
    listener.set_nonblocking(true).expect("an option");
    assert!(listener.accept().is_err(), "it has dialled again");
}

/// A message is never answered, a request always, with a result or without
pub(crate) async fn p11_messages_acks_and_responses_are_three_promises<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let setup = echo()
        .handle("note", move |Text(text): Text| {
            let _ = told.send(text);
        })
        .handle("fail", || -> Result<(), &'static str> { Err("FAILED") });
    let (server, client) = rig.pair(setup, plain()).await;
    assert_eq!(client.send_acked("note", "acked").await, Ok(()));
    assert_eq!(tells.recv_timeout(SOON), Ok("acked".to_owned()));
    assert_eq!(client.send_acked("echo", "a result that nobody asked for").await, Ok(()));
    let failed = client.send_acked("fail", "").await;
    assert!(matches!(&failed, Err(Error::Remote(error)) if error.code == "FAILED"), "{failed:?}");
    assert_eq!(client.send("note", "message").await, Ok(()));
    assert_eq!(tells.recv_timeout(SOON), Ok("message".to_owned()));
    let answer = client.request("fail", "").await.expect("an answer");
    assert_eq!((answer.code.as_str(), &answer.payload[..]), ("FAILED", &b""[..]));

    let mut raw = Raw::connect(&rig, &server);
    raw.send(MESSAGE, 7, "echo", b"no answer");
    raw.send(MESSAGE, 8, "fail", b"");
    raw.send(MESSAGE, 9, "nothing", b"");
    raw.expect_alive();
}

/// The flag's bits, whatever else is set, mean what they mean
pub(crate) async fn p12_the_envelope_is_read_by_its_grammar<P: End>(rig: Rig<P>) {
    let setup = plain()
        .router(|router| router.fallback(|packet: Packet| [&b"fallback "[..], &packet.code].concat()))
        .handle("echo", |payload: Bytes| payload)
        .handle("", || "empty");
    let server = rig.serve(setup).await;
    let mut raw = Raw::connect(&rig, &server);
    // Any sequence, and an empty code.
    raw.send(REQUEST, 0, "", b"");
    raw.expect(RESPONSE, 0, "", b"empty");
    raw.send(REQUEST, 65_535, "other", b"");
    raw.expect(RESPONSE, 65_535, "", b"fallback other");
    // Reserved bits mean nothing, and a response is one whatever the request bit says.
    raw.send(REQUEST | 0x30, 5, "echo", b"hi");
    raw.expect(RESPONSE, 5, "", b"hi");
    raw.send(RESPONSE | REQUEST, 5, "echo", b"hi");
    // A packet within a payload is payload.
    let inner = packet(REQUEST, 9, "echo", b"inner");
    raw.send(REQUEST, 6, "echo", &inner);
    raw.expect(RESPONSE, 6, "", &inner);
    // All widths, also where a narrower one would do.
    for (width, len) in [&[2][..], &[0, 2], &[0, 0, 0, 2], &[0, 0, 0, 0, 0, 0, 0, 2]].iter().enumerate() {
        raw.write([&[REQUEST | width as u8, 1, 2][..], b"echo\0", len, b"hi"].concat());
        raw.expect(RESPONSE, 0x102, "", b"hi");
    }
    // A code that is no text.
    raw.write([&[REQUEST, 0, 7][..], b"\xff\xfe\0", &[0]].concat());
    raw.expect(RESPONSE, 7, codes::BAD_CODE, b"");
    raw.expect_alive();
}

/// The hook sees each packet, both ways, and before it is acted on
pub(crate) async fn p12_the_packet_hook_sees_both_directions<P: End>(rig: Rig<P>) {
    let (saw, seen) = channel();
    let sawn = saw.clone();
    let hook = move |side: &'static str, saw: std::sync::mpsc::Sender<String>| {
        move |info: &flyrpc_driver::Info, direction: Direction, packet: &flyrpc_driver::RawPacket<'_>| {
            let code = String::from_utf8_lossy(packet.code);
            let id = info.id.0 > 0;
            let text = format!(
                "{side} {direction:?} {:02x} {code} {} {id}",
                packet.flag.0 & !3,
                packet.payload.len()
            );
            let _ = saw.send(text);
        }
    };
    let server = echo()
        .handle("greet", |context: Context<P>| async move { context.peer().call("name", "").await })
        .on_packet(hook("server", saw));
    let client = plain().handle("name", || "Ada").on_packet(hook("client", sawn));
    let (_server, client) = rig.pair(server, client).await;
    let big = vec![7; rig.many(100_000, 5_000)];
    assert_eq!(client.call("echo", big.clone()).await.map(|answer| answer.len()), Ok(big.len()));
    assert_eq!(client.call("greet", "").await, Ok(Bytes::from("Ada")));
    assert_eq!(client.send("note", "hi").await, Ok(()));
    let n = big.len();
    let all = [
        format!("client Out 40 echo {n} true"),
        format!("server In 40 echo {n} true"),
        format!("server Out 80  {n} true"),
        format!("client In 80  {n} true"),
        "client Out 40 greet 0 true".to_owned(),
        "server In 40 greet 0 true".to_owned(),
        "server Out 40 name 0 true".to_owned(),
        "client In 40 name 0 true".to_owned(),
        "client Out 80  3 true".to_owned(),
        "server In 80  3 true".to_owned(),
        "server Out 80  3 true".to_owned(),
        "client In 80  3 true".to_owned(),
        "client Out 00 note 2 true".to_owned(),
        "server In 00 note 2 true".to_owned(),
    ];
    for expected in all {
        assert_eq!(seen.recv_timeout(SOON), Ok(expected));
    }
}

on_all_stacks! {
    both_ways:
    p10_messages_are_handled_one_at_a_time_in_order
    p10_requests_run_while_a_message_waits;
    raw:
    p10_requests_run_side_by_side
    p10_packets_leave_in_the_order_of_their_commands
    p11_nothing_is_sent_twice
    p11_messages_acks_and_responses_are_three_promises;
    fly:
    p12_the_envelope_is_read_by_its_grammar
    p12_the_packet_hook_sees_both_directions;
}
