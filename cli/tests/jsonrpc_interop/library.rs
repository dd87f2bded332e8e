//! What the command does not do, with the library it is made of: subscriptions, batches, cancelling, typed clients

use core::time::Duration;
use std::sync::mpsc::channel;

use flyrpc_tokio::{Client, Error, Framing, Json, JsonRpc, Peer, RemoteError, service};
use serde::{Deserialize, Serialize};

use crate::peers::{Program, with};
use crate::process::CHILD_TIME;

type Failure = Box<dyn core::error::Error>;

fn run(test: impl Future<Output = Result<(), Failure>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done =
        runtime.expect("a runtime").block_on(async { tokio::time::timeout(3 * CHILD_TIME, test).await });
    done.expect("done in time").expect("no call fails");
}

#[test]
fn the_library_subscribes_at_jsonrpsee() {
    with(Program::Jsonrpsee, |peer| {
        let (_server, port) = peer.serve(&[]);
        run(async {
            let client = Client::new().connect(format!("jsonrpc+ws://127.0.0.1:{port}/")).await?;
            let mut one = client.subscribe::<u64>("subscribe_ticks", (), "unsubscribe_ticks").await?;
            let mut other = client.subscribe::<u64>("subscribe_ticks", (), "unsubscribe_ticks").await?;
            for tick in 0..5 {
                assert_eq!(one.next().await, Some(Ok(tick)));
            }
            assert_ne!(one.id(), other.id());
            drop(one);
            for tick in 0..5 {
                assert_eq!(other.next().await, Some(Ok(tick)));
            }
            drop(other);
            assert_eq!(client.call("upper", r#"["lamp"]"#).await?, r#""LAMP""#);
            Ok(())
        });
    });
}

#[test]
fn the_library_sends_batches_to_jsonrpsee() {
    with(Program::Jsonrpsee, |peer| {
        let (_server, port) = peer.serve(&[]);
        run(async {
            for carrier in ["ws", "http"] {
                let address = format!("jsonrpc+{carrier}://127.0.0.1:{port}/");
                let client = Client::new().connect(address).await?;
                batch(&client).await?;
            }
            Ok(())
        });
    });
}

#[test]
fn the_library_sends_batches_to_json_rpc_2_0() {
    with(Program::JsonRpc2, |peer| {
        for (kind, scheme) in [("tcp", "tcp"), ("http", "http")] {
            let (_server, port) = peer.serve(&[kind]);
            run(async {
                let client = Client::new().connect(format!("jsonrpc+{scheme}://127.0.0.1:{port}")).await?;
                batch(&client).await?;
                assert_eq!(client.call("count", "[]").await?, "1");
                Ok(())
            });
        }
    });
}

async fn batch(client: &Peer) -> Result<(), Error> {
    let batch = client.batch().call("echo", "[1]").send("note", r#"["dusk"]"#).call("nowhere", "[]");
    let calls = batch.call("upper", r#"["x"]"#).start()?;
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await);
    }
    let [Ok(echoed), Err(Error::Remote(nowhere)), Ok(upper)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((&echoed[..], nowhere.number, &upper[..]), (&b"[1]"[..], Some(-32601), &b"\"X\""[..]));
    Ok(())
}

#[test]
fn the_library_takes_back_what_vscode_jsonrpc_works_on() {
    with(Program::Vscode, |peer| {
        let (_server, port) = peer.serve(&["tcp"]);
        run(async {
            let settings =
                JsonRpc::new().framing(Framing::ContentLength).cancel_method(Some("$/cancelRequest"));
            let (told, greeted) = channel();
            let client = Client::new()
                .json_rpc(settings)
                .handle("name", || Json("the library"))
                .handle("greeted", move |Json(name): Json<String>| drop(told.send(name)))
                .connect(format!("tcp://127.0.0.1:{port}"))
                .await?;
            let greeting = client.call_as::<Json<String>>("greet", ()).await?;
            assert_eq!(greeting, Json("hello, the library".to_owned()));
            assert_eq!(greeted.recv_timeout(CHILD_TIME)?, "the library");

            let sleep = client.call("sleep", "[60000]").within(Duration::from_millis(100)).await;
            assert_eq!(sleep, Err(Error::TimedOut));
            // A call that is dropped is taken back as well.
            let dropped =
                tokio::time::timeout(Duration::from_millis(100), client.call("sleep", "[60000]")).await;
            assert!(dropped.is_err(), "{dropped:?}");
            let mut cancelled = client.call("cancelled", "[]").await?;
            for _ in 0..100 {
                if cancelled == "2" {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                cancelled = client.call("cancelled", "[]").await?;
            }
            assert_eq!(cancelled, "2");
            Ok(())
        });
    });
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Args {
    a: i64,
    b: i64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Quotient {
    quo: i64,
    rem: i64,
}

#[service(params = "single")]
trait Arith {
    fn multiply(&self, args: Args) -> Result<i64, RemoteError>;
    fn divide(&self, args: Args) -> Result<Quotient, RemoteError>;
}

#[test]
fn a_typed_client_calls_net_rpc() {
    with(Program::Go, |peer| {
        let (_server, port) = peer.serve(&["connect"]);
        run(async {
            let client = Client::new().dial_http(format!("127.0.0.1:{port}")).await?;
            let arith = ArithClient::new(client.peer());
            assert_eq!(arith.multiply(Args { a: 7, b: -8 }).await?, -56);
            assert_eq!(arith.divide(Args { a: 17, b: 5 }).await?, Quotient { quo: 3, rem: 2 });
            let by_zero = arith.divide(Args { a: 1, b: 0 }).await;
            let Err(Error::Remote(error)) = by_zero else { panic!("{by_zero:?}") };
            assert_eq!((error.number, error.code.as_str()), (Some(-32000), "divide by zero"));
            Ok(())
        });
    });
}
