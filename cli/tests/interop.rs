//! flyrpc against peers in Go and Node that were written from `docs/protocol.md` alone: see `tests/peers`
//!
//! Each of them runs its checks against `flyrpc serve` and against the other's server, and `flyrpc` calls their
//! servers. A missing Go or Node fails the tests where `CI` is set; elsewhere they are skipped, loudly.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{OnceLock, mpsc};

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
/// For anything else that a child does, the first build of the Go program apart
const CHILD_TIME: Duration = Duration::from_secs(20);
/// For that build: without a cache it may have to compile Go's standard library
const BUILD_TIME: Duration = Duration::from_secs(300);

#[test]
fn the_go_client_finds_flyrpc_as_the_document_says() {
    with(&[Language::Go], |peers| peers[0].checks(&Server::flyrpc(), SKIPPED_WITH_FLYRPC));
}

#[test]
fn the_node_client_finds_flyrpc_as_the_document_says() {
    with(&[Language::Node], |peers| peers[0].checks(&Server::flyrpc(), SKIPPED_WITH_FLYRPC));
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
    let address = server.address.as_str();
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
        let port = server.address.strip_prefix("LISTEN ").expect("the port in the first line").trim();
        server.address = format!("127.0.0.1:{port}");
        server
    }

    /// Runs the client's checks against the server, and holds what it prints against the list
    fn checks(&self, server: &Server, skip: &[&str]) {
        let mut client = self.command();
        client.args(["client", &server.address]);
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
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let mut peers = Vec::new();
    for &language in languages {
        if let Some(peer) = Peer::find(language) {
            peers.push(peer);
            continue;
        }
        assert!(std::env::var_os("CI").is_none(), "{language:?} is not installed");
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        let so_far = SKIPPED.fetch_add(1, Ordering::SeqCst) + 1;
        // Written past the harness, which hides what passing tests print.
        let line = format!("SKIPPED: {name}: {language:?} is not installed ({so_far} skipped so far)\n");
        std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
        return;
    }
    test(&peers);
}

fn starts(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A child that does not outlive its test
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server in a process of its own
struct Server {
    address: String,
    /// Its standard input is held open: a foreign server ends with it
    _child: Killed,
}

impl Server {
    /// Takes the server's first line for its address
    fn start(command: &mut Command) -> Self {
        let mut child = Killed(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts"));
        let stdout = child.0.stdout.take().expect("piped");
        let (told, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = told.send(line);
            // Read on, so that the server never waits for its log to be taken.
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        let address = line.recv_timeout(CHILD_TIME).expect("the server tells where it listens");
        Self { address, _child: child }
    }

    fn flyrpc() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyrpc"));
        // The clients have 1,000 requests under way; the default for a connection is 64.
        command.args(["serve", "127.0.0.1:0", "--quiet", "--max-requests", "1024"]);
        let mut server = Self::start(&mut command);
        let rest = server.address.strip_prefix("listening on ").expect("the address in the first line");
        server.address = rest.split(';').next().unwrap_or(rest).to_owned();
        server
    }
}

/// Runs the command to its end, within the time
fn finish(command: &mut Command, time: Duration) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Killed(command.spawn().expect("starts"));
    let (told, read) = mpsc::channel();
    let stdout = child.0.stdout.take().expect("piped");
    let stderr = child.0.stderr.take().expect("piped");
    collect(stdout, false, told.clone());
    collect(stderr, true, told);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut late = false;
    for _ in 0..2 {
        // Killed, the child ends both its outputs, and what it wrote before is still worth showing.
        let wait = if late { CHILD_TIME } else { time };
        let (is_err, bytes) = read.recv_timeout(wait).unwrap_or_else(|_| {
            late = true;
            let _ = child.0.kill();
            read.recv_timeout(CHILD_TIME).expect("the outputs of a killed child end")
        });
        *(if is_err { &mut err } else { &mut out }) = bytes;
    }
    assert!(!late, "{command:?} was not done in {time:?}\n{}{}", text(&out), text(&err));
    let status = child.0.wait().expect("it has ended");
    Output { status, stdout: out, stderr: err }
}

fn collect(mut from: impl Read + Send + 'static, is_err: bool, to: mpsc::Sender<(bool, Vec<u8>)>) {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = to.send((is_err, bytes));
    });
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
