//! A serial line behind a socket

use core::time::Duration;

use flyrpc_smol::{Bytes, Client, CloseReason, Context, Error, Loss, Server};
use smol::future::or;
use smol::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn calls_go_both_ways_and_a_restart_ends_them() {
    let all = async {
        let server = Server::new()
            .handle("echo", |payload: Bytes| payload)
            .handle("ask", |context: Context| async move { context.peer().call("name", ()).await })
            .handle("stuck", core::future::pending::<()>)
            .listen("serial+tcp://127.0.0.1:0")
            .await
            .unwrap();
        assert!(server.address().starts_with("serial+tcp://127.0.0.1:"));
        let client = Client::new().handle("name", || "Ada").connect(server.address()).await.unwrap();
        for len in [0, 1, 254, 5000] {
            let payload = Bytes::from(vec![0xa5; len]);
            assert_eq!(client.call("echo", &payload).await.as_ref(), Ok(&payload));
        }
        assert_eq!(client.call("ask", ()).await.unwrap(), "Ada");

        // A line whose far end is played by hand: it announces one session, and then another.
        let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client =
            Client::new().connect(format!("serial+tcp://{}", listener.local_addr().unwrap())).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let stuck = client.start("stuck", ()).unwrap();
        // From session 1, and from session 2, to none yet.
        far.write_all(&[0x00, 0x01, 0x02, 0x01, 0x01, 0x05, 0x20, 0x86, 0xb5, 0x2b, 0x00]).await.unwrap();
        far.write_all(&[0x00, 0x01, 0x02, 0x02, 0x01, 0x05, 0x22, 0xc0, 0x0b, 0x72, 0x00]).await.unwrap();
        let mut start = [0; 2];
        far.read_exact(&mut start).await.unwrap();
        assert_eq!(start[0], 0);
        assert_eq!(stuck.await, Err(Error::Lost(CloseReason::Transport(Loss::Reset))));
    };
    let much_later = async {
        smol::Timer::after(Duration::from_secs(20)).await;
        panic!("it takes too long");
    };
    smol::block_on(or(all, much_later));
}
