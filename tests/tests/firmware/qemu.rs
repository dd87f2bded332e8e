//! The board in QEMU

use core::net::SocketAddr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::proxy::{accept, listener};
use crate::rig::Framing;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running board; the emulator is ended when this is dropped
#[derive(Debug)]
pub(crate) struct Qemu {
    child: Child,
    /// Where it takes commands: a socket in a folder of its own
    folder: PathBuf,
    log: watch::Receiver<String>,
    /// Starts that were asked for
    starts: usize,
}

/// The firmware, and the emulator, if both are there; else why not
pub(crate) fn find() -> Result<PathBuf, String> {
    static FOUND: Mutex<Option<Result<PathBuf, String>>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    found.get_or_insert_with(look).clone()
}

fn look() -> Result<PathBuf, String> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/firmware-cortex-m");
    let firmware = std::env::var_os("FLYRPC_FIRMWARE").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
            example.join(target).join("thumbv7m-none-eabi/release/board")
        },
        PathBuf::from,
    );
    if !firmware.exists() {
        return Err("no firmware: examples/firmware-cortex-m/build.sh --bin board builds it".to_owned());
    }
    let version = Command::new("qemu-system-arm").arg("--version").stdout(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        return Err("qemu-system-arm is not installed".to_owned());
    }
    Ok(firmware)
}

impl Qemu {
    /// Starts the emulator, waits for the firmware, and gives the wire of the port that speaks so
    pub(crate) async fn start(firmware: &Path, framing: Framing) -> (Self, TcpStream) {
        let ((wire, wire_address), (log, log_address)) = (listener().await, listener().await);
        let folder = folder();
        let serial = |address: SocketAddr| format!("tcp:{address},nodelay=on");
        let ports = match framing {
            Framing::Cobs => [serial(wire_address), "null".to_owned(), serial(log_address)],
            Framing::Plain => ["null".to_owned(), serial(wire_address), serial(log_address)],
        };
        let mut command = Command::new("qemu-system-arm");
        command.args(["-M", "lm3s6965evb", "-display", "none", "-monitor", "none", "-nodefaults"]);
        command.arg("-kernel").arg(firmware);
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", folder.join("qmp").display()));
        command.args(ports.iter().flat_map(|port| ["-serial", port]));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (sender, receiver) = watch::channel(String::new());
        let mut qemu = Self { child, folder, log: receiver, starts: 1 };
        let wire = accept(&wire, "the emulator").await;
        let mut log = accept(&log, "the emulator").await;
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok(n @ 1..) = log.read(&mut buffer).await {
                sender.send_modify(|text| text.push_str(&String::from_utf8_lossy(&buffer[..n])));
            }
        });
        qemu.started().await;
        (qemu, wire)
    }

    /// Waits until the firmware has said that it takes what comes
    async fn started(&mut self) {
        let starts = self.starts;
        let said = tokio::time::timeout(
            PATIENCE,
            self.log.wait_for(|log| log.lines().filter(|line| line.starts_with("start")).count() >= starts),
        );
        let Ok(Ok(_)) = said.await else {
            panic!("the firmware did not start {starts} times; it said: {:?}", *self.log.borrow());
        };
    }

    /// Pulls the board's reset line, and waits until it has started again
    pub(crate) async fn reset(&mut self) {
        self.starts += 1;
        let mut control = UnixStream::connect(self.folder.join("qmp")).unwrap();
        control.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answers = BufReader::new(control.try_clone().unwrap()).lines();
        // A greeting first, then an answer to each command, with events between.
        assert!(answers.next().unwrap().unwrap().contains("QMP"));
        for command in ["qmp_capabilities", "system_reset"] {
            writeln!(control, "{{\"execute\":\"{command}\"}}").unwrap();
            let mut answer = String::new();
            while !answer.contains("\"return\"") {
                answer = answers.next().unwrap().unwrap();
                assert!(!answer.contains("\"error\""), "{command}: {answer}");
            }
        }
        self.started().await;
    }

    /// All that the firmware has said of itself: starts, and nothing else
    pub(crate) fn check(&self) {
        let log = self.log.borrow();
        let starts = log.lines().filter(|line| line.starts_with("start")).count();
        assert_eq!(
            (starts, log.lines().count()),
            (self.starts, self.starts),
            "the firmware said: {:?}",
            *log
        );
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself; nothing else can be done here.
        let _ = (self.child.kill(), self.child.wait());
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A new folder for the sockets of one emulator
fn folder() -> PathBuf {
    static FOLDERS: AtomicUsize = AtomicUsize::new(0);
    let number = FOLDERS.fetch_add(1, Ordering::SeqCst);
    let folder = std::env::temp_dir().join(format!("flyrpc-firmware-{}-{number}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    folder
}
