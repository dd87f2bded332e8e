//! Serial ports: calls over real tty devices, both ways, restarts, and what can't be opened

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

use core::future::Future;
use core::time::Duration;
use std::io::ErrorKind;

use flyrpc_tokio::{
    Bytes, Client, CloseReason, Connected, Context, Error, Limits, Loss, Overload, Router, Server,
};
use tokio::task::JoinHandle;
use tokio_serial::{SerialPort as _, SerialStream};

/// Longer than anything takes here
const PATIENCE: Duration = Duration::from_secs(20);

/// A pseudo terminal: the end that is held, and the name of the other, which stays open as a real port does
fn pty() -> (SerialStream, SerialStream, String) {
    let (master, slave) = SerialStream::pair().unwrap();
    let name = slave.name().unwrap();
    (master, slave, name)
}

/// Two ports with a cable between them
struct Cable {
    names: [String; 2],
    _slaves: [SerialStream; 2],
    pump: JoinHandle<()>,
}

impl Cable {
    fn new() -> Self {
        let (mut a, slave_a, name_a) = pty();
        let (mut b, slave_b, name_b) = pty();
        let pump = tokio::spawn(async move {
            let _ = tokio::io::copy_bidirectional(&mut a, &mut b).await;
        });
        Self { names: [name_a, name_b], _slaves: [slave_a, slave_b], pump }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

fn router() -> Router {
    Router::new()
        .handle("echo", |payload: Bytes| payload)
        .handle("ask", |context: Context| async move { context.peer().call("name", ()).await })
        .handle("stuck", core::future::pending::<()>)
}

fn client() -> Client {
    Client::new().limits(Limits::new().call_timeout(PATIENCE)).handle("name", || "Ada")
}

#[tokio::test]
async fn calls_go_both_ways_between_two_ports() {
    for (framing, baud) in [("cobs", 115_200), ("plain", 9600), ("cobs", 1_000_000)] {
        let cable = Cable::new();
        let [near, far] =
            cable.names.clone().map(|name| format!("serial:{name}?baud={baud}&framing={framing}"));
        let server = Server::new().router(router()).listen(&far).await.unwrap();
        assert!(server.address().starts_with(&format!("serial:{}?baud={baud}", cable.names[1])));
        let client = client().connect(&near).await.unwrap();
        for len in [0, 1, 250, 600, 20_000] {
            let payload: Bytes = (0..len).map(|at| (at * 7) as u8).collect::<Vec<_>>().into();
            assert_eq!(client.call("echo", &payload).await.as_ref(), Ok(&payload), "{len} bytes, {framing}");
        }
        assert_eq!(client.call("ask", ()).await.unwrap(), "Ada");
        assert_eq!(server.peers()[0].remote(), format!("serial:{}?baud={baud}", cable.names[1]));

        // A line has no end to be waited for: it ends at once on this side, and the other knows nothing of it.
        tokio::time::timeout(Duration::from_millis(900), client.drain(PATIENCE)).await.unwrap();
        let again = self::client().connect(&near).await.unwrap();
        assert_eq!(again.call("echo", "again").await.unwrap(), "again", "{framing}");
        tokio::time::timeout(PATIENCE, server.shutdown(PATIENCE)).await.unwrap();
    }
}

/// Connects as soon as the connection before has let go of the port, which its task does
async fn connect_again(client: impl Fn() -> Client, address: &str) -> Connected {
    loop {
        match client().connect(address).await {
            Ok(connected) => return connected,
            Err(error) => assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes too long")
}

#[tokio::test]
async fn the_other_ends_restart_fails_calls_at_once_and_is_lived_through() {
    let cable = Cable::new();
    let [near, far] = cable.names.clone().map(|name| format!("serial:{name}"));
    let board = || client().router(router());
    let first = board().connect(&far).await.unwrap();
    let host = client().connect(&near).await.unwrap();
    assert_eq!(soon(host.call("echo", "1")).await.unwrap(), "1");
    let stuck = host.start("stuck", ()).unwrap();
    drop(first);
    let second = connect_again(board, &far).await;
    let reset = CloseReason::Transport(Loss::Reset);
    assert_eq!(soon(stuck).await, Err(Error::Lost(reset)));
    drop(host);
    let host = connect_again(client, &near).await;
    // To the board it is a restart, too.
    assert_eq!(soon(second.closed()).await, reset);
    drop(second);
    let _third = connect_again(board, &far).await;
    assert_eq!(soon(host.closed()).await, reset);
}

#[tokio::test]
async fn a_server_opens_its_port_again_after_a_connection() {
    let cable = Cable::new();
    let [near, far] = cable.names.clone().map(|name| format!("serial:{name}"));
    let server =
        Server::new().router(router()).max_connections(1, Overload::Refuse).listen(&far).await.unwrap();
    let mut host = client().connect(&near).await.unwrap();
    for _ in 0..2 {
        assert_eq!(soon(host.call("echo", "here")).await.unwrap(), "here");
        server.peers()[0].close();
        assert_eq!(soon(host.closed()).await, CloseReason::Transport(Loss::Reset), "it has begun again");
        drop(host);
        host = connect_again(client, &near).await;
    }
    assert_eq!(soon(host.call("echo", "again")).await.unwrap(), "again");
}

#[tokio::test]
async fn one_at_a_time_opens_a_port() {
    let (_master, slave, name) = pty();
    let first = client().connect(format!("serial:{name}")).await.unwrap();
    let error = client().connect(format!("serial:{name}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
    assert!(error.to_string().contains(&name) && error.to_string().contains("another program"), "{error}");
    drop((first, slave));
}

#[tokio::test]
async fn what_is_no_port_is_named() {
    let file = std::env::current_exe().unwrap();
    let file = file.parent().unwrap().join("no-port-but-a-file");
    std::fs::write(&file, "").unwrap();
    for (port, kind, why) in [
        ("/dev/tty-that-is-not-there", ErrorKind::NotFound, "no such port"),
        (file.to_str().unwrap(), ErrorKind::Other, "no serial port"),
    ] {
        for error in [
            client().connect(format!("serial:{port}")).await.unwrap_err(),
            Server::new().listen(format!("serial:{port}")).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(port) && error.to_string().contains(why), "{error}");
        }
    }
    std::fs::remove_file(file).unwrap();
}
