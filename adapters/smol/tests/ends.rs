//! How calls and servers end

use core::time::Duration;
use std::net::TcpListener;

use flyrpc_smol::{Client, Error, Server};
use smol::Timer;
use smol::future::or;

/// Longer than it takes until an idle connection gives its buffers back, which happens at the same time
#[test]
fn p01_a_call_on_a_quiet_connection_ends_at_its_deadline() {
    smol::block_on(async {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::new().connect(silent.local_addr().unwrap()).await.unwrap();
        let call = async { client.call("echo", "x").within(Duration::from_millis(1500)).await };
        let much_later = async {
            Timer::after(Duration::from_secs(20)).await;
            panic!("the call never ended");
        };
        assert_eq!(or(call, much_later).await, Err(Error::TimedOut));
    });
}

#[test]
fn after_a_shutdown_the_address_is_free() {
    smol::block_on(async {
        for _ in 0..20 {
            let server = Server::new().listen("127.0.0.1:0").await.unwrap();
            let address = server.address();
            let client = Client::new().connect(&address).await.unwrap();
            server.shutdown(Duration::from_secs(5)).await;
            drop(client);
            let again = Server::new().listen(&address).await.expect("the same address");
            again.shutdown(Duration::from_secs(5)).await;
        }
    });
}

#[cfg(unix)]
#[test]
fn after_a_shutdown_the_socket_file_is_gone() {
    smol::block_on(async {
        let path = std::env::temp_dir().join(format!("flyrpc-smol-{}", std::process::id()));
        for _ in 0..20 {
            let server = Server::new().listen(format!("unix:{}", path.display())).await.unwrap();
            server.shutdown(Duration::from_secs(5)).await;
            assert!(!path.exists());
        }
    });
}
