//! Handlers of other shapes: arguments, shared data, `async`, panics

use core::future::poll_fn;
use core::task::{Poll, Waker};
use core::time::Duration;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use flyrpc_blocking::{
    Bytes, Client, Context, Decode, Encode, Error, FormatError, Limits, RemoteError, Router, Server, State,
    UnreadableReply,
};

use crate::common::{RESPONSE, Raw, SOON, bounded, connect, echo, listen, until};

/// What an `async` handler waits for
#[derive(Clone, Default)]
struct Signal(Arc<Mutex<(bool, Option<Waker>)>>);

impl Signal {
    fn give(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Tells when it is dropped
struct Told(Sender<&'static str>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

fn remote(code: &str) -> Result<Bytes, Error> {
    Err(Error::Remote(RemoteError::new(code)))
}

#[test]
fn handlers_take_what_they_ask_for() {
    struct Lamps(u32);

    async fn lamps(State(lamps): State<Lamps>, text: String) -> String {
        format!("{} {text}", lamps.0)
    }

    bounded(|| {
        let more = Router::new().handle("upper", |text: &str| text.to_uppercase());
        let server = listen(
            echo()
                .state(Lamps(7))
                .router(more)
                .handle("lamps", lamps)
                .handle("log in", |context: &Context, name: String| {
                    context.session().insert(name);
                })
                .handle("who am I", |context: Context| async move {
                    let name = context.session().get::<String>().ok_or("LOG_IN_FIRST")?;
                    Ok::<_, RemoteError>(name.to_string())
                })
                .handle("fail", |context: Context| context.peer().call("missing", ())),
        );
        let client = connect(Client::new(), &server);
        let other = connect(Client::new(), &server);
        assert_eq!(client.call("upper", "ada"), Ok("ADA".into()));
        assert_eq!(client.call("lamps", "lamps"), Ok("7 lamps".into()));
        client.send_acked("log in", "Ada").unwrap();
        assert_eq!(client.call("who am I", ()), Ok("Ada".into()));
        assert_eq!(other.call("who am I", ()), remote("LOG_IN_FIRST"));
        assert_eq!(client.call("fail", ()), remote("NOT_FOUND"));
        assert!(
            matches!(client.call("upper", &[0xff]), Err(Error::Remote(error)) if error.code == "BAD_PAYLOAD")
        );
        // The server's side sees the same.
        let peer = server.peers().into_iter().find(|peer| peer.session().get::<String>().is_some()).unwrap();
        assert_eq!(server.peer(peer.id()).unwrap().remote(), peer.remote());
    });
}

#[test]
fn typed_calls_encode_and_decode() {
    #[derive(Debug, PartialEq)]
    struct Lamp(u8);

    impl Decode for Lamp {
        fn decode(payload: &Bytes) -> Result<Self, FormatError> {
            match payload[..] {
                [number] => Ok(Self(number)),
                _ => Err(FormatError::reading::<Self>("a lamp", "one byte is wanted")),
            }
        }
    }

    impl Encode for Lamp {
        fn encode(&self) -> Result<Bytes, FormatError> {
            if self.0 == 0 {
                return Err(FormatError::writing::<Self>("a lamp", "there is no lamp 0"));
            }
            Ok(vec![self.0].into())
        }
    }

    bounded(|| {
        let server = listen(echo().handle("next", |lamp: Lamp| Lamp(lamp.0 + 1)));
        let client = connect(Client::new(), &server);
        assert_eq!(client.call_as("next", Lamp(7)), Ok(Lamp(8)));
        let lamp = Lamp(8);
        assert_eq!(client.start("next", &lamp, SOON).unwrap().wait_as(), Ok(Lamp(9)));
        assert_eq!(client.call_as("echo", "text"), Ok("text".to_owned()));
        let unreadable = client.call_as::<Lamp>("echo", "no lamp");
        assert!(matches!(unreadable, Err(Error::UnreadableReply(UnreadableReply::Format(_)))));
        let calls = client.stats().calls;
        assert!(matches!(client.call("next", Lamp(0)), Err(Error::Unencodable(_))));
        assert!(matches!(client.send("next", Lamp(0)), Err(Error::Unencodable(_))));
        assert!(server.broadcast("next", Lamp(0)).is_err());
        assert_eq!(client.stats().calls, calls, "nothing was sent");
    });
}

#[cfg(feature = "json")]
#[test]
fn formats_work_as_everywhere() {
    use flyrpc_blocking::Json;

    bounded(|| {
        let server =
            listen(echo().handle("sum", |Json(list): Json<Vec<u32>>| Json(list.iter().sum::<u32>())));
        let client = connect(Client::new(), &server);
        assert_eq!(client.call_as("sum", Json([1, 2, 39])), Ok(Json(42_u32)));
        assert!(
            matches!(client.call("sum", "what?"), Err(Error::Remote(error)) if error.code == "BAD_PAYLOAD")
        );
    });
}

#[test]
fn an_async_handler_is_driven_to_its_end() {
    bounded(|| {
        let (begun, has_begun) = channel();
        let signals = [Signal::default(), Signal::default()];
        let [first, second] = signals.clone();
        let server = listen(echo().handle("wait", move |context: Context, payload: Bytes| {
            let (begun, first, second) = (begun.clone(), first.clone(), second.clone());
            async move {
                begun.send(()).unwrap();
                first.wait().await;
                // Blocks as its own thread may, and so uses up wake-ups of the thread.
                let echoed = context.peer().call("echo", &payload)?;
                begun.send(()).unwrap();
                second.wait().await;
                Ok::<_, Error>(echoed)
            }
        }));
        let client = connect(Client::new().handle("echo", |payload: Bytes| payload), &server);
        let call = client.start("wait", "x", SOON).unwrap();
        for signal in signals {
            has_begun.recv_timeout(SOON).unwrap();
            assert_eq!(client.call("echo", "meanwhile"), Ok("meanwhile".into()));
            signal.give();
        }
        assert_eq!(call.wait(), Ok("x".into()));
    });
}

#[test]
fn an_async_handler_is_dropped_when_its_caller_gives_up() {
    bounded(|| {
        let (tell, hear) = channel();
        let (waits, watches) = (tell.clone(), tell.clone());
        let server = listen(
            echo()
                .handle("for ever", move || {
                    let told = Told(waits.clone());
                    async move {
                        told.0.send("begun").unwrap();
                        core::future::pending::<()>().await;
                    }
                })
                .handle("watch", move |context: Context| {
                    let told = Told(watches.clone());
                    async move {
                        told.0.send("begun").unwrap();
                        context.cancelled().await;
                        core::future::pending::<()>().await;
                    }
                }),
        );
        let client = connect(Client::new(), &server);
        client.hello().unwrap();
        for _ in 0..10 {
            let call = client.start("for ever", (), SOON).unwrap();
            assert_eq!(hear.recv_timeout(SOON), Ok("begun"));
            call.cancel();
            assert_eq!(hear.recv_timeout(SOON), Ok("dropped"));
        }
        // One that watches is dropped as well: it is not to go on.
        let call = client.start("watch", (), SOON).unwrap();
        assert_eq!(hear.recv_timeout(SOON), Ok("begun"));
        call.cancel();
        assert_eq!(hear.recv_timeout(SOON), Ok("dropped"));
        // And so does the end of the connection.
        let _call = client.start("for ever", (), SOON).unwrap();
        assert_eq!(hear.recv_timeout(SOON), Ok("begun"));
        server.peers()[0].close();
        assert_eq!(hear.recv_timeout(SOON), Ok("dropped"));
        until("the server has seen it", || server.peers().is_empty());
    });
}

#[test]
fn a_message_whose_handler_watches_learns_of_the_end() {
    bounded(|| {
        let (tell, hear) = channel();
        let server = listen(echo().handle("watch", move |context: Context| {
            let tell = tell.clone();
            async move {
                tell.send("begun").unwrap();
                context.cancelled().await;
                assert!(context.is_cancelled());
                tell.send("over").unwrap();
            }
        }));
        let client = connect(Client::new(), &server);
        client.send("watch", ()).unwrap();
        assert_eq!(hear.recv_timeout(SOON), Ok("begun"));
        drop(client);
        assert_eq!(hear.recv_timeout(SOON), Ok("over"));
    });
}

#[test]
fn p10_messages_with_async_handlers_are_handled_in_their_order() {
    const MESSAGES: u32 = 500;
    bounded(|| {
        let (heard, hear) = channel();
        let server = listen(echo().handle("note", move |payload: Bytes| {
            let heard = heard.clone();
            async move {
                let mut polls = 0;
                poll_fn(|cx| {
                    polls += 1;
                    cx.waker().wake_by_ref();
                    if polls > 2 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                heard.send(payload).unwrap();
            }
        }));
        let client = connect(Client::new(), &server);
        for number in 0..MESSAGES {
            client.send("note", &number.to_be_bytes()).unwrap();
        }
        for number in 0..MESSAGES {
            assert_eq!(hear.recv_timeout(SOON).unwrap(), number.to_be_bytes()[..]);
        }
    });
}

#[test]
fn an_async_handler_that_takes_too_long_is_dropped_and_answered() {
    bounded(|| {
        let (tell, hear) = channel();
        let server = listen(echo().handler_timeout(Duration::from_millis(50)).handle(
            "for ever",
            move |context: Context| {
                let told = Told(tell.clone());
                async move {
                    told.0
                        .send(if context.deadline().is_some() { "has a deadline" } else { "has none" })
                        .unwrap();
                    core::future::pending::<()>().await;
                }
            },
        ));
        let client = connect(Client::new(), &server);
        assert_eq!(client.call("for ever", ()), remote("TIMEOUT"));
        let events: Vec<_> = hear.try_iter().collect();
        assert_eq!(events, ["has a deadline", "dropped"]);
        assert_eq!(client.call("echo", "alive"), Ok("alive".into()));
    });
}

#[test]
fn panics_are_reported() {
    bounded(|| {
        let (tell, hear) = channel();
        // Without the hook of the process that would print it.
        fn panics() {
            std::panic::resume_unwind(Box::new("no such lamp"));
        }
        let server = listen(
            Server::new()
                .on_panic(move |report| tell.send(report.clone()).unwrap())
                .handle("sync", panics)
                .handle("first", || async { panics() })
                .handle("later", || async {
                    let mut polled = false;
                    poll_fn(|cx| {
                        cx.waker().wake_by_ref();
                        if core::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
                    })
                    .await;
                    panics();
                }),
        );
        let client = connect(Client::new(), &server);
        until("it is connected", || server.connections() == 1);
        let id = server.peers()[0].id();
        for code in ["sync", "first", "later"] {
            assert_eq!(client.call(code, "hunter2"), remote("HANDLER_PANIC"));
            let report = hear.recv_timeout(SOON).unwrap();
            assert_eq!((report.code.as_str(), report.connection), (code, id));
            assert_eq!(report.message.as_deref(), Some("no such lamp"));
        }
        client.send("later", ()).unwrap();
        assert_eq!(hear.recv_timeout(SOON).unwrap().code, "later");
    });
}

#[test]
fn calls_lost_because_the_peer_broke_the_protocol_say_where() {
    bounded(|| {
        let (mut raw, client) = Raw::with(Client::new().limits(Limits::new()));
        let call = client.start("x", (), SOON).unwrap();
        raw.read();
        raw.write([&[RESPONSE | 3, 0, 1, 0][..], &[0xff; 8]].concat());
        let Err(Error::Protocol(error)) = call.wait() else { panic!("another error") };
        assert_eq!(client.closed(), flyrpc_blocking::CloseReason::Protocol(error));
        assert!(error.to_string().contains("offset") || error.to_string().contains("byte"), "{error}");
    });
}
