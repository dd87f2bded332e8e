//! JSON-RPC on the same server, client and router

use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};

use flyrpc_blocking::{
    Bytes, Client, CloseReason, Connected, Context, Error, Framing, JsonRpc, Limits, Overload, Peer,
    PendingCall, Protocol, Refusal, RemoteError, Server, ServerHandle, codes,
};

use crate::common::{Gate, SOON, bounded, connect, until};

/// Where servers of these tests listen
const TCP: &str = "jsonrpc+tcp://127.0.0.1:0";

pub(crate) fn server() -> Server {
    Server::new()
        .handle("echo", |params: Bytes| params)
        .handle("Arith.Zero", || "0")
        .handle("Arith.Divide", || -> Result<Bytes, RemoteError> { Err("divide by zero".into()) })
        .handle("own", || RemoteError::new("sorry").number(7).details(r#"{"x":1}"#))
        .handle("text", || "not JSON")
        .handle("greet", |context: Context| {
            assert_eq!(context.protocol(), Protocol::JsonRpc);
            context.peer().call("name", ())
        })
}

pub(crate) fn client() -> Client {
    Client::new().handle("name", || r#""Ada""#)
}

/// Calls with every kind of outcome
pub(crate) fn calls(client: &Peer) {
    assert_eq!(client.protocol(), Protocol::JsonRpc);
    assert_eq!(client.call("echo", r#"["hi"]"#).unwrap(), r#"["hi"]"#);
    assert_eq!(client.call("echo", ()).unwrap(), "null");
    assert_eq!(client.call("Arith.Zero", "[]").unwrap(), "0");
    let large = format!("[\"{}\"]", "x".repeat(1 << 20));
    assert!(client.call("echo", &*large).unwrap() == large.as_bytes());
    let refused = |code: &str| match client.call(code, ()) {
        Err(Error::Remote(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused("own"), RemoteError::new("sorry").number(7).details(r#"{"x":1}"#));
    assert_eq!(refused("Arith.Divide"), RemoteError::new("divide by zero").number(-32001));
    assert_eq!(refused("Nobody.Home"), RemoteError::new("Service not found").number(-32002));
    assert!(refused("Nobody.Home").is(codes::NOT_FOUND));
    assert_eq!(refused("Arith.Add"), RemoteError::new("Method not found").number(-32601));
    assert_eq!(refused("text").number, Some(-32603));
    assert_eq!(client.call("echo", "hi"), Err(Error::Refused(Refusal::BadPayload)));
    client.ping(0, SOON).unwrap();
    assert_eq!(client.hello(), Ok(Default::default()), "which is FlyRPC's alone");
}

pub(crate) fn calls_both_ways(address: &str) {
    let server = server().listen(address).unwrap();
    let client = connect(client(), &server);
    assert_eq!(client.call("greet", ()).unwrap(), r#""Ada""#);
    calls(&client);
    assert_eq!(server.peers()[0].call("name", ()).unwrap(), r#""Ada""#);
    assert_eq!(client.drain(SOON), CloseReason::Drained);
    server.shutdown(SOON);
}

/// A peer that is nothing but a socket
struct Raw {
    reader: BufReader<TcpStream>,
}

impl Raw {
    fn connect(server: &ServerHandle) -> Self {
        let address = server.local_address().unwrap().to_string();
        Self::over(TcpStream::connect(address).unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    /// A raw server and a client that is connected to it
    fn with(client: Client) -> (Self, Connected) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = client.connect(format!("jsonrpc+tcp://{address}")).unwrap();
        (Self::over(listener.accept().unwrap().0), client)
    }

    fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        assert_eq!(line.pop(), Some('\n'), "the stream has ended");
        line
    }

    #[track_caller]
    fn expect(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    fn finish_writing(&self) {
        self.reader.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    #[track_caller]
    fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "{} more bytes came", rest.len());
    }
}

#[test]
fn calls_go_both_ways_over_tcp() {
    bounded(|| calls_both_ways(TCP));
}

#[test]
fn calls_go_both_ways_over_http_connect() {
    bounded(|| calls_both_ways("jsonrpc+connect://127.0.0.1:0"));
    bounded(|| calls_both_ways("jsonrpc+connect://127.0.0.1:0/any?path"));
}

#[test]
#[cfg(feature = "ws")]
fn calls_go_both_ways_over_websocket() {
    bounded(|| calls_both_ways("jsonrpc+ws://127.0.0.1:0/rpc"));
}

#[test]
#[cfg(not(feature = "ws"))]
fn websocket_says_which_feature_it_needs() {
    let error = client().connect("jsonrpc+ws://127.0.0.1:1/").unwrap_err();
    assert!(error.to_string().contains("feature 'ws'"), "{error}");
}

#[test]
fn the_handshake_of_net_rpc_is_read_in_pieces_and_leaves_what_comes_behind_it() {
    bounded(|| {
        let server = server().listen("jsonrpc+connect://127.0.0.1:0").unwrap();
        let mut raw = Raw::connect(&server);
        for piece in ["CONN", "ECT /_goRPC_ HTTP/1.0\r", "\n\r", "\n{\"jsonrpc\":\"2.0\",\"meth"] {
            raw.send(piece);
            std::thread::sleep(Duration::from_millis(2));
        }
        raw.send(r#"od":"echo","params":[1],"id":1}"#);
        raw.expect("HTTP/1.0 200 Connected to Go RPC");
        raw.expect("");
        raw.expect(r#"{"jsonrpc":"2.0","id":1,"result":[1]}"#);
        // Go's own client reads its head by the line, and sends what follows at once.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connecting = std::thread::spawn(move || client().connect(format!("jsonrpc+connect://{address}")));
        let mut raw = Raw::over(listener.accept().unwrap().0);
        raw.expect("CONNECT /_goRPC_ HTTP/1.0");
        raw.expect("");
        raw.send("HTTP/1.0 200 Connected to Go RPC\n\n{\"jsonrpc\":\"2.0\",\"method\":\"name\",\"id\":0}");
        raw.expect(r#"{"jsonrpc":"2.0","id":0,"result":"Ada"}"#);
        drop(connecting.join().unwrap().unwrap());
    });
}

#[test]
fn what_is_no_connect_is_refused() {
    bounded(|| {
        let server = server().listen("jsonrpc+connect://127.0.0.1:0").unwrap();
        let mut raw = Raw::connect(&server);
        raw.send("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n");
        raw.expect("HTTP/1.0 405 Method Not Allowed\r");
        for bytes in ["nonsense\n\n", "CONNECT /\n\n", "CONNECT / SMTP/1.0\n\n"] {
            let mut raw = Raw::connect(&server);
            raw.send(bytes);
            raw.expect_end();
        }
        let mut raw = Raw::connect(&server);
        raw.finish_writing();
        raw.expect_end();
        // A head that never ends is not read for ever (P17); what comes on top may reset the connection.
        let mut raw = Raw::connect(&server);
        let _ = raw.reader.get_mut().write_all(&[b'x'; 17 << 10]);
        assert!(!matches!(raw.reader.read(&mut [0]), Ok(1..)));
        until("none is left", || server.connections() == 0);

        for (answer, why) in
            [("HTTP/1.0 404 Not Found\r\n\r\n", "HTTP status 404"), ("hello\n\n", "is no HTTP"), ("", "")]
        {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let connecting =
                std::thread::spawn(move || client().connect(format!("jsonrpc+connect://{address}")));
            let mut raw = Raw::over(listener.accept().unwrap().0);
            raw.expect("CONNECT /_goRPC_ HTTP/1.0");
            raw.expect("");
            raw.send(answer);
            drop(raw);
            let error = connecting.join().unwrap().unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    });
}

#[test]
fn clients_that_do_not_finish_their_handshake_hold_nobody_up_but_count() {
    bounded(|| {
        let server =
            server().max_connections(2, Overload::Refuse).listen("jsonrpc+connect://127.0.0.1:0").unwrap();
        let mut slow = Raw::connect(&server);
        slow.send("CONNECT ");
        let client = connect(client(), &server);
        assert_eq!(client.call("echo", "[1]"), Ok("[1]".into()));
        let mut third = Raw::connect(&server);
        third.expect_end();
        drop(slow);
        until("its place is free", || Client::new().connect(server.address()).is_ok());
    });
}

#[test]
fn one_server_speaks_both_protocols() {
    bounded(|| {
        let mut server = server().listen("127.0.0.1:0").unwrap();
        let json = server.also_listen(TCP).unwrap();
        assert!(json.starts_with("jsonrpc+tcp://127.0.0.1:") && !json.ends_with(":0"), "{json}");
        let old = connect(Client::new(), &server);
        let new = client().connect(&json).unwrap();
        assert_eq!((old.protocol(), new.protocol()), (Protocol::FlyRpc, Protocol::JsonRpc));
        assert_eq!(old.call("text", ()), Ok("not JSON".into()));
        assert_eq!(new.call("echo", "[1]"), Ok("[1]".into()));
        let mut spoken: Vec<_> = server.peers().iter().map(Peer::protocol).collect();
        spoken.sort_by_key(|protocol| *protocol == Protocol::JsonRpc);
        assert_eq!(spoken, [Protocol::FlyRpc, Protocol::JsonRpc]);
        server.shutdown(SOON);
        assert_eq!((old.closed(), new.closed()), (CloseReason::PeerClosed, CloseReason::PeerClosed));
        assert!(client().connect(&json).is_err(), "both sockets are closed");
    });
}

#[test]
fn the_option_makes_it_the_protocol_of_plain_addresses() {
    bounded(|| {
        let settings = || JsonRpc::new().framing(Framing::ContentLength);
        let server = server().json_rpc(settings()).listen("127.0.0.1:0").unwrap();
        let client = connect(client().json_rpc(settings()), &server);
        calls(&client);
        let socket = TcpStream::connect(server.address()).unwrap();
        let attached = Client::new().json_rpc(settings()).attach(socket).unwrap();
        calls(&attached);
    });
}

#[test]
fn the_wire_is_the_specifications() {
    bounded(|| {
        let server = server().listen(TCP).unwrap();
        let mut raw = Raw::connect(&server);
        raw.send(r#"{"jsonrpc":"2.0","method":"echo","params":[1],"id":"x"}"#);
        raw.expect(r#"{"jsonrpc":"2.0","id":"x","result":[1]}"#);
        raw.send(r#"{"jsonrpc":"2.0","method":"e\u0063ho","params":{"a":1.0},"id":null}"#);
        raw.expect(r#"{"jsonrpc":"2.0","id":null,"result":{"a":1.0}}"#);
        raw.send("nonsense\n");
        raw.expect(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#);
        raw.send(r#"{"jsonrpc":"2.0","method":"own","id":1.50}"#);
        raw.expect(r#"{"jsonrpc":"2.0","id":1.50,"error":{"code":7,"message":"sorry","data":{"x":1}}}"#);
        raw.finish_writing();
        raw.expect_end();
    });
}

#[test]
fn batches_are_answered_as_batches() {
    bounded(|| {
        let server = server().listen(TCP).unwrap();
        let mut raw = Raw::connect(&server);
        raw.send(
            r#"[{"jsonrpc":"2.0","method":"echo","params":[1],"id":1},{"jsonrpc":"2.0","method":"echo"},1]"#,
        );
        let invalid = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request"}}"#;
        let echoed = r#"{"jsonrpc":"2.0","id":1,"result":[1]}"#;
        // In the order of completion.
        let answer = raw.line();
        assert!(
            answer == format!("[{invalid},{echoed}]") || answer == format!("[{echoed},{invalid}]"),
            "{answer}"
        );
        raw.send("[]");
        raw.expect(invalid);
        raw.send(r#"[{"jsonrpc":"2.0","method":"echo"}]{"jsonrpc":"2.0","method":"echo","id":2}"#);
        raw.expect(r#"{"jsonrpc":"2.0","id":2,"result":null}"#);
    });
}

/// P16: what a batch's answers hold is bounded, and nobody waits for ever
#[test]
fn p16_a_batch_whose_answers_are_too_long_is_refused_from_there_on() {
    bounded(|| {
        let server = Server::new()
            .handle("much", || format!("\"{}\"", "x".repeat(1000)))
            .owed_buffer(2500, Overload::Wait)
            .limits(Limits::new().max_unanswered(1).overload(Overload::Wait))
            .listen(TCP)
            .unwrap();
        let mut raw = Raw::connect(&server);
        let request = |id: u32| format!(r#"{{"jsonrpc":"2.0","method":"much","id":{id}}}"#);
        let batch: Vec<String> = (0..6).map(request).collect();
        raw.send(&format!("[{}]", batch.join(",")));
        let answer = raw.line();
        assert_eq!((answer.matches("xxx\"").count(), answer.matches("\"error\"").count()), (3, 3));
        raw.send(&request(7));
        assert!(raw.line().len() > 1000, "it goes on");
    });
}

#[test]
fn messages_are_handled_in_order_and_not_answered() {
    bounded(|| {
        let (told, hear) = channel();
        let server =
            server().handle("tell", move |params: Bytes| told.send(params).unwrap()).listen(TCP).unwrap();
        let client = connect(client(), &server);
        for n in 0..500 {
            client.send("tell", format!("[{n}]")).unwrap();
        }
        for n in 0..500 {
            assert_eq!(hear.recv_timeout(SOON).unwrap(), format!("[{n}]"));
        }
        let mut raw = Raw::connect(&server);
        raw.send(r#"{"jsonrpc":"2.0","method":"tell","params":[0]}{"jsonrpc":"2.0","method":"nobody"}"#);
        raw.send(r#"{"jsonrpc":"2.0","method":"echo","id":0}"#);
        raw.expect(r#"{"jsonrpc":"2.0","id":0,"result":null}"#);
        assert_eq!(server.broadcast("name", ()).unwrap(), 2);
        raw.expect(r#"{"jsonrpc":"2.0","method":"name"}"#);
    });
}

/// Tells when it is dropped
struct Told(Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
    }
}

#[test]
fn cancels_travel_where_a_method_for_them_is_set() {
    bounded(|| {
        let settings = || JsonRpc::new().cancel_method(Some("$/cancelRequest"));
        let (dropped, hear) = channel();
        let (entered, gate) = channel();
        let server = server()
            .handle("wait", move || {
                let told = Told(dropped.clone());
                entered.send(()).unwrap();
                async move {
                    core::future::pending::<()>().await;
                    drop(told);
                }
            })
            .json_rpc(settings())
            .listen("127.0.0.1:0")
            .unwrap();
        let client = connect(client().json_rpc(settings()), &server);
        let call = client.start("wait", (), SOON).unwrap();
        gate.recv_timeout(SOON).unwrap();
        call.cancel();
        hear.recv_timeout(SOON).unwrap();

        let mut raw = Raw::connect(&server);
        raw.send(r#"{"jsonrpc":"2.0","method":"wait","id":"w"}"#);
        raw.send(r#"{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"w"}}"#);
        raw.expect(r#"{"jsonrpc":"2.0","id":"w","error":{"code":-32800,"message":"Request cancelled"}}"#);
    });
}

#[test]
fn a_call_that_times_out_tells_the_peer_where_a_method_for_that_is_set() {
    bounded(|| {
        let (mut raw, client) = Raw::with(client().json_rpc(JsonRpc::new().cancel_method(Some("stop"))));
        let timeout = Duration::from_millis(30);
        assert_eq!(client.call_within("slow", "[1]", timeout), Err(Error::TimedOut));
        raw.expect(r#"{"jsonrpc":"2.0","method":"slow","params":[1],"id":1}"#);
        raw.expect(r#"{"jsonrpc":"2.0","method":"stop","params":{"id":1}}"#);
        // A late answer harms nothing.
        raw.send(r#"{"jsonrpc":"2.0","id":1,"result":null}{"jsonrpc":"2.0","method":"name","id":5}"#);
        raw.expect(r#"{"jsonrpc":"2.0","id":5,"result":"Ada"}"#);
    });
}

#[test]
fn draining_answers_what_is_owed_first() {
    bounded(|| {
        let gate = Gate::default();
        let held = gate.clone();
        let server = server().handle("slow", move || held.pass()).listen(TCP).unwrap();
        let mut raw = Raw::connect(&server);
        raw.send(r#"{"jsonrpc":"2.0","method":"slow","id":1}"#);
        until("the request is there", || {
            server.peers().first().is_some_and(|peer| peer.stats() != Default::default())
        });
        let peer = server.peers().remove(0);
        let draining = std::thread::spawn(move || server.shutdown(SOON));
        until("it drains", || peer.state() != flyrpc_blocking::Stage::Open);
        raw.send(r#"{"jsonrpc":"2.0","method":"slow","id":2}"#);
        let refused = raw.line();
        assert!(refused.starts_with(r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32000"#), "{refused}");
        gate.open();
        raw.expect(r#"{"jsonrpc":"2.0","id":1,"result":null}"#);
        raw.expect_end();
        drop(raw);
        draining.join().unwrap();
    });
}

#[test]
fn a_peer_that_has_finished_writing_is_answered() {
    bounded(|| {
        let gate = Gate::default();
        let held = gate.clone();
        let server = server().handle("slow", move || held.pass()).listen(TCP).unwrap();
        let mut raw = Raw::connect(&server);
        raw.send(r#"{"jsonrpc":"2.0","method":"slow","id":1}"#);
        raw.send(r#"[{"jsonrpc":"2.0","method":"slow","id":2}]"#);
        raw.finish_writing();
        gate.open();
        let mut answers = [raw.line(), raw.line()];
        answers.sort();
        assert_eq!(answers[0], r#"[{"jsonrpc":"2.0","id":2,"result":null}]"#);
        assert_eq!(answers[1], r#"{"jsonrpc":"2.0","id":1,"result":null}"#);
        raw.expect_end();
    });
}

#[test]
fn answers_that_make_no_sense_end_only_their_calls() {
    bounded(|| {
        let (mut raw, client) = Raw::with(client());
        let first = client.start("a", (), SOON).unwrap();
        let second = client.start("b", (), SOON).unwrap();
        let third = client.start("c", (), SOON).unwrap();
        raw.line();
        raw.line();
        raw.line();
        raw.send(r#"{"jsonrpc":"2.0","id":1,"error":"no object"}"#);
        raw.send(r#"{"jsonrpc":"2.0","id":2,"error":{"code":-5,"message":"a\tb","data":[0]}}"#);
        raw.send(r#"{"id":3,"result":1}{"jsonrpc":"2.0","id":99,"result":1}"#);
        let error = |call: PendingCall| match call.wait() {
            Err(Error::Remote(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(error(first), RemoteError::new("no object"));
        assert_eq!(error(second), RemoteError::new("a\tb").number(-5).details("[0]"));
        assert_eq!(error(third), RemoteError::new("Invalid answer").number(-32600));
    });
}
