//! One TCP connection of a server's, from its first byte to its end

use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};

use super::connect::{Opening, accept, opening, refuse};
use super::exchange::{Answer, Exchange, LENGTH};
use super::io::{self, Io, Phase, Prefixed, close, write_all};
use super::{Host, Options};
use crate::Origins;
use crate::runtime::{Runtime, Transport};
use crate::until::{until, within};

/// Serves one connection until it ends: HTTP/1.1 with keep-alive, or a stream that it becomes
///
/// | request | answer |
/// |---|---|
/// | POST, `Content-Type` `application/json`, `application/json-rpc`, `application/jsonrequest` or, not from a browser, none | what its [`Exchange`] comes to: 200 with `application/json`, 204, or 503 |
/// | POST with a longer body than [`Options::max_message`] | 413 |
/// | POST whose body stands still for longer than [`Options::body_timeout`] | 408 |
/// | POST of another type | 415 |
/// | `CONNECT` on [`Options::connect_path`] | the stream goes to [`Host::connected`]; 404 on other paths |
/// | WebSocket's upgrade, with feature `ws` | 101, and the stream goes to [`Host::upgraded`] |
/// | any other | 405 |
///
/// Any path will do for POST. Requests of one connection are answered one after another, in their order. A client that closes its
/// connection, or its own direction of it, has gone away: its exchange ends.
///
/// Dropping this future closes the connection.
pub async fn serve<R: Runtime, T: Transport>(stream: T, host: Arc<dyn Host<T>>, options: &Options) {
    let opening = until(|cx| host.poll_closing(cx), opening(stream));
    let opened = within::<R, _>(options.header_timeout, opening).await;
    match opened {
        Some(Some(Ok(Opening::Connect(path, stream)))) => {
            connect::<R, T>(stream, &path, &*host, options).await
        }
        Some(Some(Ok(Opening::Other(stream)))) => requests::<R, T>(stream, host, options).await,
        Some(Some(Err(_)) | None) | None => {}
    }
}

async fn connect<R: Runtime, T: Transport>(
    mut stream: Prefixed<T>,
    path: &str,
    host: &dyn Host<T>,
    options: &Options,
) {
    if options.connect_path.as_deref() == Some(path) {
        if let Some(Ok(())) = within::<R, _>(options.write_timeout, accept(&mut stream)).await {
            host.connected(stream);
        }
    } else if let Some(Ok(())) = within::<R, _>(options.write_timeout, refuse(&mut stream)).await {
        close::<R, _>(stream).await;
    }
}

/// Turns of a connection before other tasks get theirs
const AT_A_TIME: usize = 4;
/// Most bytes of a request's head, and of one read
const MAX_HEAD: usize = 64 << 10;

async fn requests<R: Runtime, T: Transport>(stream: Prefixed<T>, host: Arc<dyn Host<T>>, options: &Options) {
    let phase = Arc::new(Phase::default());
    let remote = stream.remote();
    let io = Io::<R, _>::timed(stream, &phase, options);
    let shared = Arc::new(Shared {
        host: Arc::clone(&host),
        phase,
        max_message: options.max_message,
        connect_path: options.connect_path.clone(),
        origins: options.origins.clone(),
        remote,
    });
    let requests = Requests(Arc::clone(&shared));
    let mut connection = http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(io, requests);
    let mut is_closing = false;
    let _ = poll_fn(|cx| {
        if !is_closing && host.poll_closing(cx).is_ready() {
            is_closing = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        for _ in 0..AT_A_TIME {
            if is_closing && shared.phase.is_before_request() {
                // Half a head or body is no request yet, and may never become one.
                return Poll::Ready(Ok(()));
            }
            let before = shared.phase.number();
            let polled = Pin::new(&mut connection).poll(cx);
            // A read that waits has the time of the phase it began in; hyper begins no other just for that.
            if polled.is_ready() || shared.phase.number() == before {
                return polled;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    // What was still under way ends here.
    let parts = connection.into_parts();
    let io::Parts { transport: mut stream, unread, unsent } = parts.io.into_parts();
    if !shared.phase.is_upgraded() {
        close::<R, _>(stream).await;
    } else if let Some(Ok(())) = within::<R, _>(options.write_timeout, write_all(&mut stream, &unsent)).await
    {
        host.upgraded(stream.unread(&[&parts.read_buf, &unread]));
    }
}

/// Answers the requests of one connection
struct Requests<T>(Arc<Shared<T>>);

struct Shared<T> {
    host: Arc<dyn Host<T>>,
    phase: Arc<Phase>,
    max_message: usize,
    connect_path: Option<String>,
    #[cfg_attr(not(feature = "ws"), expect(dead_code, reason = "there are no WebSockets"))]
    origins: Origins,
    remote: String,
}

type Reply = Response<Full<Bytes>>;

impl<T: Transport> Service<Request<Incoming>> for Requests<T> {
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        shared.phase.body();
        Box::pin(async move {
            let (head, mut body) = request.into_parts();
            #[cfg(feature = "ws")]
            let upgrade = upgrade::reply(&head, &shared.origins);
            #[cfg(not(feature = "ws"))]
            let upgrade = None::<Reply>;
            let mut reply = match upgrade {
                Some(reply) if reply.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    shared.phase.upgraded();
                    return Ok(reply);
                }
                Some(refusal) => refusal,
                None => shared.reply(&head, &mut body).await,
            };
            if !body.is_end_stream() {
                // The rest of the body is not going to be read.
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            shared.phase.idle();
            Ok(reply)
        })
    }
}

impl<T: Transport> Shared<T> {
    async fn reply(&self, head: &Parts, body: &mut Incoming) -> Reply {
        if head.method != Method::POST {
            let connects = self.connect_path.as_deref() == Some(head.uri.path());
            let (text, allowed) =
                if connects { ("405 must CONNECT\n", "CONNECT, POST") } else { ("405 must POST\n", "POST") };
            let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, text);
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return reply;
        }
        if !is_json(&head.headers) {
            return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "415 must be application/json\n");
        }
        match self.unit(body).await {
            Ok(unit) => self.exchange(unit).await,
            Err(mut reply) => {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                reply
            }
        }
    }

    /// The body as a unit
    async fn unit(&self, body: &mut Incoming) -> Result<Bytes, Reply> {
        let too_long = || plain(StatusCode::PAYLOAD_TOO_LARGE, "413 the body is too long\n");
        let max = self.max_message.min(u32::MAX as usize);
        if body.size_hint().lower() > max as u64 {
            return Err(too_long());
        }
        // The length comes in front when it is known; memory is taken for what has really come (P17).
        let mut unit = BytesMut::from([0; LENGTH].as_slice());
        while let Some(frame) = body.frame().await {
            // It has stood still for too long, or the connection is lost and nobody will read this.
            let Ok(frame) = frame else {
                return Err(plain(StatusCode::REQUEST_TIMEOUT, "408 the body is cut short\n"));
            };
            let Some(data) = frame.data_ref() else { continue };
            if unit.len() - LENGTH + data.len() > max {
                return Err(too_long());
            }
            unit.extend_from_slice(data);
        }
        let length = u32::try_from(unit.len() - LENGTH).unwrap_or_default();
        if let Some(front) = unit.first_chunk_mut::<LENGTH>() {
            *front = length.to_be_bytes();
        }
        Ok(unit.freeze())
    }

    async fn exchange(&self, unit: Bytes) -> Reply {
        self.phase.answer();
        let unavailable = || plain(StatusCode::SERVICE_UNAVAILABLE, "503 unavailable\n");
        let (exchange, answering) = Exchange::new(unit, self.remote.clone());
        if !self.host.exchange(exchange) {
            return unavailable();
        }
        match answering.await {
            Answer::Message(message) => with_type(StatusCode::OK, "application/json", message),
            Answer::Nothing => {
                let mut reply = Response::new(Full::default());
                *reply.status_mut() = StatusCode::NO_CONTENT;
                reply
            }
            Answer::Dropped => unavailable(),
        }
    }
}

/// Is a body of these headers JSON, as far as they say?
///
/// A browser sends other sites' pages' requests without a type, but none of these types, unless the server consents: so what says
/// that it comes from a page has to name its type.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(name) = headers.get(CONTENT_TYPE) else { return !headers.contains_key(ORIGIN) };
    let name = name.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let known = ["application/json", "application/json-rpc", "application/jsonrequest"];
    known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

fn plain(status: StatusCode, text: &'static str) -> Reply {
    with_type(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn with_type(status: StatusCode, name: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(name));
    reply
}

/// WebSocket's handshake (RFC 6455 section 4.2)
#[cfg(feature = "ws")]
mod upgrade {
    use http_body_util::Full;
    use hyper::header::{
        CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT,
        SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
    };
    use hyper::http::request::Parts;
    use hyper::{Method, Response, StatusCode};

    use super::{Reply, plain};
    use crate::Origins;

    /// The answer to a request that wants WebSocket, `None` to any other
    pub(super) fn reply(head: &Parts, origins: &Origins) -> Option<Reply> {
        let headers = &head.headers;
        let wanted = head.method == Method::GET && names(headers, &UPGRADE, "websocket");
        if !wanted {
            return None;
        }
        let header = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        if !origins.allow(header(ORIGIN), header(HOST)) {
            return Some(plain(StatusCode::FORBIDDEN, "403 not for pages of that origin\n"));
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            let mut reply = plain(StatusCode::UPGRADE_REQUIRED, "426 must be version 13\n");
            reply.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            return Some(reply);
        }
        let accepted = headers
            .get(SEC_WEBSOCKET_KEY)
            .filter(|_| names(headers, &CONNECTION, "upgrade"))
            .and_then(|key| HeaderValue::from_str(&crate::ws::accept_key(key.to_str().ok()?)).ok());
        let Some(accepted) = accepted else {
            return Some(plain(StatusCode::BAD_REQUEST, "400 a WebSocket without a key\n"));
        };
        let mut reply = Response::new(Full::default());
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = reply.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
        Some(reply)
    }

    /// Does one of these headers list this word?
    fn names(headers: &HeaderMap, header: &HeaderName, word: &str) -> bool {
        let lists = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
        lists.flat_map(|list| list.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(word))
    }
}
