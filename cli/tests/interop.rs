//! flyrpc against peers in Go and Node that were written from `docs/protocol.md` alone: see `tests/peers`
//!
//! Each of them runs its checks against `flyrpc serve` and against the other's server, and `flyrpc` calls their
//! servers. A missing Go or Node fails the tests where `CI` is set; elsewhere they are skipped, loudly.

#[path = "common/process.rs"]
mod process;

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use process::{CHILD_TIME, Server, finish, skipped, starts, text};

/// Checks that need handlers which `flyrpc serve` does not have: none
const SKIPPED_WITH_FLYRPC: &[&str] = &[];

/// The checks of both clients, in their order: none can be lost unseen
const CHECKS: &[&str] = &[
    "echo-0",
    "echo-1",
    "echo-255",
    "echo-256",
    "echo-65535",
    "echo-65536",
    "echo-1048576",
    "wide-lengths",
    "foreign-bits",
    "upper",
    "concurrent-1000",
    "greet",
    "error-code",
    "not-found",
    "bad-code",
    "implicit-ack",
    "messages-counted",
    "messages-in-order",
    "messages-unanswered",
    "big",
    "ping-0",
    "ping-8",
    "ping-64",
    "hello",
    "cancel",
    "zip-payload",
    "zip-code",
    "bad-zip",
    "sequence-wrap",
    "byte-by-byte",
    "many-in-one-write",
    "half-close",
    "abrupt-close",
];

/// For a client's whole list of checks; it takes a few seconds
const CHECKS_TIME: Duration = Duration::from_secs(60);
/// For the first build of the Go program: without a cache it may have to compile Go's standard library
const BUILD_TIME: Duration = Duration::from_secs(300);

#[test]
fn the_go_client_finds_flyrpc_as_the_document_says() {
    with(&[Language::Go], |peers| peers[0].checks(&flyrpc(), SKIPPED_WITH_FLYRPC));
}

#[test]
fn the_node_client_finds_flyrpc_as_the_document_says() {
    with(&[Language::Node], |peers| peers[0].checks(&flyrpc(), SKIPPED_WITH_FLYRPC));
}

#[test]
fn the_go_client_agrees_with_the_node_server() {
    with(&[Language::Go, Language::Node], |peers| peers[0].checks(&peers[1].serve(), &[]));
}

#[test]
fn the_node_client_agrees_with_the_go_server() {
    with(&[Language::Node, Language::Go], |peers| peers[0].checks(&peers[1].serve(), &[]));
}

#[test]
fn flyrpc_calls_the_go_server() {
    with(&[Language::Go], |peers| flyrpc_calls(&peers[0].serve()));
}

#[test]
fn flyrpc_calls_the_node_server() {
    with(&[Language::Node], |peers| flyrpc_calls(&peers[0].serve()));
}

/// `flyrpc call`, `send` and `ping` against a foreign server
fn flyrpc_calls(server: &Server) {
    let address = server.line.as_str();
    let flyrpc = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
        command.arg(args[0]).arg(address).args(&args[1..]);
        finish(&mut command, CHILD_TIME)
    };
    let answers = |args: &[&str], wanted: &str| {
        let output = flyrpc(args);
        let got = (output.status.code(), text(&output.stdout));
        assert_eq!(got, (Some(0), wanted.to_owned()), "{args:?}: {}", text(&output.stderr));
    };
    let fails = |args: &[&str], code: i32, part: &str| {
        let output = flyrpc(args);
        let err = text(&output.stderr);
        assert!(output.status.code() == Some(code) && err.contains(part), "{args:?}: {output:?}");
    };

    answers(&["call", "echo", "hello"], "hello");
    answers(&["call", "echo", ""], "");
    answers(&["call", "upper", "dämmerung"], "DÄMMERUNG");
    answers(&["call", "sleep", "20"], "slept 20 ms");
    let payload: String = (0..40_000_u32).map(|i| format!("line {i} of many\n")).collect();
    let file = TempFile::new(&payload);
    for zip in ["off", "on", "mirror"] {
        answers(&["call", "echo", "--zip", zip, "--file", file.path()], &payload);
    }
    for length in [255, 256, 65_535, 65_536, 1 << 20] {
        let output = flyrpc(&["call", "big", &length.to_string()]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), length));
    }

    fails(&["call", "fail", "9 of 8"], 1, "NO_SUCH_LAMP");
    fails(&["call", "fail", "9 of 8"], 1, "9 of 8");
    fails(&["call", "nowhere"], 1, "NOT_FOUND");
    fails(&["call", "sleep", "soon"], 1, "BAD_PAYLOAD");
    fails(&["call", "sleep", "60000", "--timeout", "0.2"], 4, "did not come in time");
    // The server asks back for a name, which flyrpc's command answers.
    answers(&["call", "greet"], "hello, flyrpc");

    // With an acknowledgement the note has been handled when the command ends.
    answers(&["send", "note", "dusk", "--acked"], "");
    answers(&["call", "count"], "1");
    fails(&["send", "nowhere", "dusk", "--acked"], 1, "NOT_FOUND");
    // A message: the server has read it before it sees the connection's end, but may handle it later.
    answers(&["send", "note", "dawn"], "");
    let counted = (0..100).any(|_| text(&flyrpc(&["call", "count"]).stdout) == "2");
    assert!(counted, "the message was not counted");

    for length in ["0", "8", "9", "500"] {
        let output = flyrpc(&["ping", "--len", length, "--count", "3", "--interval", "0.01"]);
        let out = text(&output.stdout);
        assert!(output.status.success() && out.contains("3 sent, 3 answered, 0% lost"), "{out}");
        assert_eq!(out.matches(&format!("{length} bytes from")).count(), 3, "{out}");
    }
}

/// A foreign program, ready to run
#[derive(Clone)]
struct Peer {
    program: PathBuf,
    script: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
enum Language {
    Go,
    Node,
}

impl Peer {
    /// The program; none if its language is not installed here
    fn find(language: Language) -> Option<Self> {
        static GO: OnceLock<Option<Peer>> = OnceLock::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers");
        match language {
            Language::Go => GO.get_or_init(|| Self::build_go(&folder.join("go"))).clone(),
            Language::Node => starts("node", "--version")
                .then(|| Self { program: "node".into(), script: Some(folder.join("node/peer.mjs")) }),
        }
    }

    /// Everything that the build writes is in this test's own folder; the next build finds its cache there
    fn build_go(source: &Path) -> Option<Self> {
        if !starts("go", "version") {
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop-go");
        let program = folder.join(format!("flyrpc-peer-go{}", std::env::consts::EXE_SUFFIX));
        let mut build = Command::new("go");
        build.args([OsStr::new("build"), OsStr::new("-o"), program.as_os_str(), OsStr::new(".")]);
        build.current_dir(source).env("GOFLAGS", "-mod=mod").env("GOCACHE", folder.join("cache"));
        // There is nothing to download, and this proves it.
        build.env("GOPATH", folder.join("path")).env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        let output = finish(&mut build, BUILD_TIME);
        assert!(output.status.success(), "go build: {}", text(&output.stderr));
        Some(Self { program, script: None })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.script);
        command
    }

    fn serve(&self) -> Server {
        let mut server = Server::start(self.command().arg("serve"));
        let port = server.line.strip_prefix("LISTEN ").expect("the port in the first line").trim();
        server.line = format!("127.0.0.1:{port}");
        server
    }

    /// Runs the client's checks against the server, and holds what it prints against the list
    fn checks(&self, server: &Server, skip: &[&str]) {
        let mut client = self.command();
        client.args(["client", &server.line]);
        if !skip.is_empty() {
            client.args(["--skip", &skip.join(",")]);
        }
        let output = finish(&mut client, CHECKS_TIME);
        let out = text(&output.stdout);
        let verdict = |check: &&str| if skip.contains(check) { "skip" } else { "ok" };
        let mut wanted: Vec<String> =
            CHECKS.iter().map(|check| format!("{} {check}", verdict(check))).collect();
        wanted.push(format!("done {} ok 0 failed", CHECKS.len() - skip.len()));
        assert_eq!(out.lines().collect::<Vec<_>>(), wanted, "{}", text(&output.stderr));
        assert!(output.status.success(), "{:?}", output.status);
    }
}

/// Runs the test with the peers in these languages, or says that it can't
fn with(languages: &[Language], test: impl FnOnce(&[Peer])) {
    let mut peers = Vec::new();
    for &language in languages {
        let Some(peer) = Peer::find(language) else {
            return skipped(&format!("{language:?} is not installed"));
        };
        peers.push(peer);
    }
    test(&peers);
}

/// `flyrpc serve`; its line is its address
fn flyrpc() -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
    // The clients have 1,000 requests under way; the default for a connection is 64.
    command.args(["serve", "127.0.0.1:0", "--quiet", "--max-requests", "1024"]);
    let mut server = Server::start(&mut command);
    let rest = server.line.strip_prefix("listening on ").expect("the address in the first line");
    server.line = rest.split(';').next().unwrap_or(rest).to_owned();
    server
}

/// A file with this content, removed with the test
struct TempFile(PathBuf);

impl TempFile {
    fn new(content: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("interop-{}-{number}", std::process::id()));
        std::fs::write(&path, content).expect("a temporary file");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
