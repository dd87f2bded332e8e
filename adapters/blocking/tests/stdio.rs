//! Standard input and output, of this program and of one that is started, which is this program too
//!
//! A program of its own, since a test harness writes to standard output.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(clippy::disallowed_methods, reason = "tests on real pipes measure real time")]

use core::time::Duration;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use flyrpc_blocking::{Bytes, Client, CloseReason, Connected, Context, Error, Framing, JsonRpc, Server};

const SOON: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let mode = std::env::args().nth(1).unwrap_or_default();
    if mode.starts_with("serve") {
        serve(&mode);
        return ExitCode::SUCCESS;
    }
    // What hangs is to fail.
    std::thread::spawn(|| {
        std::thread::sleep(6 * SOON);
        eprintln!("the test hangs");
        std::process::exit(1);
    });
    calls_go_both_ways("jsonrpc+stdio:", "serve");
    calls_go_both_ways("fly+stdio:", "serve-fly");
    headers_frame_messages_where_that_is_set();
    the_end_of_the_input_ends_the_server_after_its_answers();
    what_was_sent_arrives_however_slowly_it_is_read();
    a_program_that_ends_takes_its_connection_with_it();
    a_program_ends_with_its_connection();
    programs_that_are_none_are_told_of();
    println!("standard input and output: ok");
    ExitCode::SUCCESS
}

fn serve(mode: &str) {
    let server = Server::new()
        .handle("echo", |payload: Bytes| payload)
        .handle("long", || format!("\"{}\"", "x".repeat(LONG)))
        .handle("exit", || -> Bytes { std::process::exit(0) })
        .handle("id", || std::process::id().to_string())
        .handle("greet", |context: Context| context.peer().call("name", ()));
    let (server, address) = match mode {
        "serve-fly" => (server, "fly+stdio:"),
        "serve-headers" => (server.json_rpc(headers()), "stdio:"),
        _ => (server, "jsonrpc+stdio:"),
    };
    let server = server.listen(address).unwrap();
    assert_eq!(server.address(), address);
    server.wait();
}

/// More than pipes and sockets hold
const LONG: usize = 4 << 20;

fn headers() -> JsonRpc {
    JsonRpc::new().framing(Framing::ContentLength)
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn connect(client: Client, scheme: &str, mode: &str) -> Connected {
    client
        .handle("name", || "\"Ada\"")
        .connect(format!("{scheme}{} {mode}", this_program().display()))
        .unwrap()
}

/// The program with bare pipes
fn start(mode: &str) -> Child {
    Command::new(this_program()).arg(mode).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn calls_go_both_ways(scheme: &str, mode: &str) {
    let client = connect(Client::new(), scheme, mode);
    assert!(client.remote().starts_with("stdio:"), "{}", client.remote());
    assert_eq!(client.call("echo", "[1]").unwrap(), "[1]");
    assert_eq!(client.call("greet", ()).unwrap(), "\"Ada\"");
    assert_eq!(client.call("long", ()).unwrap().len(), LONG + 2);
    let long = format!("\"{}\"", "y".repeat(LONG));
    assert!(client.call("echo", format!("[{long}]")).unwrap().len() == LONG + 4);
    client.ping(0, SOON).unwrap();
    assert_eq!(client.drain(SOON), CloseReason::Drained);
}

fn headers_frame_messages_where_that_is_set() {
    let client = connect(Client::new().json_rpc(headers()), "stdio:", "serve-headers");
    assert_eq!(client.call("greet", ()).unwrap(), "\"Ada\"");
    drop(client);
    let mut server = start("serve-headers");
    let body = r#"{"jsonrpc":"2.0","method":"echo","id":1}"#;
    write!(server.stdin.take().unwrap(), "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let answer = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null}";
    assert_eq!(rest(&mut server), format!("Content-Length: {}\r\n\r\n{answer}", answer.len()));
    assert!(server.wait().unwrap().success());
}

fn rest(server: &mut Child) -> String {
    let mut text = String::new();
    server.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

fn the_end_of_the_input_ends_the_server_after_its_answers() {
    let mut server = start("serve");
    let mut input = server.stdin.take().unwrap();
    writeln!(input, r#"[{{"jsonrpc":"2.0","method":"long","id":1}}]"#).unwrap();
    drop(input);
    assert_eq!(rest(&mut server).len(), LONG + 39);
    assert!(server.wait().unwrap().success());
}

fn what_was_sent_arrives_however_slowly_it_is_read() {
    let mut server = start("serve");
    let mut input = server.stdin.take().unwrap();
    writeln!(input, r#"{{"jsonrpc":"2.0","method":"long","id":1}}"#).unwrap();
    drop(input);
    let mut output = server.stdout.take().unwrap();
    let mut total = 0;
    let mut piece = vec![0; LONG / 16];
    loop {
        std::thread::sleep(Duration::from_millis(5));
        match output.read(&mut piece).unwrap() {
            0 => break,
            n => total += n,
        }
    }
    assert_eq!(total, LONG + 37);
    assert!(server.wait().unwrap().success());
}

fn a_program_that_ends_takes_its_connection_with_it() {
    let client = connect(Client::new(), "jsonrpc+stdio:", "serve");
    assert!(matches!(client.call("exit", ()), Err(Error::Lost(_))));
    assert!(matches!(client.closed(), CloseReason::PeerClosed | CloseReason::Transport(_)));
}

/// It is gone, not only dead: nobody has to wait for it any more
fn a_program_ends_with_its_connection() {
    let client = connect(Client::new(), "jsonrpc+stdio:", "serve");
    let id = String::from_utf8(client.call("id", ()).unwrap().to_vec()).unwrap();
    assert_ne!(id, std::process::id().to_string());
    drop(client);
    if cfg!(target_os = "linux") {
        let start = Instant::now();
        while std::fs::metadata(format!("/proc/{id}")).is_ok() {
            assert!(start.elapsed() < SOON, "the program lives on");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn programs_that_are_none_are_told_of() {
    let error = Client::new().connect("jsonrpc+stdio:no-such-program-of-flyrpc").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    let error = Server::new().listen("jsonrpc+stdio:cat").map(drop).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
    for address in ["serial:/dev/ttyACM0", "serial+tcp://127.0.0.1:1", "serial:/dev/ttyACM0?framing=plain"] {
        let error = Client::new().connect(address).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
    }
}
