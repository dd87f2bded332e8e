//! A host that answers without any dialect, and a client that writes the bytes itself

use core::future::poll_fn;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use bytes::{Buf, BytesMut};
use flyrpc_driver::Address;
use flyrpc_driver::http::{Exchange, Host, Options, Prefixed, serve};
use flyrpc_driver::runtime::{Listener, Runtime, Transport};

/// Happens once
#[derive(Clone, Default)]
pub struct Signal(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Signal {
    pub fn set(&self) {
        let wakers = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            core::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1.push(cx.waker().clone());
        Poll::Pending
    }

    pub async fn wait(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}

/// Answers by the method's name; ids and params are taken as the tests write them
pub struct Stub<R> {
    /// Messages, in the order they came
    pub seen: Mutex<Vec<String>>,
    /// Lets `slow` be answered
    pub go: Signal,
    /// A `slow` one has begun
    pub slow: Signal,
    /// A client has gone
    pub gone: Signal,
    /// The exchange of a client that has gone fails
    pub failed: Signal,
    pub closing: Signal,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Stub<R> {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::default(),
            go: Signal::default(),
            slow: Signal::default(),
            gone: Signal::default(),
            failed: Signal::default(),
            closing: Signal::default(),
            runtime: PhantomData,
        })
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// `host` in a form that can be shared with a server while the test looks at it
pub struct Shared<R>(pub Arc<Stub<R>>);

impl<R: Runtime, T: Transport> Host<T> for Shared<R> {
    fn exchange(&self, exchange: Exchange) -> bool {
        let stub = Arc::clone(&self.0);
        let departure = exchange.departure();
        let gone = stub.gone.clone();
        departure.then(move || gone.set());
        if stub.seen.lock().unwrap().len() >= 1000 {
            return false;
        }
        R::spawn(Box::pin(async move {
            let _ = answer(&stub, exchange).await;
        }));
        true
    }

    fn connected(&self, stream: Prefixed<T>) {
        R::spawn(Box::pin(echo("", stream)));
    }

    fn upgraded(&self, stream: Prefixed<T>) {
        R::spawn(Box::pin(echo("up:", stream)));
    }

    fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.closing.poll(cx)
    }
}

async fn echo<T: Transport>(greeting: &'static str, mut stream: T) {
    let mut data = BytesMut::from(greeting);
    loop {
        if write_all(&mut stream, &data).await.is_err() {
            return;
        }
        data.clear();
        data.reserve(256);
        if !matches!(poll_fn(|cx| stream.poll_read(cx, &mut data)).await, Ok(n) if n > 0) {
            return;
        }
    }
}

/// What stands between `"name":` and the next of these
pub fn member<'a>(message: &'a str, name: &str, until: &[char]) -> &'a str {
    let at = message.find(&format!("\"{name}\":")).map(|at| at + name.len() + 3);
    at.map_or("", |at| message[at..].split(until).next().unwrap())
}

async fn answer<R: Runtime>(stub: &Stub<R>, mut exchange: Exchange) -> io::Result<()> {
    let mut unit = BytesMut::new();
    loop {
        unit.reserve(64);
        if poll_fn(|cx| exchange.poll_read(cx, &mut unit)).await? == 0 {
            break;
        }
    }
    assert_eq!(unit.get_u32() as usize, unit.len(), "one unit, and nothing else");
    let message = String::from_utf8(unit.to_vec()).unwrap();
    stub.seen.lock().unwrap().push(message.clone());
    let id = member(&message, "id", &[',', '}']);
    let response =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#, member(&message, "params", &['}']));
    match member(&message, "method", &[',', '}']).trim_matches('"') {
        "note" => {}
        "drop" => return Ok(()),
        "pieces" => {
            for byte in crate::suite::unit(&response) {
                write_all(&mut exchange, &[byte]).await?;
            }
        }
        "noisy" => {
            for message in
                [r#"{"jsonrpc":"2.0","method":"news"}"#, &response, r#"{"id":1,"result":"second"}"#]
            {
                write_all(&mut exchange, &crate::suite::unit(message)).await?;
            }
        }
        "slow" => {
            stub.slow.set();
            stub.go.wait().await;
            if let Err(error) = write_all(&mut exchange, &crate::suite::unit(&response)).await {
                stub.failed.set();
                return Err(error);
            }
        }
        _ => write_all(&mut exchange, &crate::suite::unit(&response)).await?,
    }
    poll_fn(|cx| exchange.poll_shutdown(cx)).await
}

pub async fn write_all<T: Transport>(stream: &mut T, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let n = poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(data)])).await?;
        data = &data[n..];
    }
    Ok(())
}

/// Serves on a socket of its own until the test ends
pub async fn start<R: Runtime>(host: &Arc<Stub<R>>, options: Options) -> Address {
    let mut listener = R::listen(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address().unwrap();
    let host: Arc<dyn Host<R::Stream>> = Arc::new(Shared(Arc::clone(host)));
    R::spawn(Box::pin(async move {
        while let Ok(stream) = poll_fn(|cx| listener.poll_accept(cx)).await {
            let (host, options) = (Arc::clone(&host), options.clone());
            R::spawn(Box::pin(async move { serve::<R, _>(stream, host, &options).await }));
        }
    }));
    address
}

/// A client that writes the bytes itself, or a server that does
pub struct Raw<T> {
    pub stream: T,
    buf: BytesMut,
}

pub struct Reply {
    pub status: String,
    pub headers: String,
    pub body: String,
}

impl<T: Transport> Raw<T> {
    pub fn new(stream: T) -> Self {
        Self { stream, buf: BytesMut::new() }
    }

    pub async fn send(&mut self, data: impl AsRef<[u8]>) {
        self.try_send(data).await.unwrap();
    }

    /// Writes all of it, and takes what comes meanwhile: the other end may not read on before
    pub async fn try_send(&mut self, data: impl AsRef<[u8]>) -> io::Result<()> {
        let mut data = data.as_ref();
        while !data.is_empty() {
            let n = poll_fn(|cx| {
                loop {
                    if let Poll::Ready(written) = self.stream.poll_write(cx, &[IoSlice::new(data)]) {
                        return Poll::Ready(written);
                    }
                    self.buf.reserve(4096);
                    if !matches!(self.stream.poll_read(cx, &mut self.buf), Poll::Ready(Ok(n)) if n > 0) {
                        return Poll::Pending;
                    }
                }
            })
            .await?;
            data = &data[n..];
        }
        Ok(())
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.buf.reserve(4096);
        poll_fn(|cx| self.stream.poll_read(cx, &mut self.buf)).await
    }

    /// The next bytes, this many
    pub async fn take_bytes(&mut self, n: usize) -> Vec<u8> {
        while self.buf.len() < n {
            assert!(self.read().await.unwrap() > 0, "it ended behind {:?}", self.buf);
        }
        self.buf.split_to(n).to_vec()
    }

    pub async fn take(&mut self, n: usize) -> String {
        String::from_utf8(self.take_bytes(n).await).unwrap()
    }

    /// A request or a reply whose body has a `Content-Length`, or none; `None` at the end
    pub async fn try_message(&mut self) -> Option<Reply> {
        let head = loop {
            if let Some(at) = self.buf.windows(4).position(|window| window == b"\r\n\r\n") {
                break self.take(at + 4).await;
            }
            if !matches!(self.read().await, Ok(n) if n > 0) {
                return None;
            }
        };
        let (status, headers) = head.split_once("\r\n").unwrap();
        let length = headers.to_ascii_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length:").map(|value| value.trim().parse::<usize>().unwrap())
        });
        let body = self.take(length.unwrap_or(0)).await;
        Some(Reply { status: status.to_owned(), headers: headers.to_owned(), body })
    }

    pub async fn message(&mut self) -> Reply {
        self.try_message().await.expect("the connection ended")
    }

    /// Is there nothing but the end?
    pub async fn is_at_end(&mut self) -> bool {
        self.buf.is_empty() && !matches!(self.read().await, Ok(n) if n > 0)
    }
}

/// Both, side by side
pub async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    let (mut of_a, mut of_b) = (None, None);
    poll_fn(|cx| {
        poll_once(&mut a, &mut of_a, cx);
        poll_once(&mut b, &mut of_b, cx);
        if of_a.is_some() && of_b.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (of_a.unwrap(), of_b.unwrap())
}

fn poll_once<F: Future>(future: &mut Pin<Box<F>>, output: &mut Option<F::Output>, cx: &mut Context<'_>) {
    if output.is_none()
        && let Poll::Ready(value) = future.as_mut().poll(cx)
    {
        *output = Some(value);
    }
}
