//! The browser, and the bridge that its page speaks with

use core::time::Duration;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc;

use crate::common::board::Board;
use crate::common::bridge::Bridge;
use crate::common::process::{Killed, skipped, starts};
use crate::common::qemu::Qemu;

/// For the next line of `run.mjs`: it starts a browser, and has a third of it for each of its checks
const LINE_TIME: Duration = Duration::from_secs(60);

/// A page in a browser, which `run.mjs` uses
pub(crate) struct Page {
    bridge: Bridge,
    found: Vec<String>,
    lines: mpsc::Receiver<String>,
    stdin: ChildStdin,
    _browser: Killed,
}

/// A board that can be switched off
pub(crate) trait Power {
    async fn cut(&mut self);
    async fn restore(&mut self);
}

impl Page {
    /// Opens the page, with a bridge to this board
    pub(crate) fn open(browser: &Path, board: &str, options: &[&str]) -> Self {
        let mut command = Command::new("node");
        command.arg(sources().join("run.mjs")).arg(browser).env("FLYRPC_PEERS", installed());
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

    /// Holds all that it finds against the list; the board's power is cut, and is there again, when it asks for that
    pub(crate) async fn finds(mut self, checks: &[&str], board: &mut impl Power) {
        self.expect("CUT");
        board.cut().await;
        self.bridge.server.log_until("is gone");
        self.say("done");
        self.expect("RESTORE");
        board.restore().await;
        self.bridge.server.log_until("connected to");
        self.say("done");
        self.expect(&format!("done {} ok 0 failed", checks.len()));
        let wanted: Vec<String> = checks.iter().map(|check| format!("ok {check}")).collect();
        assert_eq!(self.found, wanted);
    }

    /// Takes down what it finds until it says this
    fn expect(&mut self, line: &str) {
        loop {
            let next = self.lines.recv_timeout(LINE_TIME);
            let next = next.unwrap_or_else(|_| panic!("no {line:?} came after {:#?}", self.found));
            if next == line {
                return;
            }
            assert!(!next.starts_with("done "), "{next} before {line}: {:#?}", self.found);
            self.found.push(next);
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("node reads");
    }
}

impl Power for Board {
    async fn cut(&mut self) {
        self.stop().await;
    }

    async fn restore(&mut self) {
        self.start_again().await;
    }
}

impl Power for Qemu {
    async fn cut(&mut self) {
        self.stop();
    }

    async fn restore(&mut self) {
        self.start_again();
    }
}

/// The browser; says so when it, or what else is needed, is missing
pub(crate) fn with_browser() -> Option<PathBuf> {
    let browser = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("chromium")).find(|file| file.is_file())
    });
    let packages = installed().join("browser/node_modules/playwright-core").is_dir();
    if browser.is_some() && packages && starts("node", "--version") {
        return browser;
    }
    skipped("Chromium, Node or playwright-core is not installed: cli/tests/browser/install.sh installs them");
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
