//! One connection at a time, and its exchanges, one after another

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING,
    USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode, Uri};

use super::pool::{Pool, Seat};
use crate::http::exchange::{LENGTH, unit};
use crate::http::io::Io;
use crate::http::look;
use crate::runtime::{Runtime, Timer};
use crate::until::within;

/// Headers that the client sets itself
pub(super) const OWN_HEADERS: [HeaderName; 7] =
    [ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, USER_AGENT];

/// Posts what waits, until nothing has for as long as a connection is kept
pub(super) async fn run<R: Runtime>(seat: Seat) {
    let (pool, id) = (Arc::clone(&seat.pool), seat.id);
    let mut worker = Worker::<R> { seat, line: None };
    let mut work = pin!(async {
        while let Some(message) = worker.next().await {
            worker.post(&message).await;
        }
    });
    poll_fn(|cx| match pool.poll_abandoned(id, cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => work.as_mut().poll(cx),
    })
    .await;
}

struct Worker<R: Runtime> {
    seat: Seat,
    /// A connection that is kept
    line: Option<Line<R>>,
}

impl<R: Runtime> Worker<R> {
    async fn next(&mut self) -> Option<Bytes> {
        let Self { seat, line } = self;
        let mut timer = None;
        poll_fn(|cx| {
            if line.as_mut().is_some_and(|line| line.poll_lost(cx).is_ready()) {
                *line = None;
            }
            if let Poll::Ready(next) = seat.poll_next(line.is_some()) {
                return Poll::Ready(next);
            }
            let timer = timer.get_or_insert_with(|| {
                let mut timer = R::timer();
                timer.set(seat.pool.options.idle_timeout);
                timer
            });
            ready!(timer.poll_expired(cx));
            seat.poll_next(false)
        })
        .await
    }

    async fn post(&mut self, message: &Bytes) {
        let Self { seat, line } = self;
        let limit = seat.pool.options.exchange_timeout;
        let ended = within::<R, _>(limit, exchange::<R>(seat, line, message)).await;
        let (body, error) = match ended {
            Some(Ok((status, body))) => {
                let why = if status.is_success() { " without an answer to this call" } else { "" };
                (body, format!("HTTP status {}{why}", status.as_u16()))
            }
            Some(Err(error)) => (Bytes::new(), error),
            None => (Bytes::new(), "HTTP exchange timed out".to_owned()),
        };
        let settled = look::settle(message, body.get(LENGTH..).unwrap_or_default(), &look::error(&error));
        let missing = settled.missing.and_then(|message| unit(&message));
        seat.done(settled.hand_over.then_some(body).into_iter().chain(missing));
    }
}

/// Posts a message and receives what is answered, as a unit; connects if there is no connection
///
/// The connection goes back to `kept` if it can be used again. The error tells what happened, without anything that was received.
async fn exchange<R: Runtime>(
    seat: &mut Seat,
    kept: &mut Option<Line<R>>,
    message: &Bytes,
) -> Result<(StatusCode, Bytes), String> {
    loop {
        // If this future is dropped, so is the connection.
        let (mut line, is_fresh) = match kept.take() {
            Some(line) => (line, false),
            None => (Line::connect(&seat.pool).await?, true),
        };
        match line.send(request(&seat.pool, message)).await {
            Ok(response) => {
                let status = response.status();
                let body = line.receive(seat, response.into_body()).await?;
                *kept = Some(line);
                return Ok((status, body));
            }
            // It had been closed while it was kept, and not a byte of this has left: that's no second time (P11).
            Err(Unsent(true)) if !is_fresh => {}
            Err(Unsent(_)) => return Err("HTTP connection lost".to_owned()),
        }
    }
}

fn request(pool: &Pool, message: &Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(message.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from(pool.path.clone());
    let headers = request.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(HOST, pool.host.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("flyrpc/", env!("CARGO_PKG_VERSION"))));
    headers.insert(CONTENT_TYPE, json.clone());
    headers.insert(ACCEPT, json);
    for (name, value) in &pool.options.headers {
        headers.append(name, value.clone());
    }
    request
}

/// A request came to nothing: is it certain that it did not leave?
struct Unsent(bool);

/// A connection to the server
struct Line<R: Runtime> {
    sender: SendRequest<Full<Bytes>>,
    /// `None` when it has ended
    connection: Option<Running<R>>,
}

type Running<R> = Connection<Io<R, <R as Runtime>::Stream>, Full<Bytes>>;

impl<R: Runtime> Line<R> {
    async fn connect(pool: &Pool) -> Result<Self, String> {
        let stream = within::<R, _>(pool.options.connect_timeout, R::connect(&pool.address))
            .await
            .ok_or_else(|| "HTTP connecting timed out".to_owned())?
            .map_err(|error| format!("HTTP connecting failed: {}", error.kind()))?;
        let shaken = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(Io::new(stream)).await;
        let (sender, connection) = shaken.map_err(|_| "HTTP connection lost".to_owned())?;
        Ok(Self { sender, connection: Some(connection) })
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Unsent> {
        let Self { sender, connection } = self;
        if drive(connection, sender.ready()).await.is_err() {
            return Err(Unsent(true));
        }
        let sent = drive(connection, sender.try_send_request(request)).await;
        sent.map_err(|error| Unsent(error.message().is_some()))
    }

    async fn receive(&mut self, seat: &mut Seat, mut body: Incoming) -> Result<Bytes, String> {
        let too_long = || "HTTP answer too long".to_owned();
        let max = seat.pool.options.max_message.min(u32::MAX as usize);
        if body.size_hint().lower() > max as u64 {
            return Err(too_long());
        }
        // Memory is taken for what has really come (P17).
        let mut received = BytesMut::from([0; LENGTH].as_slice());
        loop {
            let frame = poll_fn(|cx| {
                ready!(seat.poll_may_receive(cx));
                Pin::new(&mut body).poll_frame(cx)
            });
            let Some(frame) = drive(&mut self.connection, frame).await else { break };
            let Ok(frame) = frame else { return Err("HTTP connection lost".to_owned()) };
            let Some(data) = frame.data_ref() else { continue };
            if received.len() - LENGTH + data.len() > max {
                return Err(too_long());
            }
            seat.received(data.len());
            received.extend_from_slice(data);
        }
        let length = u32::try_from(received.len() - LENGTH).unwrap_or_default();
        if let Some(front) = received.first_chunk_mut::<LENGTH>() {
            *front = length.to_be_bytes();
        }
        Ok(received.freeze())
    }

    /// Ready when the connection has ended
    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.connection {
            Some(connection) => Pin::new(connection).poll(cx).map(drop),
            None => Poll::Ready(()),
        }
    }
}

/// Most bytes of an answer's head, and of one read
const MAX_HEAD: usize = 64 << 10;

/// Awaits what needs the connection to go on
async fn drive<R: Runtime, F: Future>(connection: &mut Option<Running<R>>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Some(running) = connection
            && Pin::new(running).poll(cx).is_ready()
        {
            // What waits for it is told by its end.
            *connection = None;
        }
        future.as_mut().poll(cx)
    })
    .await
}
