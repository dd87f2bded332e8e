//! `flyrpc demo`: servers and clients on loopback, and all that they can say to each other

mod json;

use core::time::Duration;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use bytes::Bytes;
use flyrpc_core::fly::zip::Zipper;
use flyrpc_driver::{CloseReason, Error, Router, ZipMode};
use flyrpc_smol::Smol;
use flyrpc_tokio::Tokio;

use crate::handlers;
use crate::log::Log;
use crate::report::{BAD, Failure, bytes, grouped, millis, preview, say};
use crate::side::{Kind, On, Side, Threads};

pub(crate) async fn run() -> Result<ExitCode, Failure> {
    type OnTokio = On<Tokio>;
    type OnSmol = On<Smol>;

    let mut show = Show::default();
    section::<OnTokio, OnTokio>(&mut show, "tokio: a server and a client, one connection, calls both ways")
        .await?;
    // The same steps, told in fewer words.
    show.compact = true;
    section::<OnSmol, OnSmol>(&mut show, "smol: the same steps").await?;
    section::<Threads, Threads>(&mut show, "blocking sockets and threads: the same steps").await?;
    section::<OnSmol, OnTokio>(&mut show, "a tokio client calls a smol server").await?;
    section::<Threads, OnSmol>(&mut show, "a smol client calls a blocking server").await?;
    section::<OnTokio, Threads>(&mut show, "a blocking client calls a tokio server").await?;

    json::section(&mut show).await?;

    let Show { passed, failed, .. } = show;
    say(format_args!("{passed} of {} steps as expected", passed + failed));
    say(
        "next: `flyrpc serve 127.0.0.1:7000`, and in another terminal `flyrpc call 127.0.0.1:7000 echo hello`",
    );
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
}

/// No step may take longer
const TIME: Duration = Duration::from_secs(5);

/// All steps, between a server and a client of these kinds
async fn section<S: Kind, C: Kind>(show: &mut Show, title: &str) -> Result<(), Failure> {
    let (heard, hearing) = mpsc::channel();
    let log = Arc::new(Log::default());
    let router = handlers::router::<S>(&log).handle("note", move |text: String| {
        let _ = heard.send(text);
    });
    let listening = S::listen(router, ZipMode::Mirror).await;
    let server = listening.map_err(|error| Failure::listen("127.0.0.1:0", &error))?;
    let address = S::address(&server);
    let router = Router::new().handle("name", || "Ada").handle("blink", || ());
    let connected = C::connect(&address, router, ZipMode::On).await;
    let client = connected.map_err(|error| Failure::connect(&address, &error))?;

    say(format_args!("{title} ({address})"));
    three_kinds(show, &*client, &hearing).await;
    both_ways::<S>(show, &*client, &server).await;
    failures(show, &*client).await;
    compression(show, &*client).await;
    many::<C>(show, &client).await;
    ending(show, &*client).await;
    S::shutdown(server, TIME).await;
    show.end_group();
    say("");
    Ok(())
}

/// Prints what happens: a line a step, or a line a group of steps
#[derive(Default)]
struct Show {
    compact: bool,
    passed: u32,
    failed: u32,
    group: Option<Group>,
}

struct Group {
    title: &'static str,
    steps: u32,
    time: Duration,
}

impl Show {
    /// The steps that follow belong together
    fn group(&mut self, title: &'static str) {
        self.end_group();
        self.group = Some(Group { title, steps: 0, time: Duration::ZERO });
    }

    fn end_group(&mut self) {
        if let Some(Group { title, steps, time }) = self.group.take()
            && self.compact
        {
            say(format_args!("  {title:<52} {steps} ok  [{}]", millis(time)));
        }
    }

    #[expect(clippy::disallowed_methods, reason = "shows how long a step took")]
    async fn step(&mut self, who: &str, what: &str, run: impl Future<Output = Result<String, String>>) {
        let start = Instant::now();
        let result = run.await;
        let time = start.elapsed();
        let (mark, text) = match &result {
            Ok(text) => ("ok", text),
            Err(text) => ("NOT AS EXPECTED", text),
        };
        *(if result.is_ok() { &mut self.passed } else { &mut self.failed }) += 1;
        if let Some(group) = &mut self.group {
            group.steps += u32::from(result.is_ok());
            group.time += time;
        }
        if !self.compact || result.is_err() {
            say(format_args!("  {who:<7} {what:<44} {text}  [{mark}, {}]", millis(time)));
        }
    }
}

async fn three_kinds(show: &mut Show, client: &impl Side, heard: &mpsc::Receiver<String>) {
    show.group("request, request with implicit ack, message");
    show.step("client", "request with response: echo \"hello\"", async {
        expect(client.call("echo", b"hello", TIME).await, b"hello")
    })
    .await;
    show.step("client", "request with implicit ack: note \"one\"", async {
        told(client.send_acked("note", b"one").await, "acknowledged")
    })
    .await;
    show.step("client", "message, no response: note \"two\"", async {
        client.send("note", b"two").await.map_err(|error| error.to_string())?;
        match (heard.recv_timeout(TIME).as_deref(), heard.recv_timeout(TIME).as_deref()) {
            (Ok("one"), Ok("two")) => Ok("the server has handled both, in order".to_owned()),
            other => Err(format!("the server has heard {other:?}")),
        }
    })
    .await;
}

async fn both_ways<S: Kind>(show: &mut Show, client: &impl Side, server: &S::Server) {
    show.group("calls from the server to its client");
    show.step("client", "greet, whose handler calls `name` back", async {
        expect(client.call("greet", b"", TIME).await, b"hello, Ada")
    })
    .await;
    let peers = S::peers(server);
    show.step("server", "request to its client: name", async {
        expect(only(&peers)?.call("name", b"", TIME).await, b"Ada")
    })
    .await;
    show.step("server", "request with implicit ack: blink", async {
        told(only(&peers)?.send_acked("blink", b"").await, "-> acknowledged")
    })
    .await;
}

async fn failures(show: &mut Show, client: &impl Side) {
    show.group("errors, capabilities, time-out, cancel");
    show.step("client", "error of the handler: fail", async {
        expect_error(client.call("fail", b"lamp 7", TIME).await, "NO_SUCH_LAMP (6 bytes of details)")
    })
    .await;
    show.step("client", "error for an unknown code: nowhere", async {
        expect_error(client.call("nowhere", b"", TIME).await, "NOT_FOUND")
    })
    .await;
    show.step("client", "hello: what can the other end do?", async {
        match client.hello().await {
            Ok(peer) if peer.cancel && peer.zip => Ok("it knows cancel and compression".to_owned()),
            Ok(peer) => Err(format!("{peer:?}")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    show.step("client", "time-out: sleep 10000 within 50 ms", async {
        let result = client.call("sleep", b"10000", Duration::from_millis(50)).await;
        expect_error(result, "the answer did not come in time")
    })
    .await;
    show.step("client", "cancel: sleep 10000, given up at once", async {
        client.give_up("sleep", b"10000").await.map_err(|error| error.to_string())?;
        told(client.send_acked("echo", b"still here").await, "the connection and other calls go on")
    })
    .await;
}

async fn compression(show: &mut Show, client: &impl Side) {
    show.group("compression, ping");
    let payload: Vec<u8> = b"the same words again and ".iter().copied().cycle().take(100_000).collect();
    let packed = Zipper::new(ZipMode::On).pack(b"echo", &payload).payload.len() as u64;
    show.step("client", "compressed request: echo of 100,000 bytes", async {
        match client.call("echo", &payload, TIME).await {
            Ok(answer) if answer == payload => Ok(format!("{} bytes on the wire each way", grouped(packed))),
            Ok(answer) => Err(format!("{} bytes came back, and not the same", answer.len())),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    show.step("client", "ping of 64 bytes", async {
        match client.ping(64, TIME).await {
            Ok(pong) => Ok(format!("{} back in {}", bytes(pong.len), millis(pong.time))),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}

const CALLERS: u32 = 4;
const CALLS: u32 = 2_500;

#[expect(clippy::disallowed_methods, reason = "shows a rate")]
async fn many<C: Kind>(show: &mut Show, client: &C::Peer) {
    show.group("4 callers at once, 10,000 calls");
    show.step("client", "4 callers at once, 10,000 calls", async {
        let (told, results) = mpsc::channel();
        let start = Instant::now();
        for caller in 0..CALLERS {
            let (client, told) = (client.clone(), told.clone());
            C::spawn(Box::pin(async move {
                for call in 0..CALLS {
                    let _ = told.send(echoed(&client, caller, call).await);
                }
            }));
        }
        drop(told);
        let right = results.iter().filter(|is_right| *is_right).count() as u64;
        let rate = grouped((right as f64 / start.elapsed().as_secs_f64()) as u64);
        let wrong = u64::from(CALLERS * CALLS) - right;
        if wrong == 0 {
            Ok(format!("each its own answer, {rate} calls a second"))
        } else {
            Err(format!("{wrong} calls failed or got another's answer"))
        }
    })
    .await;
}

async fn echoed(client: &impl Side, caller: u32, call: u32) -> bool {
    let payload = [caller.to_be_bytes(), call.to_be_bytes()].concat();
    client.call("echo", &payload, TIME).await.is_ok_and(|answer| answer == payload)
}

async fn ending(show: &mut Show, client: &impl Side) {
    show.group("drain, call after the end");
    show.step("client", "drain", async {
        let why = client.drain(TIME).await;
        let text = "every answer has come; the connection is closed";
        if why == CloseReason::Drained { Ok(text.to_owned()) } else { Err(why.to_string()) }
    })
    .await;
    show.step("client", "call after the end", async {
        expect_error(client.call("echo", b"", TIME).await, "the call was not sent")
    })
    .await;
    let stats = client.stats();
    if !show.compact {
        say(format_args!(
            "  client: {} calls, {} answered, {} timed out, {} cancelled; {} requests from the server",
            grouped(stats.calls),
            grouped(stats.answered),
            stats.timed_out,
            stats.cancelled,
            stats.requests
        ));
    }
}

/// The server's one connection
fn only<P>(peers: &[P]) -> Result<&P, String> {
    let [peer] = peers else { return Err(format!("the server has {} connections", peers.len())) };
    Ok(peer)
}

fn told(result: Result<(), Error>, text: &str) -> Result<String, String> {
    result.map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn expect(result: Result<Bytes, Error>, payload: &[u8]) -> Result<String, String> {
    match result {
        Ok(answer) if answer == payload => Ok(format!("-> {}", preview(&answer, 30))),
        Ok(answer) => Err(format!("-> {}", preview(&answer, 30))),
        Err(error) => Err(error.to_string()),
    }
}

fn expect_error(result: Result<Bytes, Error>, text: &str) -> Result<String, String> {
    match result {
        Err(error) if error.to_string().ends_with(text) => Ok(format!("-> {text}")),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("it gave a result".to_owned()),
    }
}
