//! A real language server, driven by flyrpc's client: clangd over stdio

use core::time::Duration;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use flyrpc_tokio::{Client, Connected, Error, Framing, Json, JsonRpc};
use serde_json::{Value, json};

use crate::peers::{Program, with};
use crate::process::CHILD_TIME;

const LAMP: &str = "/// Adds two lamps\nint add(int a, int b);\nint both = add(1, 2);\nint dark = lamp;\n";

#[test]
fn flyrpc_drives_clangd_from_initialize_to_exit() {
    with(Program::Clangd, |peer| {
        let project = Project::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let address = format!("jsonrpc+stdio:{}", peer.command_line("--log=error --enable-config=false"));
        runtime.expect("a runtime").block_on(async {
            let whole = tokio::time::timeout(3 * CHILD_TIME, drive(&address, &project));
            whole.await.expect("done in time").expect("no call fails");
        });
    });
}

async fn drive(address: &str, project: &Project) -> Result<(), Box<dyn core::error::Error>> {
    let (editor, mut seen) = connect(address).await?;
    let file = project.url("lamp.cc");

    let capabilities = json!({ "window": { "workDoneProgress": true } });
    let params = json!({ "processId": null, "rootUri": project.url(""), "capabilities": capabilities });
    let Json(server) = editor.call_as::<Json<Value>>("initialize", Json(params)).await?;
    assert_eq!(server["capabilities"]["hoverProvider"], true, "{server}");
    editor.send("initialized", Json(json!({}))).await?;

    let document = json!({ "uri": file, "languageId": "cpp", "version": 1, "text": LAMP });
    editor.send("textDocument/didOpen", Json(json!({ "textDocument": document }))).await?;
    let told = seen.wait("textDocument/publishDiagnostics", |params| params["uri"] == file.as_str());
    assert_eq!(told["diagnostics"][0]["range"]["start"], json!({ "line": 3, "character": 11 }), "{told}");

    // The server calls its client before it tells how far it is.
    let asked = seen.wait("window/workDoneProgress/create", |_| true);
    let of_this = |params: &Value| params["token"] == asked["token"];
    seen.wait("$/progress", |params| of_this(params) && params["value"]["kind"] == "begin");
    seen.wait("$/progress", |params| of_this(params) && params["value"]["kind"] == "end");

    let place = json!({ "textDocument": { "uri": file }, "position": { "line": 2, "character": 12 } });
    let Json(hover) = editor.call_as::<Json<Value>>("textDocument/hover", Json(&place)).await?;
    let shown = hover["contents"]["value"].as_str().unwrap_or_default();
    assert!(shown.contains("Adds two lamps"), "{hover}");

    let refused = editor.call("flyrpc/nowhere", Json(json!({}))).await;
    let Err(Error::Remote(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.number, Some(-32601), "{error:?}");

    // Given up before it can be answered: the server is told, and the next call is not mistaken for it.
    let given_up =
        editor.call("textDocument/semanticTokens/full", Json(&place)).within(Duration::from_millis(1)).await;
    assert!(matches!(given_up, Err(Error::TimedOut) | Ok(_)), "{given_up:?}");
    let Json(again) = editor.call_as::<Json<Value>>("textDocument/hover", Json(&place)).await?;
    assert_eq!(again, hover);

    let Json(nothing) = editor.call_as::<Json<Value>>("shutdown", ()).await?;
    assert_eq!(nothing, Value::Null);
    editor.send("exit", ()).await?;
    // It ends by itself, and with it the connection.
    editor.closed().await;
    Ok(())
}

/// What the server told or asked, in its order: methods and parameters
struct Seen {
    comes: Receiver<(&'static str, Value)>,
    kept: Vec<(&'static str, Value)>,
}

impl Seen {
    /// The first of this method that fits; the others are kept
    fn wait(&mut self, method: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut at = 0;
        loop {
            if at == self.kept.len() {
                let next = self.comes.recv_timeout(CHILD_TIME);
                self.kept.push(next.unwrap_or_else(|_| panic!("{method} did not come")));
            }
            let (name, params) = &self.kept[at];
            if *name == method && fits(params) {
                return self.kept.remove(at).1;
            }
            at += 1;
        }
    }
}

async fn connect(address: &str) -> std::io::Result<(Connected, Seen)> {
    let (told, comes) = channel();
    let settings = JsonRpc::new().framing(Framing::ContentLength).cancel_method(Some("$/cancelRequest"));
    let mut client = Client::new().json_rpc(settings);
    for method in ["textDocument/publishDiagnostics", "window/workDoneProgress/create", "$/progress"] {
        let told = told.clone();
        client = client.handle(method, move |Json(params): Json<Value>| {
            // After the test's end nobody listens.
            let _ = told.send((method, params));
        });
    }
    Ok((client.connect(address).await?, Seen { comes, kept: Vec::new() }))
}

/// A folder with a source file and what clangd needs to index it, removed with the test
struct Project(PathBuf);

impl Project {
    fn new() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clangd-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let project = Self(folder.canonicalize().expect("it is there"));
        let commands =
            json!([{ "directory": project.0, "file": "lamp.cc", "arguments": ["cc", "-c", "lamp.cc"] }]);
        std::fs::write(project.0.join("compile_commands.json"), commands.to_string()).expect("a file");
        std::fs::write(project.0.join("lamp.cc"), LAMP).expect("a file");
        project
    }

    fn url(&self, file: &str) -> String {
        format!("file://{}", self.0.join(file).display())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
