//! flyrpc's JSON-RPC against the libraries that people use: see `tests/peers/jsonrpc`
//!
//! Each client runs its checks against `flyrpc serve`, and `flyrpc call` and `send` use each server. What is not
//! installed fails the tests where `CI` is set; elsewhere it is skipped, loudly.

mod clangd;
mod library;
mod peers;
#[path = "../common/process.rs"]
mod process;

use std::process::{Command, Output};

use peers::{Peer, Program, with};
use process::{CHILD_TIME, Server, finish, text};

/// What all clients check but Go's
const CALLS: &[&str] = &[
    "upper",
    "arith",
    "divide-by-zero",
    "own-error",
    "method-not-found",
    "service-not-found",
    "invalid-params",
    "notifications",
    "concurrent",
];
const ECHO: &[&str] = &["echo-positional", "echo-named"];
/// On connections with `Content-Length`, which go both ways and know cancelling
const LSP: &[&str] = &["out-of-order", "greet", "big", "big-params", "cancel"];
/// What Go checks in both versions
const GO: &[&str] = &[
    "multiply",
    "divide",
    "divide-by-zero",
    "after-an-error",
    "upper",
    "escapes",
    "method-not-found",
    "service-not-found",
    "invalid-params",
    "asynchronous",
    "out-of-order",
    "big",
];

const LSP_OPTIONS: &[&str] = &["--framing", "content-length", "--cancel"];

#[test]
fn vscode_jsonrpc_calls_flyrpc_over_tcp() {
    with(Program::Vscode, lsp_over_tcp);
}

#[test]
fn vscode_jsonrpc_calls_flyrpc_over_stdio() {
    with(Program::Vscode, lsp_over_stdio);
}

#[test]
fn python_lsp_jsonrpc_calls_flyrpc_over_tcp() {
    with(Program::PythonLsp, lsp_over_tcp);
}

#[test]
fn python_lsp_jsonrpc_calls_flyrpc_over_stdio() {
    with(Program::PythonLsp, lsp_over_stdio);
}

fn lsp_over_tcp(peer: &Peer) {
    let server = Serving::start("jsonrpc+tcp://127.0.0.1:0", LSP_OPTIONS);
    peer.checks(["tcp", server.host_and_port()], &[ECHO, CALLS, LSP]);
}

fn lsp_over_stdio(peer: &Peer) {
    let serve = ["stdio", env!("CARGO_BIN_EXE_flyrpc"), "serve", "jsonrpc+stdio:", "--quiet"];
    let many = ["--max-requests", "1024"];
    peer.checks([&serve[..], LSP_OPTIONS, &many].concat(), &[ECHO, CALLS, LSP]);
}

#[test]
fn json_rpc_2_0_calls_flyrpc_over_tcp() {
    with(Program::JsonRpc2, |peer| {
        let server = Serving::start("jsonrpc+tcp://127.0.0.1:0", &[]);
        let wanted = [ECHO, &["echo-nothing"], CALLS, &["big", "batch", "greet", "garbage-between"]];
        peer.checks(["tcp", server.host_and_port()], &wanted);
    });
}

#[test]
fn json_rpc_2_0_calls_flyrpc_over_http() {
    with(Program::JsonRpc2, |peer| {
        let server = Serving::start("jsonrpc+http://127.0.0.1:0/rpc", &[]);
        let http = [
            "big",
            "batch",
            "status-of-a-notification",
            "status-of-a-batch-of-notifications",
            "parse-error",
            "empty-batch",
            "id-null",
            "messages-of-errors",
            "get-is-refused",
        ];
        peer.checks(["http", server.url()], &[ECHO, &["echo-nothing"], CALLS, &http]);
    });
}

#[test]
fn jsonrpsee_calls_flyrpc_over_websocket() {
    with(Program::Jsonrpsee, |peer| {
        let server = Serving::start("jsonrpc+ws://127.0.0.1:0/rpc", &[]);
        jsonrpsee_over_websocket(peer, &server);
    });
}

/// The port of an HTTP server takes WebSockets as well, as jsonrpsee's own does
#[test]
fn jsonrpsee_calls_flyrpc_over_websocket_on_http() {
    with(Program::Jsonrpsee, |peer| {
        let server = Serving::start("jsonrpc+http://127.0.0.1:0/rpc", &[]);
        jsonrpsee_over_websocket(peer, &server);
    });
}

fn jsonrpsee_over_websocket(peer: &Peer, server: &Serving) {
    let more = ["big", "batch", "subscription", "two-subscriptions", "ping", "string-ids"];
    let url = format!("ws://{}/rpc", server.host_and_port());
    peer.checks(["ws", url.as_str()], &[ECHO, CALLS, &more]);
}

#[test]
fn jsonrpsee_calls_flyrpc_over_http() {
    with(Program::Jsonrpsee, |peer| {
        let server = Serving::start("jsonrpc+http://127.0.0.1:0/rpc", &[]);
        peer.checks(["http", server.url()], &[ECHO, CALLS, &["big", "batch", "string-ids"]]);
    });
}

#[test]
fn net_rpc_calls_flyrpc_over_connect() {
    with(Program::Go, |peer| {
        net_rpc_over_connect(peer, &Serving::start("jsonrpc+connect://127.0.0.1:0/_goRPC_", &[]));
    });
}

/// As rpc.HandleHTTP does it, beside whatever else there is on the port
#[test]
fn net_rpc_calls_flyrpc_over_connect_on_http() {
    with(Program::Go, |peer| {
        net_rpc_over_connect(peer, &Serving::start("jsonrpc+http://127.0.0.1:0/rpc", &[]));
    });
}

fn net_rpc_over_connect(peer: &Peer, server: &Serving) {
    let http = ["own-error", "connect-with-crlf", "get-is-refused", "wrong-path"];
    peer.checks(["connect", server.host_and_port()], &[GO, &http]);
}

#[test]
fn net_rpc_calls_flyrpc_with_version_1() {
    with(Program::Go, |peer| {
        let server = Serving::start("jsonrpc+tcp://127.0.0.1:0", &["--lenient"]);
        peer.checks(["one", server.host_and_port()], &[GO, &["own-error-as-text"]]);
    });
}

#[test]
fn flyrpc_calls_vscode_jsonrpc_over_tcp() {
    with(Program::Vscode, |peer| {
        let (_server, port) = peer.serve(&["tcp"]);
        both_ways(&Calls::to(format!("jsonrpc+tcp://127.0.0.1:{port}"), LSP_OPTIONS));
    });
}

#[test]
fn flyrpc_calls_vscode_jsonrpc_over_stdio() {
    with(Program::Vscode, |peer| {
        let address = format!("jsonrpc+stdio:{}", peer.command_line("serve stdio"));
        both_ways(&Calls::to(address, LSP_OPTIONS));
    });
}

#[test]
fn flyrpc_calls_python_lsp_jsonrpc_over_tcp() {
    with(Program::PythonLsp, |peer| {
        let (_server, port) = peer.serve(&["tcp"]);
        both_ways(&Calls::to(format!("jsonrpc+tcp://127.0.0.1:{port}"), LSP_OPTIONS));
    });
}

#[test]
fn flyrpc_calls_python_lsp_jsonrpc_over_stdio() {
    with(Program::PythonLsp, |peer| {
        let address = format!("jsonrpc+stdio:{}", peer.command_line("serve stdio"));
        both_ways(&Calls::to(address, LSP_OPTIONS));
    });
}

#[test]
fn flyrpc_calls_json_rpc_2_0_over_tcp() {
    with(Program::JsonRpc2, |peer| {
        let (_server, port) = peer.serve(&["tcp"]);
        let calls = Calls::to(format!("jsonrpc+tcp://127.0.0.1:{port}"), &[]);
        both_ways(&calls);
        notes(&calls, "note", "count");
    });
}

#[test]
fn flyrpc_calls_json_rpc_2_0_over_http() {
    with(Program::JsonRpc2, |peer| {
        let (_server, port) = peer.serve(&["http"]);
        let calls = Calls::to(format!("jsonrpc+http://127.0.0.1:{port}/"), &[]);
        all_methods(&calls);
        notes(&calls, "note", "count");
    });
}

#[test]
fn flyrpc_calls_jsonrpsee_over_websocket() {
    with(Program::Jsonrpsee, |peer| {
        let (_server, port) = peer.serve(&[]);
        all_methods(&Calls::to(format!("jsonrpc+ws://127.0.0.1:{port}/"), &[]));
    });
}

#[test]
fn flyrpc_calls_jsonrpsee_over_http() {
    with(Program::Jsonrpsee, |peer| {
        let (_server, port) = peer.serve(&[]);
        all_methods(&Calls::to(format!("jsonrpc+http://127.0.0.1:{port}/"), &[]));
    });
}

/// The server has its own idea of two codes: they are shown as they came
#[test]
fn flyrpc_calls_net_rpc_over_connect() {
    with(Program::Go, |peer| {
        let (_server, port) = peer.serve(&["connect"]);
        let calls = Calls::to(format!("jsonrpc+connect://127.0.0.1:{port}/_goRPC_"), &[]);
        go_methods(&calls);
        calls.fails(&["Arith.Divide", r#"{"A":1,"B":0}"#], "-32000");
        calls.fails(&["Arith.Nothing", "[{}]"], "-32601");
        calls.fails(&["Text.Fail", r#"["9 of 8"]"#], "7");
        notes(&calls, "Text.Note", "Text.Count");
    });
}

#[test]
fn flyrpc_calls_net_rpc_with_version_1() {
    with(Program::Go, |peer| {
        let (_server, port) = peer.serve(&["one"]);
        go_methods(&Calls::to(format!("jsonrpc+tcp://127.0.0.1:{port}"), &["--lenient"]));
    });
}

#[test]
fn flyrpc_calls_the_server_of_the_mcp_sdk() {
    with(Program::Mcp, |peer| {
        let calls = Calls::to(format!("jsonrpc+stdio:{}", peer.command_line("serve")), &[]);
        let tools = calls.json(&["tools/list"]);
        assert_eq!(tools["tools"][0]["name"], "count_words", "{tools}");
        let counted = calls.json(&["tools/call", r#"{"name":"count_words","arguments":{"text":"a b"}}"#]);
        assert_eq!(counted["content"][0]["text"], "2", "{counted}");
        calls.fails(&["tools/call", r#"{"name":"nothing"}"#], "-32602");
    });
}

/// Where the server can call its client
fn both_ways(calls: &Calls) {
    calls.answers(&["greet", "[]", "--name", "the command"], r#""hello, the command""#);
    all_methods(calls);
}

fn all_methods(calls: &Calls) {
    calls.answers(&["echo", r#"["a",1,null,[true]]"#], r#"["a",1,null,[true]]"#);
    calls.answers(&["echo", r#"{"text":"ä","deep":{"a":[]}}"#], r#"{"text":"ä","deep":{"a":[]}}"#);
    calls.answers(&["upper", r#"["dämmerung"]"#], r#""DÄMMERUNG""#);
    calls.answers(&["Arith.Multiply", r#"{"A":7,"B":-8}"#], "-56");
    calls.answers(&["Arith.Divide", r#"[{"A":17,"B":5}]"#], r#"{"Quo":3,"Rem":2}"#);
    calls.answers(&["sleep", "[20]"], r#""slept 20 ms""#);
    let big = calls.json(&["big", "[1048576]"]);
    assert_eq!(big.as_str().map(str::len), Some(1 << 20));

    calls.fails(&["Arith.Divide", r#"{"A":1,"B":0}"#], "-32001");
    calls.fails(&["Arith.Divide", r#"{"A":1,"B":0}"#], "divide by zero");
    calls.fails(&["fail", r#"["9 of 8"]"#], "NO_SUCH_LAMP");
    calls.fails(&["fail", r#"["9 of 8"]"#], "9 of 8");
    calls.fails(&["nowhere", "[]"], "-32601");
    calls.fails(&["upper", "[5]"], "-32602");
    let late = calls.run("call", &["sleep", "[60000]", "--timeout", "0.2"]);
    assert_eq!(late.status.code(), Some(4), "{late:?}");
}

fn go_methods(calls: &Calls) {
    calls.answers(&["Arith.Multiply", r#"[{"A":7,"B":8}]"#], "56");
    calls.answers(&["Arith.Divide", r#"[{"A":17,"B":5}]"#], r#"{"Quo":3,"Rem":2}"#);
    calls.answers(&["Text.Upper", r#"["dämmerung <&>"]"#], r#""DÄMMERUNG <&>""#);
    calls.answers(&["Text.Echo", r#"[[1,null,{"a":"b"}]]"#], r#"[1,null,{"a":"b"}]"#);
    calls.fails(&["Arith.Divide", r#"[{"A":1,"B":0}]"#], "divide by zero");
    calls.fails(&["Nobody.Home", "[{}]"], "can't find service Nobody.Home");
}

/// Notifications, by their effect; the server counts for all connections
fn notes(calls: &Calls, note: &str, count: &str) {
    for number in 1..=2 {
        let sent = calls.run("send", &[note, r#"["dusk"]"#]);
        assert!(sent.status.success(), "{sent:?}");
        let counted = (0..100).any(|_| calls.json(&[count, "[0]"]) == number);
        assert!(counted, "note {number} was not counted");
    }
}

/// `flyrpc serve`, and where it listens
struct Serving {
    address: String,
    _server: Server,
}

impl Serving {
    fn start(address: &str, options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
        // The clients have 200 requests under way; the default for a connection is 64.
        command.args(["serve", address, "--quiet", "--max-requests", "1024"]).args(options);
        let server = Server::start(&mut command);
        let address = server.line.strip_prefix("listening on ").expect("the address in the first line");
        let address = address.split([';', ' ']).next().unwrap_or(address).to_owned();
        Self { address, _server: server }
    }

    /// Without what makes it an address of flyrpc's
    fn url(&self) -> &str {
        self.address.strip_prefix("jsonrpc+").expect("an address of this dialect")
    }

    fn host_and_port(&self) -> &str {
        let (_, rest) = self.url().split_once("://").expect("a URL");
        rest.split('/').next().expect("a host")
    }
}

/// `flyrpc call` and `send` with one address
struct Calls {
    address: String,
    options: &'static [&'static str],
}

impl Calls {
    fn to(address: impl Into<String>, options: &'static [&'static str]) -> Self {
        Self { address: address.into(), options }
    }

    fn run(&self, verb: &str, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
        command.args([verb, self.address.as_str()]).args(args).args(self.options);
        finish(&mut command, CHILD_TIME)
    }

    /// The result of a call that must succeed
    fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = self.run("call", args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {output:?}"))
    }

    fn answers(&self, args: &[&str], wanted: &str) {
        let wanted: serde_json::Value = serde_json::from_str(wanted).expect("JSON");
        assert_eq!(self.json(args), wanted, "{args:?}");
    }

    fn fails(&self, args: &[&str], part: &str) {
        let output = self.run("call", args);
        let err = text(&output.stderr);
        assert!(output.status.code() == Some(1) && err.contains(part), "{args:?}: {part:?}: {output:?}");
    }
}
