//! A server of the Model Context Protocol on standard input and output: tools for language models
//!
//! ```text
//! cargo build --example mcp-server
//! ```
//!
//! The program that is then `target/debug/examples/mcp-server` goes into an MCP client's settings as a command. The protocol is
//! JSON-RPC 2.0, a message a line: <https://modelcontextprotocol.io/specification>. Standard output belongs to it, so whatever
//! else there is to say goes to standard error.

use flyrpc_tokio::{Context, Json, RemoteError, Server};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Versions of the protocol that this server speaks, the latest first
const VERSIONS: &[&str] = &["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// JSON-RPC's code for a call that can't be meant
const INVALID_PARAMS: i64 = -32602;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let server = Server::new()
        .handle("initialize", initialize)
        .handle("notifications/initialized", || eprintln!("the client is ready"))
        .handle("ping", || Json(json!({})))
        .handle("tools/list", || Json(json!({ "tools": tools() })))
        .handle("tools/call", call)
        .listen("jsonrpc+stdio:")
        .await?;
    server.wait().await; // until standard input ends
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hello {
    protocol_version: String,
}

/// The client's version if that is one of ours, else our latest: the client decides whether it goes on
fn initialize(Json(hello): Json<Hello>) -> Json<Value> {
    let same = VERSIONS.iter().find(|version| **version == hello.protocol_version);
    Json(json!({
        "protocolVersion": same.unwrap_or(&VERSIONS[0]),
        "capabilities": { "tools": {} },
        "serverInfo": { "name": "flyrpc-mcp-server", "version": env!("CARGO_PKG_VERSION") },
    }))
}

/// What there is to call: names, what they are for, and what they take, as JSON Schema
fn tools() -> Value {
    let object = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required });
    json!([
        {
            "name": "count_words",
            "description": "Counts the words of a text",
            "inputSchema": object(json!({ "text": { "type": "string" } }), &["text"]),
        },
        {
            "name": "divide",
            "description": "Divides whole numbers",
            "inputSchema": object(json!({ "a": { "type": "integer" }, "b": { "type": "integer" } }), &["a", "b"]),
        },
        {
            "name": "list_roots",
            "description": "Names the folders that the client works in",
            "inputSchema": object(json!({}), &[]),
        },
    ])
}

#[derive(Deserialize)]
struct Call {
    name: String,
    #[serde(default)]
    arguments: Value,
}

/// What the model reads; `is_error` is for what went wrong within a tool, so that the model can try again
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult {
    content: [Value; 1],
    is_error: bool,
}

/// A tool that does not exist is an error of the call, which the client's program gets to see
async fn call(context: Context, Json(call): Json<Call>) -> Result<Json<ToolResult>, RemoteError> {
    let outcome = match call.name.as_str() {
        "count_words" => arguments(call.arguments).map(count_words),
        "divide" => arguments(call.arguments).and_then(divide),
        "list_roots" => list_roots(&context).await,
        name => return Err(RemoteError::new(format!("Unknown tool: {name}")).number(INVALID_PARAMS)),
    };
    let (text, is_error) = match outcome {
        Ok(text) => (text, false),
        Err(why) => (why, true),
    };
    Ok(Json(ToolResult { content: [json!({ "type": "text", "text": text })], is_error }))
}

fn arguments<T: for<'de> Deserialize<'de>>(arguments: Value) -> Result<T, String> {
    serde_json::from_value(arguments).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

fn count_words(Text { text }: Text) -> String {
    text.split_whitespace().count().to_string()
}

#[derive(Deserialize)]
struct Division {
    a: i64,
    b: i64,
}

fn divide(Division { a, b }: Division) -> Result<String, String> {
    let quotient =
        a.checked_div(b).ok_or(if b == 0 { "divide by zero" } else { "the result is too large" })?;
    Ok(format!("{quotient} remainder {}", a % b))
}

#[derive(Deserialize)]
struct Roots {
    roots: Vec<Root>,
}

#[derive(Deserialize)]
struct Root {
    uri: String,
}

/// The server calls its client, while that waits for the tool
async fn list_roots(context: &Context) -> Result<String, String> {
    let answer = context.peer().call_as::<Json<Roots>>("roots/list", ()).await;
    let Json(answer) = answer.map_err(|error| error.to_string())?;
    Ok(answer.roots.into_iter().map(|root| root.uri).collect::<Vec<_>>().join("\n"))
}
