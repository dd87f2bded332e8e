//! What handlers and clients have beside calls: `$hello` on connecting, broadcasts from handlers, details of errors

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::Arc;

use flyrpc_tokio::{Client, Context, Error, RemoteError, Server};
use tokio::sync::{mpsc, oneshot};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_client_that_said_hello_on_connecting_cancels_what_it_gives_up() {
    struct TellsWhenDropped(Option<oneshot::Sender<()>>);
    impl Drop for TellsWhenDropped {
        fn drop(&mut self) {
            let _ = self.0.take().map(|tell| tell.send(()));
        }
    }
    let (dropped, heard) = oneshot::channel();
    let once = std::sync::Mutex::new(Some(dropped));
    let server = Server::new()
        .handle("for ever", move || {
            let guard = TellsWhenDropped(once.lock().unwrap().take());
            async move {
                let _guard = guard;
                core::future::pending::<()>().await;
            }
        })
        .listen("127.0.0.1:0")
        .await
        .unwrap();
    let client = Client::new().hello().connect(server.address()).await.unwrap();
    // The answer to `$hello` comes before the one to this.
    assert!(client.call("nothing", ()).await.is_err());
    let given_up = client.call("for ever", ()).within(Duration::from_millis(1)).await;
    assert_eq!(given_up, Err(Error::TimedOut));
    tokio::time::timeout(SOON, heard).await.expect("the handler is dropped").unwrap();
    assert!(client.capabilities().cancel);
}

#[tokio::test]
async fn a_handler_sends_to_everyone_and_sees_what_is_shared() {
    struct Greeting(&'static str);
    let closed = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&closed);
    let server = Server::new()
        .state(Greeting("hello"))
        .handle("greet all", |context: Context| {
            let greeting = context.peer().shared::<Greeting>().map_or("", |greeting| greeting.0);
            context.peer().broadcast("greeting", greeting).map(|heard| heard.to_string())
        })
        .fallback(|| "what?")
        .on_close(move |peer, _| {
            let _ = peer.broadcast("left", ());
            told.store(true, Ordering::Relaxed);
        })
        .listen("127.0.0.1:0")
        .await
        .unwrap();
    let (hear, mut heard) = mpsc::unbounded_channel();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (hear, left) = (hear.clone(), hear.clone());
        let client = Client::new()
            .handle("greeting", move |text: String| hear.send(text).map_err(|_| "GONE"))
            .handle("left", move || left.send("left".to_owned()).map_err(|_| "GONE"))
            .connect(server.address())
            .await
            .unwrap();
        assert_eq!(client.call("anything", ()).await.unwrap(), "what?");
        clients.push(client);
    }
    assert_eq!(clients[0].call("greet all", ()).await.unwrap(), "3");
    for _ in 0..3 {
        assert_eq!(tokio::time::timeout(SOON, heard.recv()).await.unwrap().unwrap(), "hello");
    }
    drop(clients.pop());
    for _ in 0..2 {
        assert_eq!(tokio::time::timeout(SOON, heard.recv()).await.unwrap().unwrap(), "left");
    }
    assert!(closed.load(Ordering::Relaxed));
}

#[tokio::test]
async fn details_of_an_error_are_decoded() {
    let server = Server::new()
        .handle("lamp", || RemoteError::new("NO_SUCH_LAMP").details("lamp 7"))
        .listen("127.0.0.1:0")
        .await
        .unwrap();
    let client = flyrpc_tokio::connect(server.address()).await.unwrap();
    let Err(Error::Remote(error)) = client.call("lamp", ()).await else { panic!("it has no lamp") };
    assert_eq!(error.details_as::<String>().unwrap(), "lamp 7");
}
