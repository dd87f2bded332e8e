//! Runs each example as its readers would, and looks at what it says
//!
//! The whole package's tests build the examples first: `cargo test -p flyrpc-examples`. With `--test run` alone cargo does
//! not; a program older than its source is refused then.

#![allow(clippy::unwrap_used, reason = "tests")]

use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use flyrpc_core::{Call, Connection, Incoming, Instant, Limits, RecvBuf, Table, What, fly::Fly};
use flyrpc_tokio::{Client, Error, RemoteError};

/// Far more than any of it takes: only a failure waits so long
const PATIENCE: Duration = Duration::from_secs(120);

fn program(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.parent().and_then(Path::parent).unwrap().join("examples");
    let path = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.rs"));
    let time = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified());
    let fresh = time(&path).is_ok_and(|built| built >= time(&source).unwrap());
    assert!(fresh, "{} is missing or old: cargo build -p flyrpc-examples --examples", path.display());
    Command::new(path)
}

/// A running example; it ends with the test
struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    fn start(name: &str, args: &[&str]) -> Self {
        let mut command = program(name);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, seen: vec![format!("{name} {}", args.join(" "))] }
    }

    /// A server, and its address
    fn serve(name: &str, args: &[&str]) -> (Self, String) {
        let mut running = Self::start(name, args);
        let line = running.until("listening on ");
        (running, line.trim_start_matches("listening on ").to_owned())
    }

    /// The next line with `part` in it
    fn until(&mut self, part: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no line with \"{part}\" came: {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// All lines to the end, which is a success or not
    fn end(mut self, success: bool) -> Vec<String> {
        drop(self.stdin());
        let mut lines = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            lines.push(line);
        }
        assert_eq!(self.child.wait().unwrap().success(), success, "{:?}: {lines:#?}", self.seen);
        lines
    }

    fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(name: &str, args: &[&str]) -> Vec<String> {
    Running::start(name, args).end(true)
}

/// A folder that is removed with the test
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        // Not under target/: a socket's path is short.
        let path = std::env::temp_dir().join(format!("flyrpc-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const ANY_PORT: &str = "127.0.0.1:0";

#[test]
fn hello() {
    let (_server, address) = Running::serve("hello-server", &[ANY_PORT]);
    assert_eq!(run("hello-client", &[&address]), ["hi", "hello, Ada"]);
}

#[test]
fn typed() {
    assert_eq!(
        run("typed", &[]),
        [
            "added lamp 1",
            "dimmed: Lamp { name: \"kitchen\", brightness: 80 }",
            "notified: Lamp { name: \"kitchen\", brightness: 80 }",
            "the peer answered with an error: NO_SUCH_LAMP (25 bytes of details)",
            "  which means: there is no lamp 7",
            "the peer answered with an error: TOO_BRIGHT (26 bytes of details)",
            "  which means: a lamp takes 100 at the most",
            "BAD_PAYLOAD: not JSON for typed::Lamp: another shape or range, at line 1 column 12",
            "no cake: it did not come in time",
        ]
    );
}

#[test]
fn arith() {
    let said = "7 * 2 = 14; 7 / 2 = 3, rest 1; 7 / 0: divide by zero; 7 * 1, 2, 3 = [7, 14, 21]";
    let schemes = [
        "fly+tcp",
        "jsonrpc+tcp",
        "jsonrpc+ws",
        "jsonrpc+http",
        "jsonrpc+ws",
        "jsonrpc+connect",
        "jsonrpc+stdio",
    ];
    assert_eq!(run("arith", &[]), schemes.map(|scheme| format!("{scheme}: {said}")));

    let (_server, address) = Running::serve("arith", &["serve", "jsonrpc+http://127.0.0.1:0"]);
    assert_eq!(run("arith", &["call", &address]), [said]);
    Running::start("arith", &["call", "jsonrpc+tcp://127.0.0.1"]).end(false);
    assert_eq!(curl(&address), r#"{"jsonrpc":"2.0","id":1,"result":56}"#);
}

/// What the documentation's `curl` prints, without needing one
fn curl(address: &str) -> String {
    let host = address.trim_start_matches("jsonrpc+http://").trim_end_matches('/');
    let body = r#"{"jsonrpc":"2.0","method":"Arith.Multiply","params":{"A":7,"B":8},"id":1}"#;
    let mut socket = TcpStream::connect(host).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        socket,
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer.rsplit("\r\n").next().unwrap().to_owned()
}

#[test]
fn subscriptions() {
    let seen = ["3", "2", "1", "the end: \"lift-off\"", "1000000 and 10"];
    assert_eq!(run("subscriptions", &[]), seen);
}

#[test]
fn chat() {
    let (mut server, address) = Running::serve("chat", &["serve", ANY_PORT]);
    let mut ada = Running::start("chat", &["join", &address, "Ada"]);
    ada.until("* Ada joined");
    let mut bob = Running::start("chat", &["join", &address, "Bob"]);
    ada.until("* Bob joined");

    let mut from_ada = ada.stdin().unwrap();
    writeln!(from_ada, "hello, Bob").unwrap();
    assert_eq!(bob.until("hello"), "Ada: hello, Bob");
    assert!(
        !Running::start("chat", &["join", &address, "Ada"]).end(false).contains(&"* Ada joined".to_owned())
    );

    let mut from_bob = bob.stdin().unwrap();
    writeln!(from_bob, "bye").unwrap();
    drop(from_bob);
    bob.end(true);
    assert_eq!(ada.until("Bob"), "Bob: bye");
    assert_eq!(ada.until("Bob"), "* Bob left");
    server.until("left");

    drop(server);
    // The connection is lost, so this is no success.
    ada.end(false);
    drop(from_ada);
}

#[cfg(unix)]
#[test]
fn agents() {
    let folder = Folder::new("agents");
    let address = format!("unix:{}", folder.file("socket"));
    let (mut server, _) = Running::serve("agents", &["serve", &address]);
    let mut kitchen = Running::start("agents", &["agent", &address, "kitchen", "lamp", "indoors"]);
    kitchen.until("registered");
    let mut garden = Running::start("agents", &["agent", &address, "garden", "lamp"]);
    garden.until("registered");

    assert_eq!(run("agents", &["list", &address]), ["garden [lamp]", "kitchen [lamp, indoors]"]);
    assert_eq!(run("agents", &["run", &address, "kitchen", "echo on"]), ["kitchen: on"]);
    assert_eq!(run("agents", &["run-all", &address, "echo off"]), ["garden: off", "kitchen: off"]);
    assert_eq!(
        run("agents", &["run", &address, "garden", "jump"]),
        ["garden failed: BAD_COMMAND: echo TEXT, uptime or sleep SECONDS"]
    );
    Running::start("agents", &["run", &address, "cellar", "echo on"]).end(false);

    // The deadline ends the order at the operator's end, and the work at the agents'.
    let late = run("agents", &["run-all", &address, "sleep 600", "300"]);
    assert_eq!(
        late,
        ["garden", "kitchen"].map(|name| format!("{name} failed: the answer did not come in time"))
    );
    kitchen.until("over: sleep 600");
    garden.until("over: sleep 600");

    // An agent that is gone is known to be, and one whose server comes back is back.
    drop(garden);
    server.until("garden is gone");
    drop(server);
    kitchen.until("lost the server");
    let (_server, _) = Running::serve("agents", &["serve", &address]);
    kitchen.until("registered");
    assert_eq!(run("agents", &["run-all", &address, "echo again"]), ["kitchen: again"]);
}

#[test]
fn file_transfer_in_constant_memory() {
    const MIB: usize = 1 << 20;
    let folder = Folder::new("files");
    let (sent, store, copy) = (folder.file("big"), folder.file("store"), folder.file("copy"));
    run("file-transfer", &["make", &sent, "64"]);
    let bytes = std::fs::read(&sent).unwrap();
    assert_eq!(bytes.len(), 64 * MIB);

    let (_server, address) = Running::serve("file-transfer", &["serve", ANY_PORT, &store]);
    let lean = |report: &[String]| {
        for line in &report[1..] {
            let growth = line.split(", ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
            assert!(growth.parse::<u32>().unwrap() < 32 << 10, "{report:#?}");
        }
        assert_eq!(report.len(), 3, "{report:#?}");
    };
    let report = run("file-transfer", &["put", &address, &sent]);
    assert!(report[0].starts_with("sent 64.0 MiB in "), "{report:#?}");
    lean(&report);
    assert!(std::fs::read(folder.0.join("store/big")).unwrap() == bytes);

    let report = run("file-transfer", &["get", &address, "big", &copy]);
    assert!(report[0].starts_with("received 64.0 MiB in "), "{report:#?}");
    lean(&report);
    assert!(std::fs::read(&copy).unwrap() == bytes);

    // What is there already is not sent again, either way, and not even up to a whole chunk.
    let there = 40 * MIB + 1234;
    std::fs::write(folder.0.join("store/big.part"), &bytes[..there]).unwrap();
    let report = run("file-transfer", &["put", &address, &sent]);
    assert!(report[0].starts_with("sent 24.0 MiB in "), "{report:#?}");
    assert!(report[0].ends_with(&format!(", from byte {there} on")), "{report:#?}");
    assert!(std::fs::read(folder.0.join("store/big")).unwrap() == bytes);
    std::fs::write(format!("{copy}.part"), &bytes[..there]).unwrap();
    let report = run("file-transfer", &["get", &address, "big", &copy]);
    assert!(report[0].ends_with(&format!(", from byte {there} on")), "{report:#?}");
    assert!(std::fs::read(&copy).unwrap() == bytes);

    // What is there is of something else: found out at the end, and the next try starts at the beginning.
    std::fs::write(folder.0.join("store/big.part"), vec![0; 60 * MIB]).unwrap();
    Running::start("file-transfer", &["put", &address, &sent]).end(false);
    let report = run("file-transfer", &["put", &address, &sent]);
    assert!(report[0].starts_with("sent 64.0 MiB in "), "{report:#?}");

    // Names are no paths.
    for name in ["../big", "/etc/hostname", ".hidden", "none"] {
        Running::start("file-transfer", &["get", &address, name, &folder.file("stolen")]).end(false);
    }
}

#[tokio::test]
async fn own_loop_answers_and_calls_back() {
    let (mut server, address) = Running::serve("own-loop", &[ANY_PORT]);
    assert_eq!(run("hello-client", &[&address]), ["hi", "hello, Ada"]);
    assert_eq!(server.until("message"), "message echo, 10 bytes");
    server.until("left");

    let silent = Client::new().handle("name", core::future::pending::<()>).connect(&address).await.unwrap();
    let rude = Client::new().handle("name", || RemoteError::new("GUESS")).connect(&address).await.unwrap();
    let late = silent.call("greet", ());
    assert_eq!(rude.call("greet", ()).await, Err(Error::Remote("GUESS".into())));
    assert_eq!(rude.call("jump", ()).await, Err(Error::Remote("NOT_FOUND".into())));
    assert_eq!(late.await, Err(Error::Remote("TIMEOUT".into())));
    // Larger than any buffer of the loop's, and larger than it takes
    let large = vec![7; 1 << 20];
    assert!(silent.call("echo", &large).await.unwrap() == large);
    assert_eq!(silent.call("echo", vec![7; (1 << 20) + 1]).await, Err(Error::Remote("TOO_LARGE".into())));
    assert_eq!(silent.ping(64, PATIENCE).await.unwrap().len, 64);
}

/// A client that sends and sends, and reads nothing: the loop stops reading it, serves the others, and loses nothing
#[tokio::test]
async fn own_loop_holds_a_flood_back() {
    const CALLS: u32 = 30_000;
    let (_server, address) = Running::serve("own-loop", &[ANY_PORT]);
    let mut socket = TcpStream::connect(&address).unwrap();
    let mut flood = Connection::<Fly, Table<u32>>::new(Fly::default(), Limits::new());
    let (now, payload) = (Instant::ZERO, [5; 4000]);
    let mut packets = Vec::new();
    for number in 0..CALLS {
        let call = Call::new("echo", &payload).deadline(Instant::FAR);
        flood.call(now, call, number, &mut packets).unwrap();
    }
    // It is stuck for good when it is stuck for this long; were it slow only, less would be sent here.
    socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut sent = 0;
    while sent < packets.len()
        && let Ok(len) = socket.write(&packets[sent..])
    {
        sent += len;
    }
    assert!(sent < packets.len() / 2, "{sent} of {} bytes were taken", packets.len());

    let other = flyrpc_tokio::connect(&address).await.unwrap();
    assert_eq!(other.call("echo", "still there").await.unwrap(), "still there");

    // Now everything goes, and comes back.
    let mut writing = socket.try_clone().unwrap();
    writing.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let writer = std::thread::spawn(move || writing.write_all(&packets[sent..]).unwrap());
    let mut input = RecvBuf::new(vec![0; 64 << 10]);
    let mut answers = 0;
    while answers < CALLS {
        let len = socket.read(input.space()).unwrap();
        assert_ne!(len, 0, "the server has closed after {answers} answers");
        input.filled(len);
        loop {
            let step = flood.handle_input(now, input.data()).unwrap();
            match step.what {
                What::NeedMore { .. } => break,
                What::Incoming(Incoming::Reply { tag, code: b"", body, .. }) => {
                    assert_eq!((tag, body.bytes()), (answers, &payload[..]));
                    answers += 1;
                }
                other @ (What::Blocked | What::Handled | What::Incoming(_)) => panic!("{other:?}"),
            }
            input.consume(step.consumed);
        }
    }
    writer.join().unwrap();
}
