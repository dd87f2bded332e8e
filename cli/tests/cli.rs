//! The `flyrpc` command as people use it

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
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
    /// What it lists in its first line
    handlers: Vec<String>,
    log: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut child = flyrpc(&[&["serve", "127.0.0.1:0"], args].concat()).spawn().expect("flyrpc runs");
        let mut log = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        log.read_line(&mut line).expect("a first line");
        let mut parts = line.strip_prefix("listening on ").expect("where it listens").split("; ");
        let address = parts.next().expect("an address").to_owned();
        let handlers = parts.next().and_then(|part| part.strip_prefix("handlers: ")).expect("handlers");
        let handlers = handlers.split(", ").map(str::to_owned).collect();
        Self { child, address, handlers, log }
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
    // One carrier of JSON-RPC, with six steps, is Unix sockets.
    let steps = if cfg!(unix) { "130 of 130" } else { "124 of 124" };
    assert!(out.contains(&format!("{steps} steps as expected")) && !out.contains("NOT AS EXPECTED"), "{out}");
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

#[test]
fn serve_has_the_handlers_that_it_lists() {
    let server = Server::start(&["--max-payload", "100000"]);
    let help = text(&run(&["serve", "--help"]).stdout);
    assert!(server.handlers.len() > 5, "{:?}", server.handlers);
    for handler in &server.handlers {
        assert!(help.lines().any(|line| line.starts_with(&format!("  {handler} "))), "{handler}: {help}");
    }
    let answer = |args: &[&str]| text(&server.call(args).stdout);
    assert_eq!(
        (answer(&["note", "1"]), answer(&["count"]), answer(&["count", "order"])),
        ("".into(), "1".into(), "1 0".into())
    );
    assert_eq!(answer(&["big", "28"]), "abcdefghijklmnopqrstuvwxyzab");
    let fails = |args: &[&str], part: &str| {
        let output = server.call(args);
        let err = text(&output.stderr);
        assert!(output.status.code() == Some(1) && err.contains(part), "{args:?}: {err}");
    };
    fails(&["big", "100001"], "TOO_LARGE");
    fails(&["big", "many"], "number of bytes");
    fails(&["fail", "lamp 7"], "NO_SUCH_LAMP\nflyrpc: details: \"lamp 7\"");
    // It asks back for a name.
    assert_eq!(answer(&["greet", "--name", "Ada"]), "hello, Ada");
}

#[test]
fn many_calls_are_counted_and_timed() {
    let server = Server::start(&["--quiet"]);
    let output = server.call(&["echo", "hi", "--repeat", "200", "--concurrency", "8"]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{out}{}", text(&output.stderr));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "200 calls of \"echo\" with 2 bytes, 8 at a time");
    assert!(
        lines[1].starts_with("200 answered, 0 failed in ") && lines[1].ends_with(" calls a second"),
        "{out}"
    );
    assert!(lines[2].starts_with("latency min/p50/p90/p99/max = ") && lines[2].ends_with(" ms"), "{out}");

    let output = server.call(&["nowhere", "--repeat", "5"]);
    let out = text(&output.stdout);
    assert!(out.contains("0 answered, 5 failed") && !out.contains("latency"), "{out}");
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("NOT_FOUND"), "{output:?}");
    assert_eq!(server.call(&["echo", "--concurrency", "8"]).status.code(), Some(2));
}

#[test]
fn traces_show_packets_without_their_payloads() {
    let mut server = Server::start(&["--quiet", "--trace"]);
    let output = server.call(&["echo", "secret", "--trace"]);
    let err = text(&output.stderr);
    assert_eq!(text(&output.stdout), "secret");
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines, ["-> request 1 \"echo\", 6 bytes", "<- response 1, 6 bytes"]);
    let log = server.log_until("-> response");
    assert!(log.contains(" <- request 1 \"echo\", 6 bytes") && !log.contains("secret"), "{log}");
}

#[test]
fn a_peer_that_gives_no_sign_of_life_is_lost() {
    // It accepts, by being in the backlog, and answers nothing.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let output = run(&["call", &address, "echo", "--timeout", "60", "--keepalive", "0.05"]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
}

#[test]
fn the_log_tells_why_a_handler_ended_early() {
    let mut server = Server::start(&["--handler-timeout", "2"]);
    let output = server.call(&["sleep", "60000"]);
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("TIMEOUT"), "{output:?}");
    let log = server.log_until("error");
    assert!(log.contains("\"sleep\" begins") && log.contains("-> error TIMEOUT in "), "{log}");

    // A request, and then the message that cancels it.
    let mut stream = TcpStream::connect(&server.address).expect("a connection");
    stream.write_all(b"\x40\0\x01sleep\0\x0560000\0\0\0$cancel\0\x02\0\x01").expect("written");
    let log = server.log_until("error");
    assert!(log.contains("-> error CANCELLED in "), "{log}");
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

#[cfg(unix)]
#[test]
fn ctrl_c_lets_requests_under_way_end() {
    let mut server = Server::start(&[]);
    let call = flyrpc(&["call", &server.address, "sleep", "500"]).spawn().expect("flyrpc runs");
    server.log_until("begins");
    interrupt(&server.child);
    let output = call.wait_with_output().expect("ends");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "slept 500 ms".to_owned()));
    let log = server.log_until("handled");
    assert!(log.contains("draining") && log.contains("handled 1 request and 0 messages, 0 of them"), "{log}");
    assert_eq!(server.child.wait().expect("ends").code(), Some(0));
}

#[cfg(unix)]
#[test]
fn a_second_ctrl_c_does_not_wait_for_requests() {
    let mut server = Server::start(&["--drain", "600"]);
    let call = flyrpc(&["call", &server.address, "sleep", "600000", "--timeout", "600"])
        .spawn()
        .expect("flyrpc runs");
    server.log_until("begins");
    interrupt(&server.child);
    server.log_until("draining");
    interrupt(&server.child);
    assert_eq!(server.child.wait().expect("ends").code(), Some(0));
    assert_eq!(call.wait_with_output().expect("ends").status.code(), Some(5));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_ping_with_its_summary() {
    let server = Server::start(&["--quiet"]);
    let mut ping =
        flyrpc(&["ping", &server.address, "--count", "0", "--interval", "600"]).spawn().expect("runs");
    let mut out = BufReader::new(ping.stdout.take().expect("piped"));
    let mut lines = String::new();
    while !lines.contains("seq=1") {
        assert_ne!(out.read_line(&mut lines).expect("a line"), 0, "{lines}");
    }
    interrupt(&ping);
    out.read_to_string(&mut lines).expect("the rest");
    assert!(lines.contains("1 sent, 1 answered, 0% lost"), "{lines}");
    assert_eq!(ping.wait().expect("ends").code(), Some(0));
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
