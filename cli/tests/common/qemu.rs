//! `examples/firmware-cortex-m` on an emulated board
#![allow(dead_code, reason = "each test needs some of it")]

use core::sync::atomic::{AtomicUsize, Ordering};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use super::process::{CHILD_TIME, Killed, skipped, starts};

/// A board whose first serial port is a Unix socket; it goes with the test
pub(crate) struct Qemu {
    firmware: PathBuf,
    folder: PathBuf,
    child: Option<Killed>,
}

impl Qemu {
    /// A board that runs; says so when the emulator or the firmware is missing
    pub(crate) fn start() -> Option<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let firmware = std::env::var_os("FLYRPC_FIRMWARE").map_or_else(
            || {
                let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/firmware-cortex-m");
                let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
                example.join(target).join("thumbv7m-none-eabi/release/board")
            },
            PathBuf::from,
        );
        if !cfg!(all(unix, feature = "serial")) {
            skipped("serial lines are not in this build");
            return None;
        }
        if !firmware.is_file() {
            skipped("no firmware: examples/firmware-cortex-m/build.sh --bin board builds it");
            return None;
        }
        if !starts("qemu-system-arm", "--version") {
            skipped("qemu-system-arm is not installed");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        // The path of a socket has to be short.
        let folder = std::env::temp_dir().join(format!("flyrpc-board-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut qemu = Self { firmware, folder, child: None };
        qemu.start_again();
        Some(qemu)
    }

    /// Its serial line, which speaks in frames
    pub(crate) fn address(&self) -> String {
        format!("serial+unix:{}", self.socket().display())
    }

    /// Its power is cut
    pub(crate) fn stop(&mut self) {
        self.child = None;
    }

    /// It is switched on again, and has started when this returns
    pub(crate) fn start_again(&mut self) {
        let port = format!("unix:{},server=on,wait=off", self.socket().display());
        let mut command = Command::new("qemu-system-arm");
        command.args(["-M", "lm3s6965evb", "-display", "none", "-monitor", "none", "-nodefaults"]);
        command.arg("-kernel").arg(&self.firmware);
        // The second speaks without frames, and the third is the firmware's log.
        command.args(["-serial", &port, "-serial", "null", "-serial", "stdio"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().expect("QEMU starts");
        let mut child = Killed(child);
        let log = BufReader::new(child.0.stdout.take().expect("piped"));
        let (told, started) = mpsc::channel();
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).for_each(|line| drop(told.send(line)));
        });
        let line = started.recv_timeout(CHILD_TIME).expect("the firmware starts");
        assert!(line.starts_with("start"), "{line}");
        self.child = Some(child);
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("line")
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.child = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
