//! Services over blocking sockets: the same traits, and clients whose methods give results at once

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use core::time::Duration;
use std::sync::mpsc;

use flyrpc_blocking::{Client, Context, Error, RemoteError, Router, Server, ServerHandle, codes, service};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Found {
    Word { at: u32 },
    Nothing,
}

#[service(params = "named")]
trait Text {
    async fn find(&self, text: &str, word: &str) -> Result<Found, RemoteError>;
    fn repeat(&self, text: String, times: Option<u32>) -> Result<String, TooLong>;
    #[rpc(notification)]
    fn note(&self, line: String);
    fn greet(&self, #[rpc(context)] context: Context) -> Result<String, Error>;
    async fn wait(&self);
}

/// An error of the application's own
struct TooLong;

impl From<TooLong> for RemoteError {
    fn from(TooLong: TooLong) -> Self {
        Self::new("TOO_LONG")
    }
}

struct Plain(mpsc::Sender<String>);

impl Text for Plain {
    async fn find(&self, text: &str, word: &str) -> Result<Found, RemoteError> {
        if word.is_empty() {
            return Err("NO_WORD".into());
        }
        let at = text.find(word).and_then(|at| at.try_into().ok());
        Ok(at.map_or(Found::Nothing, |at| Found::Word { at }))
    }

    fn repeat(&self, text: String, times: Option<u32>) -> Result<String, TooLong> {
        let times = times.unwrap_or(2);
        if times > 10 { Err(TooLong) } else { Ok(text.repeat(times as usize)) }
    }

    fn note(&self, line: String) {
        let _ = self.0.send(line);
    }

    fn greet(&self, context: Context) -> Result<String, Error> {
        let name = NamesClient::new(context.peer().clone()).name()?;
        Ok(format!("hello, {name}"))
    }

    async fn wait(&self) {
        core::future::pending::<()>().await;
    }
}

#[service]
trait Names {
    fn name(&self) -> String;
}

struct Ada;

impl Names for Ada {
    fn name(&self) -> String {
        "Ada".to_owned()
    }
}

fn serve() -> (ServerHandle, mpsc::Receiver<String>) {
    serve_at("127.0.0.1:0")
}

fn serve_at(address: &str) -> (ServerHandle, mpsc::Receiver<String>) {
    let (notes, heard) = mpsc::channel();
    let router = Router::new().register(TextServer::new(Plain(notes))).unwrap();
    (Server::new().router(router).listen(address).unwrap(), heard)
}

#[test]
fn a_typed_client_blocks_until_it_has_the_result() {
    let (server, heard) = serve();
    let client = Client::new().connect(server.address()).unwrap();
    let text = TextClient::new(client.peer());
    assert_eq!(text.find("a b c", "c"), Ok(Found::Word { at: 4 }));
    assert_eq!(text.find("a b c", "d"), Ok(Found::Nothing));
    assert_eq!(text.find("a", ""), Err(Error::Remote(RemoteError::new("NO_WORD"))));
    assert_eq!(text.repeat("ab".to_owned(), Some(3)), Ok("ababab".to_owned()));
    assert_eq!(text.repeat("ab".to_owned(), None), Ok("abab".to_owned()));
    assert_eq!(text.repeat("ab".to_owned(), Some(11)), Err(Error::Remote(RemoteError::new("TOO_LONG"))));
    text.note("heard".to_owned()).unwrap();
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)).as_deref(), Ok("heard"));
}

#[test]
fn the_same_client_speaks_json_rpc() {
    let (server, heard) = serve_at("jsonrpc+tcp://127.0.0.1:0");
    let client = Client::new().connect(server.address()).unwrap();
    let text = TextClient::new(client.peer());
    assert_eq!(text.find("a b c", "c"), Ok(Found::Word { at: 4 }));
    assert_eq!(text.repeat("ab".to_owned(), None), Ok("abab".to_owned()));
    let Err(Error::Remote(error)) = text.repeat("ab".to_owned(), Some(11)) else { panic!("too long") };
    assert_eq!((error.code.as_str(), error.number), ("TOO_LONG", Some(-32001)));
    text.note("heard".to_owned()).unwrap();
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)).as_deref(), Ok("heard"));
}

#[test]
fn a_server_calls_its_client_through_a_typed_client_of_its_own() {
    let (server, _heard) = serve();
    let router = Router::new().register(NamesServer::new(Ada)).unwrap();
    let client = Client::new().router(router).connect(server.address()).unwrap();
    assert_eq!(TextClient::new(client.peer()).greet(), Ok("hello, Ada".to_owned()));
    // A client without that service: the error is passed on, as from any handler.
    let client = Client::new().connect(server.address()).unwrap();
    assert_eq!(
        TextClient::new(client.peer()).greet(),
        Err(Error::Remote(RemoteError::new(codes::NOT_FOUND)))
    );
}

#[test]
fn a_typed_client_has_a_time_for_each_call() {
    let (server, _heard) = serve();
    let client = Client::new().connect(server.address()).unwrap();
    let text = TextClient::new(client.peer()).within(Duration::from_millis(5));
    assert_eq!(text.wait(), Err(Error::TimedOut));
}
