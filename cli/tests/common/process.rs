//! Children that don't outlive their test, and don't hold it up
#![allow(dead_code, reason = "each test needs some of it")]

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

/// For anything that a child does but for what has a time of its own
pub(crate) const CHILD_TIME: Duration = Duration::from_secs(20);

pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server in a process of its own
pub(crate) struct Server {
    /// What its first line tells
    pub(crate) line: String,
    /// The lines behind it
    log: mpsc::Receiver<String>,
    /// Its standard input is held open: a foreign server ends with it
    child: Killed,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = Killed(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts"));
        let stdout = child.0.stdout.take().expect("piped");
        let (told, log) = mpsc::channel();
        std::thread::spawn(move || {
            // Read in any case, so that the server never waits for its log to be taken.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        let line = log.recv_timeout(CHILD_TIME).expect("the server tells where it listens");
        Self { line: line.trim_end().to_owned(), log, child }
    }

    /// The next line of its log with this in it, and those before it
    pub(crate) fn log_until(&self, part: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.contains(part)) {
            let line = self.log.recv_timeout(CHILD_TIME);
            lines.push(line.unwrap_or_else(|_| panic!("no line with {part:?}: {lines:#?}")));
        }
        lines
    }

    /// Interrupts it, as Ctrl-C does
    #[cfg(unix)]
    pub(crate) fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.child.0.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "it is there to be interrupted");
    }

    /// Waits for its end, and gives its exit code
    pub(crate) fn exit_code(mut self) -> Option<i32> {
        // Its log ends with it.
        while self.log.recv_timeout(CHILD_TIME).is_ok() {}
        self.child.0.wait().expect("it has ended").code()
    }
}

/// Runs the command to its end, within the time
pub(crate) fn finish(command: &mut Command, time: Duration) -> Output {
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

/// Whether the program is here and runs
pub(crate) fn starts(program: impl AsRef<std::ffi::OsStr>, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Says that this test can't run, and why; it fails where `CI` is set
pub(crate) fn skipped(why: &str) {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    assert!(std::env::var_os("CI").is_none(), "{why}");
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let so_far = SKIPPED.fetch_add(1, Ordering::SeqCst) + 1;
    // Written past the harness, which hides what passing tests print.
    let line = format!("SKIPPED: {name}: {why} ({so_far} skipped so far)\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
}
