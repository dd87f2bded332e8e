//! The foreign programs of `cli/tests/peers/jsonrpc`: found, built, run

use core::time::Duration;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process::{Server, finish, skipped, starts, text};

/// For a client's whole list of checks; it takes a few seconds
const CHECKS_TIME: Duration = Duration::from_secs(60);
/// For a program that is to be built first: without a cache, Go may compile its standard library
const BUILD_TIME: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    Vscode,
    JsonRpc2,
    Mcp,
    PythonLsp,
    Go,
    Jsonrpsee,
    Clangd,
}

/// A foreign program, ready to run
#[derive(Clone)]
pub(crate) struct Peer {
    program: PathBuf,
    script: Option<PathBuf>,
}

impl Peer {
    /// The program; none if it, or what it stands on, is not installed
    fn find(program: Program) -> Option<Self> {
        static GO: OnceLock<Option<Peer>> = OnceLock::new();
        static JSONRPSEE: OnceLock<Option<Peer>> = OnceLock::new();
        match program {
            Program::Vscode => Self::node("vscode.mjs"),
            Program::JsonRpc2 => Self::node("simple.mjs"),
            Program::Mcp => Self::node("mcp.mjs"),
            Program::PythonLsp => {
                let folder = if cfg!(windows) { "python/Scripts/python.exe" } else { "python/bin/python" };
                let python = installed().join(folder);
                starts(&python, "--version").then(|| Self::scripted(python, "python/lsp.py"))
            }
            Program::Go => GO.get_or_init(Self::build_go).clone(),
            Program::Jsonrpsee => JSONRPSEE.get_or_init(Self::build_jsonrpsee).clone(),
            Program::Clangd => {
                starts("clangd", "--version").then(|| Self { program: "clangd".into(), script: None })
            }
        }
    }

    fn node(script: &str) -> Option<Self> {
        let ready = installed().join("node/node_modules").is_dir() && starts("node", "--version");
        ready.then(|| Self::scripted("node".into(), &format!("node/{script}")))
    }

    fn scripted(program: PathBuf, script: &str) -> Self {
        Self { program, script: Some(sources().join(script)) }
    }

    /// Everything that the build writes is in this test's own folder; the next build finds its cache there
    fn build_go() -> Option<Self> {
        if !starts("go", "version") {
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jsonrpc-interop-go");
        let program = folder.join(format!("flyrpc-peer-go-jsonrpc{}", std::env::consts::EXE_SUFFIX));
        let mut build = Command::new("go");
        build.args([OsStr::new("build"), OsStr::new("-o"), program.as_os_str(), OsStr::new(".")]);
        build
            .current_dir(sources().join("go"))
            .env("GOFLAGS", "-mod=mod")
            .env("GOCACHE", folder.join("cache"));
        // There is nothing to download, and this proves it.
        build.env("GOPATH", folder.join("path")).env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        Some(Self::built(&mut build, program))
    }

    /// Brings up to date what install.sh has built
    fn build_jsonrpsee() -> Option<Self> {
        let target = installed().join("jsonrpsee");
        let program = target.join(format!("debug/flyrpc-peer-jsonrpsee{}", std::env::consts::EXE_SUFFIX));
        if !program.is_file() {
            return None;
        }
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--offline", "--locked"]).env("CARGO_TARGET_DIR", &target);
        // What holds for the build that this test comes from does not hold for that one.
        build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/jsonrpsee"));
        Some(Self::built(&mut build, program))
    }

    fn built(build: &mut Command, program: PathBuf) -> Self {
        let output = finish(build, BUILD_TIME);
        assert!(output.status.success(), "{build:?}: {}", text(&output.stderr));
        Self { program, script: None }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.script).env("FLYRPC_PEERS", installed());
        command
    }

    /// The command as one text, for addresses that begin with `jsonrpc+stdio:`
    pub(crate) fn command_line(&self, args: &str) -> String {
        let script = self.script.iter().map(|script| format!(" {}", script.display())).collect::<String>();
        format!("{}{script} {args}", self.program.display())
    }

    /// The port of the server
    pub(crate) fn serve(&self, args: &[&str]) -> (Server, u16) {
        let server = Server::start(self.command().arg("serve").args(args));
        let port = server.line.strip_prefix("LISTEN ").and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("a port, not {:?}", server.line));
        (server, port)
    }

    /// Runs the client's checks, and holds what it prints against the list: none can be lost unseen
    pub(crate) fn checks<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>, wanted: &[&[&str]]) {
        let output = finish(self.command().arg("call").args(args), CHECKS_TIME);
        let out = text(&output.stdout);
        let wanted = wanted.concat();
        let mut lines: Vec<String> = wanted.iter().map(|check| format!("ok {check}")).collect();
        lines.push(format!("done {} ok 0 failed", wanted.len()));
        assert_eq!(out.lines().collect::<Vec<_>>(), lines, "{}", text(&output.stderr));
        assert!(output.status.success(), "{:?}", output.status);
    }
}

/// Where the programs are
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/jsonrpc")
}

/// Where install.sh puts what they stand on
fn installed() -> PathBuf {
    std::env::var_os("FLYRPC_PEERS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers"), PathBuf::from)
}

/// Runs the test with this peer, or says that it can't
pub(crate) fn with(program: Program, test: impl FnOnce(&Peer)) {
    match Peer::find(program) {
        Some(peer) => test(&peer),
        None => {
            skipped(&format!("{program:?} is not installed: cli/tests/peers/jsonrpc/install.sh installs it"))
        }
    }
}
