//! The `flyrpc` command over serial lines: sockets that stand for one, and real tty devices

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

fn flyrpc(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(args: &[&str]) -> Output {
    flyrpc(args).output().unwrap()
}

fn answer(output: &Output) -> String {
    assert!(output.status.success(), "{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// The error that it ends with, on one line
fn error(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).replace('\n', " ")
}

/// A server, ended with the test
struct Server {
    child: Child,
    address: String,
    log: BufReader<ChildStdout>,
}

impl Server {
    fn start(address: &str) -> Self {
        let mut child = flyrpc(&["serve", address]).stderr(Stdio::inherit()).spawn().unwrap();
        let log = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { child, address: String::new(), log };
        // A port is a connection as soon as it is open, which may be said first.
        let mut line = String::new();
        while !line.starts_with("listening on ") {
            line.clear();
            assert!(server.log.read_line(&mut line).unwrap() > 0, "{address}: it has ended");
        }
        server.address = line["listening on ".len()..].split("; ").next().unwrap().to_owned();
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn calls_and_pings_over_a_socket_that_stands_for_a_line() {
    let server = Server::start("serial+tcp://127.0.0.1:0");
    assert!(server.address.starts_with("serial+tcp://127.0.0.1:"), "{}", server.address);
    assert_eq!(answer(&run(&["call", &server.address, "echo", "hello"])), "hello");
    assert_eq!(answer(&run(&["call", &server.address, "echo", &"x".repeat(20_000)])), "x".repeat(20_000));
    let pings = answer(&run(&["ping", &server.address, "--count", "3", "--interval", "0.001"]));
    assert!(pings.contains("3"), "{pings}");
    assert!(run(&["send", &server.address, "echo", "a message"]).status.success());
    let missing = error(&run(&["call", &server.address, "nobody"]));
    assert!(missing.contains("NOT_FOUND"), "{missing}");
}

#[test]
fn frames_and_plain_bytes_do_not_answer_each_other() {
    let server = Server::start("serial+tcp://127.0.0.1:0");
    let plain = format!("{}?framing=plain", server.address);
    let late = error(&run(&["call", &plain, "echo", "hello", "--timeout", "0.3"]));
    assert!(late.contains("no answer") || late.contains("tim"), "{late}");

    let server = Server::start("127.0.0.1:0");
    let plain = format!("serial+tcp://{}?framing=plain", server.address);
    assert_eq!(answer(&run(&["call", &plain, "echo", "hello"])), "hello");
}

#[test]
fn bad_addresses_name_what_is_wrong() {
    for (address, why) in [
        ("serial:/dev/ttyX?speed=9600", "'speed'"),
        ("serial:/dev/ttyX?baud=fast", "'fast'"),
        ("serial+tcp://127.0.0.1:1?baud=9600", "'baud'"),
        ("jsonrpc+serial:/dev/ttyX", "framing=plain"),
        ("serial:", "port's name"),
    ] {
        let output = run(&["call", address, "echo"]);
        assert_eq!(output.status.code(), Some(2), "{address}");
        assert!(error(&output).contains(why), "{}", error(&output));
    }
    let output = run(&["call", "serial:/dev/tty-that-is-not-there", "echo"]);
    assert!(
        error(&output).contains("/dev/tty-that-is-not-there: there is no such port"),
        "{}",
        error(&output)
    );
    let output = run(&["serve", "serial:/dev/tty-that-is-not-there"]);
    assert!(error(&output).contains("there is no such port"), "{}", error(&output));
}

#[test]
fn decode_shows_frames_and_their_sessions() {
    let line = "000108014d2eb98789ac00 00034d2e0301400501 6c65640802 6f6ece88e77a00 05ff 0000034d2e03";
    let output = run(&["decode", "--framing", "cobs", line]);
    assert_eq!(output.status.code(), Some(1), "there is damage");
    let (text, summary) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let rows: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(rows.len(), 4, "{text}");
    for (row, parts) in rows.iter().zip([
        ["1  announce", "from 0001 to 4d2e"],
        ["request", "from 4d2e to 0001"],
        ["damaged", "05ff"],
        ["damaged", "no end"],
    ]) {
        assert!(parts.iter().all(|part| row.contains(part)), "{row}");
    }
    assert!(rows[1].contains(" led ") && rows[1].contains("on"), "{text}");
    assert!(summary.contains("1 announcement, 2 damaged"), "{summary}");
    let json = run(&["decode", "--framing", "cobs", "--json", line]);
    assert!(String::from_utf8_lossy(&json.stdout).lines().all(|line| line.starts_with('{')), "objects alone");
    // A length that no number holds together with the head's is an error of one frame.
    let longest = "000102010102430303780dffffffffffffffff5fda3e5100";
    let output = run(&["decode", "--framing", "cobs", longest]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(1) && text.contains("not one packet"), "{output:?}");
    for (options, why) in
        [(["--framing", "lines"], "--dialect jsonrpc"), (["--dialect", "jsonrpc"], "FlyRPC")]
    {
        let mut args = vec!["decode", "00"];
        args.extend(options);
        if options[0] == "--dialect" {
            args.extend(["--framing", "cobs"]);
        }
        assert!(error(&run(&args)).contains(why), "{}", error(&run(&args)));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn calls_over_two_tty_devices() {
    use tokio_serial::{SerialPort as _, SerialStream};

    let ((mut a, near), (mut b, far)) = (SerialStream::pair().unwrap(), SerialStream::pair().unwrap());
    let names = [near.name().unwrap(), far.name().unwrap()];
    let cable = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut a, &mut b).await });
    let calls = tokio::task::spawn_blocking(move || {
        let server = Server::start(&format!("serial:{}", names[1]));
        assert_eq!(server.address, format!("serial:{}?baud=115200", names[1]));
        let near = format!("serial:{}?baud=115200", names[0]);
        for text in ["one", "two", "three"] {
            assert_eq!(answer(&run(&["call", &near, "echo", text])), text);
        }
        let busy = error(&run(&["call", &server.address, "echo", "x"]));
        assert!(busy.contains("another program has opened it"), "{busy}");
    });
    calls.await.unwrap();
    cable.abort();
    drop((near, far));
}

/// The line never tells why nobody answers, so the command says what to look at
#[test]
fn no_answer_over_a_line_says_what_may_be_the_matter() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let framed = format!("serial+tcp://{address}");
    let plain = format!("{framed}?framing=plain");

    let called = run(&["call", &framed, "echo", "--timeout", "0.2"]);
    assert_eq!(called.status.code(), Some(4));
    assert!(error(&called).contains("then say ?framing=plain"), "{}", error(&called));
    let called = run(&["send", &plain, "echo", "--acked", "--timeout", "0.2"]);
    assert_eq!(called.status.code(), Some(4));
    assert!(error(&called).contains("leave ?framing=plain out"), "{}", error(&called));
    let pinged = run(&["ping", &framed, "--count", "1", "--timeout", "0.2"]);
    assert_eq!(pinged.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&pinged.stdout).contains("then say ?framing=plain"));

    let elsewhere = run(&["call", &address.to_string(), "echo", "--timeout", "0.2"]);
    assert!(!error(&elsewhere).contains("framing"), "{}", error(&elsewhere));
}

#[test]
fn a_port_without_its_scheme_is_told_of_it() {
    let called = run(&["call", "/dev/ttyACM0", "echo"]);
    assert_eq!(called.status.code(), Some(2));
    assert!(error(&called).contains("a serial port serial:"), "{}", error(&called));
}
