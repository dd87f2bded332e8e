//! The `flyrpc` command as people use it

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

fn flyrpc(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(args: &[&str]) -> Output {
    flyrpc(args).output().expect("flyrpc runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server on a free port, ended with the test
struct Server {
    child: Child,
    address: String,
    log: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut child = flyrpc(&[&["serve", "127.0.0.1:0"], args].concat()).spawn().expect("flyrpc runs");
        let mut log = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        log.read_line(&mut line).expect("a first line");
        let address =
            line.strip_prefix("listening on ").and_then(|rest| rest.split(';').next()).expect("an address");
        Self { child, address: address.to_owned(), log }
    }

    fn call(&self, args: &[&str]) -> Output {
        run(&[&["call", &self.address], args].concat())
    }

    /// Log lines up to the first with `part` in it
    fn log_until(&mut self, part: &str) -> String {
        let mut lines = String::new();
        while !lines.contains(part) {
            assert_ne!(self.log.read_line(&mut lines).expect("a line"), 0, "the log ended: {lines}");
        }
        lines
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_demo_runs_every_step_as_expected() {
    let output = run(&["demo"]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{out}{}", text(&output.stderr));
    assert!(out.contains("96 of 96 steps as expected") && !out.contains("NOT AS EXPECTED"), "{out}");
}

#[test]
fn call_prints_the_answer_as_it_is() {
    let server = Server::start(&[]);
    let output = server.call(&["echo", "hello"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "hello".to_owned()));
    assert_eq!(text(&server.call(&["upper", "grüße"]).stdout), "GRÜSSE");
    assert_eq!(
        text(&server.call(&["echo", "--json", "{\"a\": [1, 2]}", "--output", "raw"]).stdout),
        "{\"a\":[1,2]}"
    );
    assert_eq!(text(&server.call(&["echo", "--hex", "00 ff", "--output", "hex"]).stdout), "00ff\n");
    let stats: serde_json::Value = serde_json::from_slice(&server.call(&["stats"]).stdout).expect("JSON");
    assert_eq!((&stats["by_code"]["echo"], &stats["requests"]), (&3.into(), &4.into()));
}

#[test]
fn payloads_come_from_files_and_standard_input_too() {
    let server = Server::start(&["--quiet"]);
    let payload: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let path = std::env::temp_dir().join(format!("flyrpc-cli-{}", std::process::id()));
    std::fs::write(&path, &payload).expect("a temporary file");
    let answer = server.call(&["echo", "--zip", "on", "--file", path.to_str().expect("UTF-8")]).stdout;
    std::fs::remove_file(&path).expect("removed");
    assert!(answer == payload, "{} bytes", answer.len());

    let mut child =
        flyrpc(&["call", &server.address, "upper", "--stdin"]).stdin(Stdio::piped()).spawn().expect("runs");
    child.stdin.take().expect("piped").write_all(b"from stdin").expect("written");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(text(&output.stdout), "FROM STDIN");
}

#[test]
fn failures_have_their_exit_codes_and_say_what_is_wrong() {
    let server = Server::start(&[]);
    let expect = |output: Output, code: i32, part: &str| {
        let err = text(&output.stderr);
        assert!(output.status.code() == Some(code) && err.contains(part), "{:?}: {err}", output.status);
    };
    expect(server.call(&["nowhere"]), 1, "NOT_FOUND");
    expect(server.call(&["sleep", "soon"]), 1, "number of milliseconds");
    expect(server.call(&["echo", "--json", "{"]), 1, "not JSON");
    expect(server.call(&["echo", "--file", "/nonexistent"]), 1, "/nonexistent");
    expect(server.call(&["echo", "text", "--stdin"]), 2, "cannot be used with");
    expect(server.call(&["sleep", "60000", "--timeout", "0.1"]), 4, "did not come in time");
    expect(run(&["call", "localhost", "echo"]), 2, "the port is missing");
    expect(run(&["call", "ftp://localhost:1", "echo"]), 2, "scheme");
    expect(run(&[]), 2, "Usage");
    let free =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    expect(run(&["call", &free.to_string(), "echo"]), 3, "is the server running?");
}

#[test]
fn a_lost_connection_ends_the_call_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 64]);
    });
    let output = run(&["call", &address, "echo", "hello", "--timeout", "60"]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("the peer closed the connection"), "{}", text(&output.stderr));
    peer.join().expect("no panic");
}

#[test]
fn send_arrives_and_the_server_shows_what_comes() {
    let mut server = Server::start(&["--show-payloads"]);
    assert!(run(&["send", &server.address, "echo", "by the way"]).status.success());
    let log = server.log_until("message");
    assert!(log.contains("message \"echo\" of 10 bytes \"by the way\""), "{log}");
    assert!(run(&["send", &server.address, "echo", "noted?", "--acked"]).status.success());
    let log = server.log_until("request");
    assert!(log.contains("request \"echo\" of 6 bytes \"noted?\" -> 6 bytes"), "{log}");
}

#[test]
fn payloads_stay_out_of_the_log_unless_asked_for() {
    let mut server = Server::start(&[]);
    assert!(server.call(&["echo", "secret"]).status.success());
    let log = server.log_until("request");
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn ping_reports_round_trips() {
    let server = Server::start(&["--quiet"]);
    let output = run(&["ping", &server.address, "--len", "100", "--count", "3", "--interval", "0.01"]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{out}{}", text(&output.stderr));
    assert_eq!(out.matches("100 bytes from").count(), 3, "{out}");
    assert!(out.contains("3 sent, 3 answered, 0% lost") && out.contains("rtt min/avg/max/mdev = "), "{out}");
}

#[test]
fn ping_counts_what_is_not_answered() {
    // It accepts, by being in the backlog, and answers nothing.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let output = run(&["ping", &address, "--count", "2", "--interval", "0.01", "--timeout", "0.05"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stdout).contains("2 sent, 0 answered, 100% lost"), "{}", text(&output.stdout));
}

const PACKETS: &str =
    "4000016563686f000568656c6c6f 800001000568656c6c6f 000000 6e6f7465 00 04 66697265 800002464f4f0000";

#[test]
fn decode_shows_packets_as_a_table() {
    let output = run(&["decode", PACKETS]);
    let out = text(&output.stdout);
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["0", "request", "1", "echo", "5", "\"hello\""]);
    assert_eq!(lines[2], ["14", "response", "1", "-", "5", "\"hello\""]);
    assert_eq!(lines[3], ["24", "message", "0", "note", "4", "\"fire\""]);
    assert_eq!(lines[4], ["37", "error", "2", "FOO", "0", "\"\""]);
    let summary = "4 packets in 45 bytes: 1 request, 1 response, 1 error, 1 message";
    assert_eq!((output.status.code(), text(&output.stderr).trim()), (Some(0), summary));
}

#[test]
fn decode_reads_files_and_standard_input_binary_or_hex() {
    let digits: String = PACKETS.split_whitespace().collect();
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex"))
        .collect();
    for content in [bytes.as_slice(), PACKETS.as_bytes()] {
        let mut child = flyrpc(&["decode", "-", "--json"]).stdin(Stdio::piped()).spawn().expect("runs");
        child.stdin.take().expect("piped").write_all(content).expect("written");
        let output = child.wait_with_output().expect("ends");
        let rows: Vec<serde_json::Value> =
            text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(
            (rows.len(), &rows[2]["kind"], &rows[2]["payload_hex"]),
            (4, &"message".into(), &"66697265".into())
        );
    }
    let path = std::env::temp_dir().join(format!("flyrpc-decode-{}", std::process::id()));
    std::fs::write(&path, &bytes).expect("a temporary file");
    let output = run(&["decode", path.to_str().expect("UTF-8")]);
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(text(&output.stdout).lines().count(), 5);
}

#[test]
fn decode_tells_where_the_input_is_wrong() {
    let cases = [
        ("4000016563686f0005", "offset 0: the packet is cut short: it takes at least 14 bytes, 9 are there"),
        ("800001000161 40", "offset 6: the packet is cut short: it takes at least 5 bytes, 1 are there"),
        ("43000161 00 ffffffffffffffff", "cut short: it takes at least 18,446,744,073,709,551,615 bytes"),
        ("4z", "not a hex digit at character 2"),
    ];
    for (hex, error) in cases {
        let output = run(&["decode", hex]);
        let err = text(&output.stderr);
        assert!(output.status.code() == Some(1) && err.contains(error), "{hex}: {err}");
    }
    let output = run(&["decode", "--max-code", "8", &"40".repeat(20)]);
    let err = text(&output.stderr);
    assert!(err.contains("offset 11: the code has no end (0x00) within its limit, 8 bytes"), "{err}");
}

#[test]
fn output_that_can_not_be_written_is_an_error() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        println!("NOT CHECKED: there is no /dev/full here");
        return;
    };
    let output = flyrpc(&["decode", PACKETS]).stdout(full).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("can't write the output"), "{}", text(&output.stderr));
}

#[test]
fn json_is_sent_as_it_was_written_but_for_white_space() {
    let server = Server::start(&["--quiet"]);
    let json = "{\"x\": 1.10, \"n\": 12345678901234567890123, \"b\": 1, \"b\": 2}";
    let answer = server.call(&["echo", "--json", json, "--output", "raw"]);
    assert_eq!(text(&answer.stdout), json.replace(' ', ""));
}

#[test]
fn decode_inflates_and_says_what_does_not() {
    // Stored block of "hi", then bytes that are no DEFLATE stream.
    let output = run(&["decode", "04 0000 61 00 07 010200fdff6869 04 0000 61 00 01 ff"]);
    let out = text(&output.stdout);
    assert!(out.contains("\"hi\" (inflated to 2 bytes)") && out.contains("do not inflate"), "{out}");
    assert_eq!(output.status.code(), Some(1));
}
