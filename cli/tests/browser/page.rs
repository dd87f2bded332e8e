//! The browser, and the bridge that its page speaks with

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc;

use crate::common::bridge::Bridge;
use crate::common::process::{Killed, starts};

/// For the next line of `run.mjs`: it starts a browser, and has as long for each of its checks
const LINE_TIME: Duration = Duration::from_secs(60);

/// A page in a browser, which `run.mjs` uses
pub(crate) struct Page {
    pub(crate) bridge: Bridge,
    found: Vec<String>,
    lines: mpsc::Receiver<String>,
    stdin: ChildStdin,
    _browser: Killed,
}

impl Page {
    /// Opens the page, with a bridge to this board; `kind` tells `run.mjs` which checks it takes
    pub(crate) fn open(browser: &Path, kind: &str, board: &str, options: &[&str]) -> Self {
        let mut command = Command::new("node");
        command.arg(sources().join("run.mjs")).arg(browser).arg(kind).env("FLYRPC_PEERS", installed());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = Killed(child.expect("node starts"));
        let stdout = BufReader::new(child.0.stdout.take().expect("piped"));
        let mut stdin = child.0.stdin.take().expect("piped");
        let (told, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(told.send(line)));
        });
        let origin = lines.recv_timeout(LINE_TIME).expect("where the page is");
        let origin = origin.strip_prefix("PAGE ").unwrap_or_else(|| panic!("an origin, not {origin:?}"));
        let options = [&["--origin", origin], options].concat();
        let bridge = Bridge::connected(&["jsonrpc+ws://127.0.0.1:0"], board, &options);
        let url = bridge.address().strip_prefix("jsonrpc+").expect("a WebSocket");
        writeln!(stdin, "BRIDGE {url}").expect("node reads");
        Self { bridge, found: Vec::new(), lines, stdin, _browser: child }
    }

    fn next(&self) -> String {
        let line = self.lines.recv_timeout(LINE_TIME);
        line.unwrap_or_else(|_| panic!("nothing more came after {:#?}", self.found))
    }

    /// Takes down what it finds until it says this
    pub(crate) fn expect(&mut self, line: &str) {
        loop {
            let next = self.next();
            if next == line {
                return;
            }
            assert!(!next.starts_with("done "), "{next} before {line}: {:#?}", self.found);
            self.found.push(next);
        }
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("node reads");
    }

    /// Holds all that it has found against the list
    pub(crate) fn finds(mut self, checks: &[&str]) {
        self.expect(&format!("done {} ok 0 failed", checks.len()));
        let wanted: Vec<String> = checks.iter().map(|check| format!("ok {check}")).collect();
        assert_eq!(self.found, wanted);
    }
}

/// The browser; says so when it, or what else is needed, is missing
pub(crate) fn with_browser() -> Option<PathBuf> {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let browser = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("chromium")).find(|file| file.is_file())
    });
    let packages = installed().join("browser/node_modules/playwright-core").is_dir();
    let is_complete = packages && starts("node", "--version");
    if let (Some(browser), true) = (browser, is_complete) {
        return Some(browser);
    }
    let install =
        "Chromium, Node or playwright-core is not installed: cli/tests/browser/install.sh installs them";
    assert!(std::env::var_os("CI").is_none(), "{install}");
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let so_far = SKIPPED.fetch_add(1, Ordering::SeqCst) + 1;
    // Written past the harness, which hides what passing tests print.
    let line = format!("SKIPPED: {name}: {install} ({so_far} skipped so far)\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
    None
}

/// Where `run.mjs` is
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}

/// Where `install.sh` puts what it stands on
fn installed() -> PathBuf {
    std::env::var_os("FLYRPC_PEERS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers"), PathBuf::from)
}
