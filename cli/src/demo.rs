//! `flyrpc demo`: a server and a client on loopback, and all that they can say to each other

use core::time::Duration;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use flyrpc_blocking::{Client, CloseReason, Connected, Error, Server, ServerHandle, ZipMode};
use flyrpc_core::fly::zip::Zipper;

use crate::report::{BAD, Failure, bytes, grouped, millis, preview, say};
use crate::serve::Log;

pub(crate) fn run() -> Result<ExitCode, Failure> {
    let (heard, hearing) = mpsc::channel();
    let log = Arc::new(Log::new(true, false));
    let server = Log::handlers(&log, Server::new())
        .zip(ZipMode::Mirror)
        .handle("greet", |request| {
            // The server calls its client while it handles the client's call.
            let name = request.peer().call("name", b"")?;
            Ok(format!("hello, {}", String::from_utf8_lossy(&name)))
        })
        .handle("lamp", |_| flyrpc_blocking::RemoteError::new("NO_SUCH_LAMP").details("lamp 7"))
        .handle("note", move |request| {
            let _ = heard.send(String::from_utf8_lossy(request.payload()).into_owned());
        })
        .listen("127.0.0.1:0")
        .map_err(|error| Failure::listen("127.0.0.1:0", &error))?;
    let address = server.address().to_string();
    let client = Client::new()
        .zip(ZipMode::On)
        .handle("name", |_| "Ada")
        .handle("blink", |_| ())
        .connect(&address)
        .map_err(|error| Failure::connect(&address, &error))?;

    say(format_args!("a server and a client on {address}, one connection, calls both ways\n"));
    let mut show = Show { passed: 0, failed: 0 };
    three_kinds(&mut show, &client, &hearing);
    both_ways(&mut show, &client, &server);
    failures(&mut show, &client);
    compression(&mut show, &client);
    show.step("client", "ping of 64 bytes", || match client.ping(64, SECOND) {
        Ok(pong) => Ok(format!("{} back in {}", bytes(pong.len), millis(pong.time))),
        Err(error) => Err(error.to_string()),
    });
    many(&mut show, &client);
    let before = (client.stats(), client.peer());
    show.step("client", "drain", || {
        let why = client.drain(SECOND);
        let text = "every answer has come; the connection is closed";
        if why == CloseReason::Drained { Ok(text.to_owned()) } else { Err(why.to_string()) }
    });
    show.step("client", "call after the end", || {
        expect_error(before.1.call("echo", b""), "the call was not sent")
    });
    server.shutdown(SECOND);

    let Show { passed, failed } = show;
    let stats = before.0;
    say(format_args!("\n{} of {} steps as expected", passed, passed + failed));
    say(format_args!(
        "client: {} calls, {} answered, {} timed out, {} cancelled; {} requests from the server",
        grouped(stats.calls),
        grouped(stats.answered),
        stats.timed_out,
        stats.cancelled,
        stats.requests
    ));
    say(
        "next: `flyrpc serve 127.0.0.1:7000`, and in another terminal `flyrpc call 127.0.0.1:7000 echo hello`",
    );
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
}

const SECOND: Duration = Duration::from_secs(5);

/// Prints what happens, a line a step
struct Show {
    passed: u32,
    failed: u32,
}

impl Show {
    #[expect(clippy::disallowed_methods, reason = "shows how long a step took")]
    fn step(&mut self, who: &str, what: &str, run: impl FnOnce() -> Result<String, String>) {
        let start = Instant::now();
        let result = run();
        let time = millis(start.elapsed());
        let (mark, text) = match &result {
            Ok(text) => ("ok", text),
            Err(text) => ("NOT AS EXPECTED", text),
        };
        *(if result.is_ok() { &mut self.passed } else { &mut self.failed }) += 1;
        say(format_args!("{who:<7} {what:<44} {text}  [{mark}, {time}]"));
    }
}

fn three_kinds(show: &mut Show, client: &Connected, heard: &mpsc::Receiver<String>) {
    show.step("client", "request with response: echo \"hello\"", || {
        expect(client.call("echo", b"hello"), b"hello")
    });
    show.step("client", "request with implicit ack: note \"one\"", || {
        match client.send_acked("note", b"one") {
            Ok(()) => Ok("acknowledged".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    });
    show.step("client", "message, no response: note \"two\"", || {
        client.send("note", b"two").map_err(|error| error.to_string())?;
        match (heard.recv_timeout(SECOND).as_deref(), heard.recv_timeout(SECOND).as_deref()) {
            (Ok("one"), Ok("two")) => Ok("the server has handled both, in order".to_owned()),
            other => Err(format!("the server has heard {other:?}")),
        }
    });
}

fn both_ways(show: &mut Show, client: &Connected, server: &ServerHandle) {
    show.step("client", "greet, whose handler calls `name` back", || {
        expect(client.call("greet", b""), b"hello, Ada")
    });
    let peers = server.peers();
    let [peer] = peers.as_slice() else {
        return show.step("server", "list connections", || Err(format!("{} connections", peers.len())));
    };
    show.step("server", "request to its client: name", || expect(peer.call("name", b""), b"Ada"));
    show.step("server", "request with implicit ack: blink", || expect(peer.call("blink", b""), b""));
}

fn failures(show: &mut Show, client: &Connected) {
    show.step("client", "error of the handler: lamp", || {
        expect_error(client.call("lamp", b"7"), "NO_SUCH_LAMP (6 bytes of details)")
    });
    show.step("client", "error for an unknown code: nowhere", || {
        expect_error(client.call("nowhere", b""), "NOT_FOUND")
    });
    show.step("client", "hello: what can the other end do?", || match client.hello() {
        Ok(peer) if peer.cancel && peer.zip => Ok("it knows cancel and compression".to_owned()),
        Ok(peer) => Err(format!("{peer:?}")),
        Err(error) => Err(error.to_string()),
    });
    show.step("client", "time-out: sleep 10000 within 50 ms", || {
        let result = client.call_within("sleep", b"10000", Duration::from_millis(50));
        expect_error(result, "the answer did not come in time")
    });
    show.step("client", "cancel: sleep 10000, given up at once", || {
        let pending = client.start("sleep", b"10000", SECOND).map_err(|error| error.to_string())?;
        pending.cancel();
        match client.call("echo", b"still here") {
            Ok(_) => Ok("the connection and other calls go on".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    });
}

fn compression(show: &mut Show, client: &Connected) {
    let payload: Vec<u8> = b"the same words again and ".iter().copied().cycle().take(100_000).collect();
    let packed = Zipper::new(ZipMode::On).pack(b"echo", &payload).payload.len() as u64;
    show.step("client", "compressed request: echo of 100,000 bytes", || {
        match client.call("echo", &payload) {
            Ok(answer) if answer == payload => Ok(format!("{} bytes on the wire each way", grouped(packed))),
            Ok(answer) => Err(format!("{} bytes came back, and not the same", answer.len())),
            Err(error) => Err(error.to_string()),
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "shows a rate")]
fn many(show: &mut Show, client: &Connected) {
    show.step("client", "4 threads, 10,000 calls", || {
        let start = Instant::now();
        let failed = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4_u32)
                .map(|thread| {
                    scope.spawn(move || (0..2_500_u32).filter(|call| !echoed(client, thread, *call)).count())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(2_500)).sum::<usize>()
        });
        let rate = 10_000.0 / start.elapsed().as_secs_f64();
        if failed == 0 {
            Ok(format!("each its own answer, {} calls a second", grouped(rate as u64)))
        } else {
            Err(format!("{failed} calls failed or got another's answer"))
        }
    });
}

fn echoed(client: &Connected, thread: u32, call: u32) -> bool {
    let payload = [thread.to_be_bytes(), call.to_be_bytes()].concat();
    client.call("echo", &payload).is_ok_and(|answer| answer == payload)
}

fn expect(result: Result<Vec<u8>, Error>, payload: &[u8]) -> Result<String, String> {
    match result {
        Ok(answer) if answer == payload && payload.is_empty() => Ok("-> acknowledged".to_owned()),
        Ok(answer) if answer == payload => Ok(format!("-> {}", preview(&answer, 30))),
        Ok(answer) => Err(format!("-> {}", preview(&answer, 30))),
        Err(error) => Err(error.to_string()),
    }
}

fn expect_error(result: Result<Vec<u8>, Error>, text: &str) -> Result<String, String> {
    match result {
        Err(error) if error.to_string().ends_with(text) => Ok(format!("-> {text}")),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("it gave a result".to_owned()),
    }
}
