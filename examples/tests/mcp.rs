//! The MCP server, used by flyrpc's client and by the client of the official SDK
//!
//! The SDK is what `cli/tests/peers/jsonrpc/install.sh` installs. Where it is missing and `CI` is set, the test fails; elsewhere
//! it is skipped, loudly.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flyrpc_tokio::{Client, Error, Json};
use serde_json::{Value, json};

/// The checks of the SDK's client: none can be lost unseen
const CHECKS: &[&str] = &[
    "initialize",
    "ping",
    "tools-list",
    "tools-call",
    "error-of-a-tool",
    "unknown-tool",
    "unknown-method",
    "calls-back",
    "concurrent",
    "unknown-notification",
    "close",
    "latest-version",
    "older-version",
    "unknown-version",
];

fn example() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.parent().and_then(Path::parent).unwrap().join("examples");
    let path = folder.join(format!("mcp-server{}", std::env::consts::EXE_SUFFIX));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("mcp-server.rs");
    let time = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified());
    let fresh = time(&path).is_ok_and(|built| built >= time(&source).unwrap());
    assert!(fresh, "{} is missing or old: cargo build -p flyrpc-examples --examples", path.display());
    path
}

#[test]
fn the_client_of_the_official_sdk_uses_the_server() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let peers = std::env::var_os("FLYRPC_PEERS").map_or_else(|| root.join("target/peers"), PathBuf::from);
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).status();
    if !peers.join("node/node_modules").is_dir() || !node.is_ok_and(|status| status.success()) {
        let why = "MCP's SDK for Node is not installed: cli/tests/peers/jsonrpc/install.sh installs it";
        assert!(std::env::var_os("CI").is_none(), "{why}");
        // Written past the harness, which hides what passing tests print.
        std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
        return;
    }
    let script = root.join("cli/tests/peers/jsonrpc/node/mcp.mjs");
    let mut client = Command::new("node");
    // Each of its checks is bounded in time.
    client.arg(script).arg("call").arg(example()).env("FLYRPC_PEERS", &peers);
    let output = client.stdin(Stdio::null()).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let mut wanted: Vec<String> = CHECKS.iter().map(|check| format!("ok {check}")).collect();
    wanted.push(format!("done {} ok 0 failed", CHECKS.len()));
    assert_eq!(out.lines().collect::<Vec<_>>(), wanted, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
}

#[tokio::test]
async fn flyrpc_uses_the_server() {
    let roots = json!({ "roots": [{ "uri": "file:///lamps" }, { "uri": "file:///bulbs", "name": "bulbs" }] });
    let client = Client::new().handle("roots/list", move || Json(roots.clone()));
    let server = client.connect(format!("jsonrpc+stdio:{}", example().display())).await.unwrap();

    let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": { "roots": {} }, "clientInfo": {} });
    let Json(answer) = server.call_as::<Json<Value>>("initialize", Json(hello)).await.unwrap();
    assert_eq!(answer["protocolVersion"], "2025-06-18");
    server.send("notifications/initialized", ()).await.unwrap();

    let call = async |name: &str, arguments: Value| {
        let call = json!({ "name": name, "arguments": arguments });
        server.call_as::<Json<Value>>("tools/call", Json(call)).await.map(|Json(result)| result)
    };
    let text = |result: Value| (result["content"][0]["text"].clone(), result["isError"].clone());
    let counted = call("count_words", json!({ "text": "one lamp" })).await.unwrap();
    assert_eq!(text(counted), (json!("2"), json!(false)));
    let roots = call("list_roots", json!({})).await.unwrap();
    assert_eq!(text(roots), (json!("file:///lamps\nfile:///bulbs"), json!(false)));
    // What a tool can't do, or can't read, is for the model.
    let halved = call("divide", json!({ "a": 1, "b": 0 })).await.unwrap();
    assert_eq!(text(halved), (json!("divide by zero"), json!(true)));
    let nothing = call("divide", json!({ "a": 1 })).await.unwrap();
    assert_eq!(nothing["isError"], true, "{nothing}");

    let Err(Error::Remote(error)) = call("jump", json!({})).await else { panic!("no error") };
    assert_eq!((error.number, error.code.as_str()), (Some(-32602), "Unknown tool: jump"));
}
