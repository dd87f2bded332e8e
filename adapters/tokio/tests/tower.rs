//! tower's own middleware on both sides, unchanged

#![allow(clippy::unwrap_used, reason = "helpers of tests, which the setting for tests does not see")]

use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context as Poller, Poll};
use core::time::Duration;
use std::sync::{Arc, Mutex};

use flyrpc_tokio::{
    BoxError, Bytes, CallRequest, Client, Context, Error, PanicReport, Peer, RemoteError, Request, Router,
    Server,
};
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const FAR: Duration = Duration::from_secs(600);

/// Takes note of each request on its way in, as a layer for tracing does
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

#[derive(Clone)]
struct Noting<S>(Notes, S);

impl<S> Layer<S> for Notes {
    type Service = Noting<S>;

    fn layer(&self, inner: S) -> Noting<S> {
        Noting(self.clone(), inner)
    }
}

impl<S: Service<Request>> Service<Request> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Poller<'_>) -> Poll<Result<(), S::Error>> {
        self.1.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> S::Future {
        self.0.0.lock().unwrap().push(request.code().to_owned());
        self.1.call(request)
    }
}

fn remote(code: &str) -> Result<Bytes, Error> {
    Err(RemoteError::new(code).into())
}

#[tokio::test]
async fn towers_layers_work_around_handlers() {
    let notes = Notes::default();
    let gate = Arc::new(Semaphore::new(0));
    let entered = Arc::new(Semaphore::new(0));
    let (at_gate, at_entered) = (Arc::clone(&gate), Arc::clone(&entered));
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&panics);
    let limited = ServiceBuilder::new().load_shed().concurrency_limit(1);
    let server = Server::new()
        .router(
            Router::new()
                .handle("echo", |payload: Bytes| payload)
                .handle("no", || RemoteError::new("NO").details("7"))
                .handle("panic", |_: Bytes| -> Bytes { panic!("on purpose") })
                .handle("back", |context: Context| async move { context.peer().call("name", ()).await })
                .layer(ServiceBuilder::new().layer(notes.clone()).buffer(16).timeout(FAR))
                .on_panic(move |_: &PanicReport| {
                    counted.fetch_add(1, Ordering::Relaxed);
                }),
        )
        .router(Router::new().handle("stuck", core::future::pending::<()>).layer(
            // Whole milliseconds, as tower's own
            ServiceBuilder::new().timeout(Duration::from_millis(1)),
        ))
        .router(
            Router::new()
                .handle("gate", move |payload: Bytes| {
                    let (gate, entered) = (Arc::clone(&at_gate), Arc::clone(&at_entered));
                    async move {
                        entered.add_permits(1);
                        gate.acquire().await.unwrap().forget();
                        payload
                    }
                })
                .layer(limited),
        )
        .listen("127.0.0.1:0")
        .await
        .unwrap();
    let client = Client::new().handle("name", || "Ada").connect(server.address()).await.unwrap();

    assert_eq!(client.call("echo", "hi").await, Ok("hi".into()));
    assert_eq!(client.call("back", ()).await, Ok("Ada".into()));
    assert_eq!(client.call("no", ()).await, Err(RemoteError::new("NO").details("7").into()));
    assert_eq!(client.call("panic", ()).await, remote("HANDLER_PANIC"));
    assert_eq!(panics.load(Ordering::Relaxed), 1, "it is reported");
    assert_eq!(client.call("what", ()).await, remote("NOT_FOUND"));
    assert_eq!(*notes.0.lock().unwrap(), ["echo", "back", "no", "panic"]);

    assert_eq!(client.call("stuck", ()).await, remote("TIMEOUT"));

    let peer = client.peer();
    let first = tokio::spawn(async move { peer.call("gate", "first").await });
    entered.acquire().await.unwrap().forget();
    assert_eq!(client.call("gate", "second").await, remote("BUSY"));
    gate.add_permits(1);
    assert_eq!(first.await.unwrap(), Ok("first".into()));
    gate.add_permits(1);
    assert_eq!(client.call("gate", "third").await, Ok("third".into()));
}

#[derive(Debug)]
struct Secret;

impl core::fmt::Display for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the password is 1234")
    }
}

impl core::error::Error for Secret {}

#[tokio::test]
async fn services_are_handlers() {
    let upper =
        service_fn(|request: Request| async move { Ok::<_, RemoteError>(request.text()?.to_uppercase()) });
    let shy = service_fn(|_: Request| async { Err::<Bytes, BoxError>(Box::new(Secret)) });
    let any = service_fn(|request: Request| async move { Ok::<_, BoxError>(request.code().to_owned()) });
    let router = Router::new()
        .handle_service("upper", ServiceBuilder::new().concurrency_limit(8).service(upper))
        .handle_service("shy", shy)
        .fallback_service(any);
    let server = Server::new().router(router).listen("127.0.0.1:0").await.unwrap();
    let client = Client::new().connect(server.address()).await.unwrap();
    assert_eq!(client.call("upper", "hi").await, Ok("HI".into()));
    assert!(client.call("upper", b"\xff").await.unwrap_err().to_string().contains("BAD_PAYLOAD"));
    assert_eq!(client.call("shy", ()).await, remote("ERROR"), "with no details");
    assert_eq!(client.call("anything", ()).await, Ok("anything".into()));
}

/// Tries again once when the server is busy
#[derive(Clone)]
struct Once(bool);

impl tower::retry::Policy<CallRequest, Bytes, Error> for Once {
    type Future = core::future::Ready<()>;

    fn retry(&mut self, _: &mut CallRequest, result: &mut Result<Bytes, Error>) -> Option<Self::Future> {
        let busy = matches!(result, Err(Error::Remote(error)) if error.code == "BUSY");
        (busy && core::mem::take(&mut self.0)).then(|| core::future::ready(()))
    }

    fn clone_request(&mut self, request: &CallRequest) -> Option<CallRequest> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn a_peer_is_a_service() {
    let calls = AtomicUsize::new(0);
    let server =
        Server::new()
            .handle("echo", |payload: Bytes| payload)
            .handle("stuck", core::future::pending::<()>)
            .handle("second", move || {
                if calls.fetch_add(1, Ordering::Relaxed) == 0 { Err("BUSY") } else { Ok("there") }
            })
            .listen("127.0.0.1:0")
            .await
            .unwrap();
    let client = Client::new().connect(server.address()).await.unwrap();

    let mut plain: Peer = client.peer();
    let answer = plain.ready().await.unwrap().call(CallRequest::new("echo", "hi")).await;
    assert_eq!(answer, Ok("hi".into()));
    let answer = plain.oneshot(CallRequest::new("stuck", ()).within(Duration::from_millis(1))).await;
    assert_eq!(answer, Err(Error::TimedOut));

    let again = ServiceBuilder::new().retry(Once(true)).service(client.peer());
    assert_eq!(again.oneshot(CallRequest::new("second", ())).await, Ok("there".into()));

    let mut all = ServiceBuilder::new()
        .buffer(16)
        .load_shed()
        .concurrency_limit(4)
        .timeout(Duration::from_millis(1))
        .service(client.peer());
    let elapsed = all.ready().await.unwrap().call(CallRequest::new("stuck", ())).await.unwrap_err();
    assert!(elapsed.is::<tower::timeout::error::Elapsed>(), "{elapsed:?}");
    // The call was cancelled with its future.
    assert_eq!(client.in_flight(), 0);
}
