//! The `flyrpc` command in JSON-RPC

use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

fn flyrpc(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(args: &[&str]) -> Output {
    flyrpc(args).output().expect("flyrpc runs")
}

fn run_with(args: &[&str], input: &str) -> Output {
    let mut child = flyrpc(args).stdin(Stdio::piped()).spawn().expect("flyrpc runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    child.wait_with_output().expect("ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn expect(output: &Output, code: i32, part: &str) {
    let err = text(&output.stderr);
    assert!(output.status.code() == Some(code) && err.contains(part), "{:?}: {err}", output.status);
}

/// A server on free ports, ended with the test
struct Server {
    child: Child,
    addresses: Vec<String>,
    log: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut child = flyrpc(&[&["serve"], args].concat()).spawn().expect("flyrpc runs");
        let mut log = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        log.read_line(&mut line).expect("a first line");
        let listening = line.strip_prefix("listening on ").expect("where it listens");
        let addresses = listening.split("; ").next().expect("addresses");
        let addresses = addresses.split(", ").map(str::to_owned).collect();
        Self { child, addresses, log }
    }

    fn tcp(args: &[&str]) -> Self {
        Self::start(&[&["jsonrpc+tcp://127.0.0.1:0"], args].concat())
    }

    fn address(&self) -> &str {
        &self.addresses[0]
    }

    fn call(&self, args: &[&str]) -> Output {
        run(&[&["call", self.address()], args].concat())
    }

    fn connect(&self) -> TcpStream {
        let address = self.address().strip_prefix("jsonrpc+tcp://").expect("TCP");
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        stream
    }

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

fn stdio(options: &str) -> String {
    format!("jsonrpc+stdio:{} serve jsonrpc+stdio: --quiet {options}", env!("CARGO_BIN_EXE_flyrpc"))
}

/// What each handler answers, at an address; a way back is needed for `greet`
fn has_every_handler(address: &str, options: &[&str], has_way_back: bool) {
    let call = |args: &[&str]| run(&[&["call", address], options, args].concat());
    let answer = |args: &[&str]| {
        let output = call(args);
        assert!(output.status.success(), "{address} {args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let fails = |args: &[&str], part: &str| expect(&call(args), 1, part);
    assert_eq!(answer(&["echo", "[1, {\"a\" : 1.10}]"]), "[1,{\"a\":1.10}]");
    assert_eq!(answer(&["upper", "[\"grüße\"]"]), "\"GRÜSSE\"");
    assert_eq!(answer(&["sleep", "[1]"]), "\"slept 1 ms\"");
    assert_eq!(answer(&["big", "[28]"]), "\"abcdefghijklmnopqrstuvwxyzab\"");
    assert_eq!(answer(&["Arith.Multiply", "{\"A\":7,\"B\":8}"]), "56");
    assert_eq!(answer(&["Arith.Multiply", "[{\"A\":7,\"B\":8}]"]), "56");
    assert_eq!(answer(&["Arith.Divide", "{\"A\":7,\"B\":2}"]), "{\"Quo\":3,\"Rem\":1}");
    assert_eq!(answer(&["Arith.Sum", "[1,2,3]"]), "6");
    let stats: serde_json::Value = serde_json::from_str(&answer(&["stats"])).expect("JSON");
    assert!(stats["requests"].is_u64(), "{stats}");
    fails(&["Arith.Divide", "{\"A\":7,\"B\":0}"], "error: -32001 divide by zero\n");
    fails(&["fail", "[\"lamp\", 7]"], "error: 7 NO_SUCH_LAMP\nflyrpc: data: [\"lamp\",7]\n");
    fails(&["nowhere"], "error: -32601 Method not found\n");
    fails(&["Nobody.Home"], "error: -32002 Service not found\n");
    fails(&["Arith.Nope"], "error: -32601 Method not found\n");
    fails(&["upper", "[5]"], "error: -32602 Invalid params\n");
    if has_way_back {
        assert_eq!(answer(&["greet", "--name", "Ada"]), "\"hello, Ada\"");
    }
    let ping = run(&[&["ping", address, "--count", "2", "--interval", "0.01"], options].concat());
    let out = text(&ping.stdout);
    assert!(
        ping.status.success() && out.contains("2 sent, 2 answered, 0% lost"),
        "{out}{}",
        text(&ping.stderr)
    );
    assert_eq!(out.matches("an answer from").count(), 2, "{out}");
}

#[test]
fn one_server_serves_every_carrier() {
    let path = std::env::temp_dir().join(format!("flyrpc-cli-{}.sock", std::process::id()));
    let unix = format!("jsonrpc+unix:{}", path.display());
    let mut listen = vec!["127.0.0.1:0"];
    listen.extend(["tcp", "ws", "http", "connect"].map(|carrier| match carrier {
        "tcp" => "jsonrpc+tcp://127.0.0.1:0",
        "ws" => "jsonrpc+ws://127.0.0.1:0",
        "http" => "jsonrpc+http://127.0.0.1:0/rpc",
        _ => "jsonrpc+connect://127.0.0.1:0",
    }));
    if cfg!(unix) {
        listen.push(&unix);
    }
    let server = Server::start(&[&["--quiet"], &listen[..]].concat());
    assert_eq!(server.addresses.len(), listen.len());
    let (fly, json) = server.addresses.split_first().expect("addresses");
    for address in json {
        has_every_handler(address, &[], !address.starts_with("jsonrpc+http:"));
    }
    assert_eq!(text(&run(&["call", fly, "echo", "as it is"]).stdout), "as it is");
}

#[test]
fn language_server_framing_and_cancelling_go_over_sockets_and_pipes() {
    let server = Server::tcp(&["--quiet", "--framing", "content-length", "--cancel"]);
    has_every_handler(server.address(), &["--framing", "content-length"], true);
    has_every_handler(&stdio("--framing content-length"), &["--framing", "content-length"], true);
    has_every_handler(&stdio(""), &[], true);
}

#[test]
fn what_goes_over_the_wire_is_json_rpc() {
    let server = Server::tcp(&["--quiet"]);
    let mut stream = server.connect();
    let batch = r#"[{"jsonrpc":"2.0","id":"a","method":"echo","params":[1]},{"jsonrpc":"2.0","method":"note"},{"jsonrpc":"2.0","id":null,"method":"count"}]"#;
    stream.write_all(batch.as_bytes()).expect("written");
    let mut answers = BufReader::new(stream);
    let mut line = String::new();
    answers.read_line(&mut line).expect("a line");
    let answer: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let expected = r#"[{"jsonrpc":"2.0","id":"a","result":[1]},{"jsonrpc":"2.0","id":null,"result":1}]"#;
    assert_eq!(answer, serde_json::from_str::<serde_json::Value>(expected).expect("JSON"));
}

#[test]
fn version_one_is_taken_with_lenient_alone() {
    let ask = b"{\"id\":1,\"method\":\"Arith.Multiply\",\"params\":[{\"A\":7,\"B\":8}]}\n";
    for (options, part) in
        [(&["--quiet"][..], "-32600"), (&["--quiet", "--lenient"], "\"result\":56,\"error\":null")]
    {
        let server = Server::tcp(options);
        let mut stream = server.connect();
        stream.write_all(ask).expect("written");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("a line");
        assert!(line.contains(part), "{options:?}: {line}");
    }
}

#[test]
fn a_request_is_taken_back_with_cancel_alone() {
    let mut server = Server::tcp(&["--cancel"]);
    expect(&server.call(&["sleep", "[60000]", "--timeout", "0.2", "--cancel"]), 4, "did not come in time");
    let log = server.log_until("error");
    assert!(log.contains("\"sleep\" begins") && log.contains("-> error CANCELLED in "), "{log}");
}

#[test]
fn parameters_come_from_files_and_standard_input_too() {
    let server = Server::tcp(&["--quiet"]);
    let path = std::env::temp_dir().join(format!("flyrpc-cli-{}.json", std::process::id()));
    std::fs::write(&path, "[ 1,\n 2 ]\n").expect("a temporary file");
    let output = server.call(&["echo", &format!("@{}", path.display())]);
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(text(&output.stdout), "[1,2]");
    let args = ["call", server.address(), "echo", "-"];
    assert_eq!(text(&run_with(&args, "{\"a\": 1}\n").stdout), "{\"a\":1}");
    assert_eq!(text(&server.call(&["echo", "--json", "[3]", "--raw"]).stdout), "[3]");
    assert_eq!(text(&server.call(&["echo", "[3]", "--pretty"]).stdout), "[\n  3\n]\n");
    expect(&server.call(&["echo", "@/nonexistent"]), 1, "/nonexistent");
    expect(&server.call(&["echo", "hello"]), 1, "'[\"hello\"]'");
    expect(&server.call(&["echo", "7"]), 1, "'[7]'");
    expect(&server.call(&["echo", "{A:7}"]), 1, "single quotes");
}

#[test]
fn options_that_make_no_sense_are_named() {
    let wrong = |args: &[&str], part: &str| expect(&run(args), 2, part);
    let nowhere = "jsonrpc+tcp://127.0.0.1:1";
    wrong(&["call", "127.0.0.1:1", "echo", "--lenient"], "--lenient is for JSON-RPC");
    wrong(&["call", "127.0.0.1:1", "echo", "--framing", "lines"], "--framing is for JSON-RPC");
    wrong(&["ping", "127.0.0.1:1", "--cancel"], "--cancel is for JSON-RPC");
    wrong(
        &["call", "jsonrpc+ws://127.0.0.1:1", "echo", "--framing", "lines"],
        "--framing is for jsonrpc+tcp://",
    );
    wrong(&["call", nowhere, "echo", "--zip", "on"], "--zip is for FlyRPC");
    wrong(&["call", "jsonrpc+stdio:", "echo"], "names no command");
    wrong(&["call", "ws://127.0.0.1:1", "echo"], "FlyRPC is not carried by it");
    wrong(&["call", nowhere, "echo", "--notify", "--raw"], "cannot be used with");
    wrong(&["serve", "jsonrpc+stdio:", "127.0.0.1:0"], "goes with no other address");
    wrong(&["serve", "jsonrpc+stdio:cat"], "is for clients");
    wrong(&["decode", "--payload", "00"], "--payload is for JSON-RPC");
    expect(&run(&["call", nowhere, "echo"]), 3, "is the server running?");
}

#[test]
fn notifications_arrive_and_traces_show_messages_without_their_payloads() {
    let mut server = Server::tcp(&["--trace"]);
    let output = server.call(&["note", "[\"secret\"]", "--notify", "--trace"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
    assert_eq!(text(&output.stderr), "-> notification \"note\", 10 bytes\n");
    assert!(run(&["send", server.address(), "note", "[1]", "--acked"]).status.success());
    let log = server.log_until("-> response 1, 4 bytes");
    assert!(log.contains(" <- notification \"note\", 10 bytes") && !log.contains("secret"), "{log}");
    let output = server.call(&["greet", "--trace"]);
    let lines = [
        "-> request 1 \"greet\", 0 bytes",
        "<- request 1 \"name\", 0 bytes",
        "-> response 1, 8 bytes",
        "<- response 1, 15 bytes",
    ];
    assert_eq!(text(&output.stderr).lines().collect::<Vec<_>>(), lines);
}

#[test]
fn many_calls_are_counted_and_timed() {
    let server = Server::tcp(&["--quiet"]);
    let output = server.call(&["echo", "[1]", "--repeat", "200", "--concurrency", "8"]);
    let out = text(&output.stdout);
    assert!(output.status.success() && out.contains("200 answered, 0 failed in "), "{out}");
    let output = server.call(&["nowhere", "--repeat", "3"]);
    assert!(text(&output.stdout).contains("0 answered, 3 failed"));
    expect(&output, 1, "-32601 Method not found");
}

#[test]
fn standard_output_of_a_server_on_stdio_is_messages_alone() {
    let input = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"upper\",\"params\":[\"a\"]}\n";
    let output = run_with(&["serve", "jsonrpc+stdio:"], input);
    assert_eq!(text(&output.stdout), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"A\"}\n");
    expect(&output, 0, "listening on jsonrpc+stdio:; handlers: ");
    assert!(text(&output.stderr).contains("request \"upper\" of 5 bytes -> 3 bytes"), "{output:?}");
    let output = run_with(&["serve", "jsonrpc+stdio:", "--quiet"], input);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn subscriptions_tick_until_they_are_ended() {
    let server = Server::tcp(&["--quiet"]);
    let mut stream = server.connect();
    stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe_ticks\"}\n").expect("written");
    let mut lines = BufReader::new(stream.try_clone().expect("a clone")).lines();
    let mut next = || -> serde_json::Value {
        serde_json::from_str(&lines.next().expect("a line").expect("read")).expect("JSON")
    };
    let id = next()["result"].clone();
    for tick in 0..3 {
        let message = next();
        assert_eq!(message["method"], "ticks");
        assert_eq!((&message["params"]["subscription"], &message["params"]["result"]), (&id, &tick.into()));
    }
    let end =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"unsubscribe_ticks\",\"params\":[{id}]}}\n");
    stream.write_all(end.as_bytes()).expect("written");
    let answer = core::iter::repeat_with(next).find(|message| message["id"] == 2).expect("an answer");
    assert_eq!(answer["result"], true);
}

const CAPTURED: &str = r#"{"jsonrpc":"2.0","id":1,"method":"echo","params":[7, 8]}
[{"jsonrpc":"2.0","id":"x","error":{"code":-32601,"message":"Method not found"}}, 5]
{"jsonrpc":"2.0","method":"note"} {"jsonrpc":"2.0","id":1,"result":null}
{"jsonrpc":"2.0","id":2,"method":"echo","params":7}
{"jsonrpc":
"#;

#[test]
fn decode_shows_messages_as_a_table() {
    let output = run_with(&["decode", "--dialect", "jsonrpc", "--payload"], &CAPTURED[..CAPTURED.len() - 12]);
    let out = text(&output.stdout);
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["0", "request", "1", "echo", "6", "[7,8]"]);
    assert_eq!(lines[2], ["57", "batch"]);
    assert_eq!(lines[3], ["58", "error", "\"x\"", "-32601", "Method", "not", "found", "0"]);
    assert_eq!(lines[4][1..], ["invalid", "-", "-", "0", "not", "an", "object"]);
    assert_eq!(lines[5], ["142", "notification", "-", "note", "0"]);
    assert_eq!(lines[6], ["176", "response", "1", "-", "4", "null"]);
    assert!(lines[7].join(" ").ends_with("the parameters are neither array nor object"), "{out}");
    let summary =
        "6 messages in 267 bytes: 1 request, 1 notification, 1 response, 1 error; 1 batch; 2 of no use";
    assert_eq!((output.status.code(), text(&output.stderr).trim()), (Some(1), summary));
}

#[test]
fn decode_tells_what_is_cut_short_or_not_json() {
    let decode =
        |args: &[&str], input: &str| run_with(&[&["decode", "--dialect", "jsonrpc"], args].concat(), input);
    expect(&decode(&[], CAPTURED), 1, "offset 267: the message is cut short: 12 bytes of it are there");
    expect(&decode(&["--framing", "content-length"], "{}\n"), 1, "offset 0: ");
    let output = decode(&[], "{\"a\":}\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}\n");
    let out = text(&output.stdout);
    assert!(out.contains("not JSON: expected value at line 1 column 6") && out.contains("response"), "{out}");
    let output = run(&["decode", "--dialect", "jsonrpc", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn decode_gives_objects_of_framed_messages() {
    let message = "{\"jsonrpc\":\"2.0\",\"id\":1.50,\"error\":{\"code\":7,\"message\":\"no\",\"data\":[12345678901234567890]}}";
    let framed = format!("Content-Length: {}\r\n\r\n{message}", message.len());
    let args = ["decode", "--dialect", "jsonrpc", "--framing", "content-length", "--json", "--payload"];
    let output = run_with(&args, &framed);
    let expected = "{\"offset\":0,\"kind\":\"error\",\"id\":1.50,\"code\":7,\"message\":\"no\",\"length\":22,\"payload\":[12345678901234567890]}\n";
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), expected.to_owned()));
}

#[test]
fn help_has_an_example_for_each_kind_of_address() {
    for command in ["call", "serve"] {
        let help = text(&run(&[command, "--help"]).stdout);
        for kind in [
            "127.0.0.1:7000",
            "jsonrpc+tcp://",
            "jsonrpc+unix:",
            "jsonrpc+ws://",
            "jsonrpc+http://",
            "jsonrpc+connect://",
            "jsonrpc+stdio:",
        ] {
            assert!(help.contains(kind), "{command}: {kind}: {help}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_server_on_stdio_ends_with_its_client() {
    let mut child = flyrpc(&["serve", "jsonrpc+stdio:"]).stdin(Stdio::piped()).spawn().expect("flyrpc runs");
    drop(child.stdin.take());
    let mut out = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut out).expect("read");
    assert_eq!((child.wait().expect("ends").code(), out.as_str()), (Some(0), ""));
}
