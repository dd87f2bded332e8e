//! Pairs of processes: a server and its client, each on a core of its own

use core::error::Error;
use core::time::Duration;
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde::de::DeserializeOwned;

use crate::figures::{Outcome, Stat};

const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// How long a process may take to end once it was told to
const FAREWELL: Duration = Duration::from_millis(500);

/// An executable that speaks the peers' lines
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) exe: PathBuf,
}

/// What a client is asked to do
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Task {
    /// Bytes
    pub(crate) payload: usize,
    /// Calls outstanding
    pub(crate) conc: usize,
    pub(crate) warm_ms: u64,
    pub(crate) time_ms: u64,
    /// Connections to open and hold, instead of measuring calls; 0 for none
    pub(crate) conns: usize,
    /// Addresses that the server is to listen on
    pub(crate) addresses: u8,
}

/// A server and a client that has warmed up
pub(crate) struct Pair {
    pub(crate) server: Process,
    client: Process,
}

/// What came of a task
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) client: Outcome,
    pub(crate) server_before: Stat,
    pub(crate) server_after: Stat,
}

/// A peer's process; it is told to end, or is ended, when this is dropped
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    patience: Duration,
}

impl Peer {
    /// The executable of that name beside the one that runs
    pub(crate) fn beside(exe: &str, name: &str) -> io::Result<Self> {
        let exe = env::current_exe()?.with_file_name(format!("{exe}{}", env::consts::EXE_SUFFIX));
        Ok(Self { name: name.to_owned(), exe })
    }
}

impl Pair {
    /// Starts both; `patience` is how long one may say nothing
    pub(crate) fn start(peer: &Peer, task: &Task, patience: Duration) -> Result<Self, Box<dyn Error>> {
        let name = format!("--peer={}", peer.name);
        // Who is not asked for more than one address need not know the question.
        let addresses = (task.addresses > 1).then(|| format!("--addresses={}", task.addresses));
        let mut arguments = vec!["server".into(), name.clone()];
        arguments.extend(addresses.clone());
        let server = Process::start(peer, SERVER_CORE, &arguments, patience)?;
        let hello = server.hear()?;
        let port = hello.strip_prefix("LISTEN ").ok_or_else(|| format!("the server said {hello:?}"))?;
        let mut arguments = vec![
            "client".into(),
            name,
            format!("--addr=127.0.0.1:{port}"),
            format!("--payload={}", task.payload),
            format!("--conc={}", task.conc),
            format!("--warm-ms={}", task.warm_ms),
            format!("--time-ms={}", task.time_ms),
            format!("--conns={}", task.conns),
        ];
        arguments.extend(addresses);
        let client = Process::start(peer, CLIENT_CORE, &arguments, patience)?;
        match client.hear()? {
            ready if ready == "READY" => Ok(Self { server, client }),
            other => Err(format!("the client said {other:?}").into()),
        }
    }

    pub(crate) fn measure(&mut self) -> Result<Measured, Box<dyn Error>> {
        let server_before = self.server.stat()?;
        let client = self.client.ask("go")?;
        let server_after = self.server.stat()?;
        Ok(Measured { client, server_before, server_after })
    }
}

impl Process {
    fn start(peer: &Peer, core: usize, arguments: &[String], patience: Duration) -> io::Result<Self> {
        let mut command = Command::new(&peer.exe);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = on_core(core, || command.spawn())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", peer.exe.display())))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (told, lines) = mpsc::channel();
        if let Some(output) = output {
            // Ends with the child, or with the first line that nobody wants.
            thread::spawn(move || {
                BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| told.send(line))
            });
        }
        Ok(Self { child, input, lines, patience })
    }

    pub(crate) fn stat(&mut self) -> Result<Stat, Box<dyn Error>> {
        self.ask("stat")
    }

    fn ask<T: DeserializeOwned>(&mut self, line: &str) -> Result<T, Box<dyn Error>> {
        writeln!(self.input.as_mut().ok_or("no line to the process")?, "{line}")?;
        Ok(serde_json::from_str(&self.hear()?)?)
    }

    fn hear(&self) -> Result<String, &'static str> {
        self.lines.recv_timeout(self.patience).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => "a process says nothing",
            mpsc::RecvTimeoutError::Disconnected => "a process has ended",
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut input) = self.input.take() {
            // An error means that it has ended already.
            drop(writeln!(input, "quit"));
        }
        // Its output ends with it: whatever comes till then is of no interest.
        while self.lines.recv_timeout(FAREWELL).is_ok() {}
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts something whose processes stay on that core; on whatever cores there are, where they cannot be chosen
#[cfg(target_os = "linux")]
fn on_core<T>(core: usize, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    let this = Pid::from_raw(0);
    let all = sched_getaffinity(this)?;
    let mut one = CpuSet::new();
    // What this thread may use is handed on to its child.
    if all.is_set(core).unwrap_or(false) && one.set(core).is_ok() {
        sched_setaffinity(this, &one)?;
    }
    let started = start();
    sched_setaffinity(this, &all)?;
    started
}

#[cfg(not(target_os = "linux"))]
fn on_core<T>(_core: usize, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    start()
}
