//! Tokio's timers, where a task has used up its share of work

use core::future::{Future, pending};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use flyrpc_tokio::{Client, Error, Io, Server};
use tokio::sync::Semaphore;

/// Does as much as tokio lets a task do in one turn
async fn use_up() {
    let semaphore = Semaphore::new(1);
    core::future::poll_fn(|cx| {
        for _ in 0..1000 {
            if pin!(semaphore.acquire()).poll(cx).is_pending() {
                return Poll::Ready(());
            }
        }
        panic!("there is no end to a task's share");
    })
    .await;
}

#[tokio::test]
async fn a_handlers_time_runs_out_though_the_driver_had_no_share_left_when_it_began() {
    let server = Server::new()
        .handler_timeout(Duration::from_millis(50))
        .handle("use up", async || {
            use_up().await;
            pending::<()>().await;
        })
        .start();
    let (left, right) = tokio::io::duplex(4096);
    let client = Client::new().attach(Io::new(right));
    // The request is there when the server's driver comes for the first time, and has no timer yet.
    let mut call = pin!(client.call("use up", ()).within(Duration::from_secs(20)));
    let pass = core::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
    assert!(pass);
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
    let at_server = server.attach(Io::new(left)).unwrap();
    let error = call.await.unwrap_err();
    assert!(matches!(&error, Error::Remote(remote) if remote.code == "TIMEOUT"), "{error:?}");
    drop(at_server);
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn time_that_a_test_has_stopped_runs_out_as_tokios_own_does() {
    let (left, right) = tokio::io::duplex(4096);
    let server = Server::new().handle("never", pending::<()>).start();
    server.attach(Io::new(left));
    let client =
        Client::new().keepalive(Duration::from_secs(100), Duration::from_secs(10)).attach(Io::new(right));
    let began = tokio::time::Instant::now();
    let call = client.call("never", ()).within(Duration::from_secs(1000));
    let answer = tokio::time::timeout(Duration::from_secs(2000), call).await;
    assert_eq!(answer, Ok(Err(Error::TimedOut)));
    let took = began.elapsed().as_secs();
    assert!((1000..1002).contains(&took), "{took} s");
}
