//! The client: its checks, in their order

use core::fmt::Debug;
use core::time::Duration;
use std::process::ExitCode;

use futures_util::future::join_all;
use jsonrpsee::core::client::{BatchResponse, ClientT, Error, IdKind, Subscription, SubscriptionClientT};
use jsonrpsee::core::params::{ArrayParams, BatchRequestBuilder, ObjectParams};
use jsonrpsee::http_client::{HttpClient, HttpClientBuilder};
use jsonrpsee::rpc_params;
use jsonrpsee::ws_client::{WsClient, WsClientBuilder};
use serde_json::{Value, json};

use crate::{DIVIDE_BY_ZERO, Failure, OWN_ERROR};

const CHECK_TIME: Duration = Duration::from_secs(20);
/// Calls under way at once
const CONCURRENT: u32 = 200;

const INVALID_PARAMS: i32 = -32602;
const METHOD_NOT_FOUND: i32 = -32601;
const SERVICE_NOT_FOUND: i32 = -32002;

type Checked = Result<(), Failure>;

pub(crate) async fn over_websocket(url: &str) -> Result<ExitCode, Failure> {
    let connect = |ids| WsClientBuilder::default().id_format(ids).request_timeout(CHECK_TIME).build(url);
    let mut report = Report::default();
    let client = connect(IdKind::Number).await?;
    requests(&client, &mut report).await;
    report.check("subscription", subscription(&client)).await;
    report.check("two-subscriptions", two_subscriptions(&client)).await;
    report.check("ping", survives_pings(url)).await;
    let strings = connect(IdKind::String).await?;
    report.check("string-ids", concurrent(&strings)).await;
    Ok(report.done())
}

pub(crate) async fn over_http(url: &str) -> Result<ExitCode, Failure> {
    let connect = |ids| HttpClientBuilder::default().id_format(ids).request_timeout(CHECK_TIME).build(url);
    let mut report = Report::default();
    let client: HttpClient = connect(IdKind::Number)?;
    requests(&client, &mut report).await;
    let strings: HttpClient = connect(IdKind::String)?;
    report.check("string-ids", concurrent(&strings)).await;
    Ok(report.done())
}

/// What both transports can do
async fn requests<C: ClientT + Sync>(client: &C, report: &mut Report) {
    report.check("echo-positional", echo_positional(client)).await;
    report.check("echo-named", echo_named(client)).await;
    report.check("upper", upper(client)).await;
    report.check("arith", arith(client)).await;
    let by_zero = call(client, "Arith.Divide", json!([{ "A": 1, "B": 0 }]));
    report
        .check("divide-by-zero", async { fails(by_zero.await, DIVIDE_BY_ZERO.0, Some(DIVIDE_BY_ZERO.1)) })
        .await;
    let own = call(client, "fail", json!(["9 of 8"]));
    report.check("own-error", async { fails(own.await, OWN_ERROR.0, Some(OWN_ERROR.1)) }).await;
    let nowhere = call(client, "nowhere", json!([]));
    report.check("method-not-found", async { fails(nowhere.await, METHOD_NOT_FOUND, None) }).await;
    let nobody = call(client, "Nobody.Home", json!([]));
    report.check("service-not-found", async { fails(nobody.await, SERVICE_NOT_FOUND, None) }).await;
    let number = call(client, "upper", json!([5]));
    report.check("invalid-params", async { fails(number.await, INVALID_PARAMS, None) }).await;
    report.check("notifications", notifications(client)).await;
    report.check("concurrent", concurrent(client)).await;
    report.check("big", big(client)).await;
    report.check("batch", batch(client)).await;
}

async fn echo_positional<C: ClientT + Sync>(client: &C) -> Checked {
    let params = json!(["a", 1, null, [true]]);
    same(&call(client, "echo", params.clone()).await?, &params)
}

async fn echo_named<C: ClientT + Sync>(client: &C) -> Checked {
    let mut params = ObjectParams::new();
    params.insert("text", "ä\u{2028}\"\\")?;
    params.insert("deep", json!({ "a": [] }))?;
    let got: Value = client.request("echo", params).await?;
    same(&got, &json!({ "text": "ä\u{2028}\"\\", "deep": { "a": [] } }))
}

async fn upper<C: ClientT + Sync>(client: &C) -> Checked {
    let got: String = client.request("upper", rpc_params!["dämmerung"]).await?;
    same(&got, &"DÄMMERUNG".to_owned())
}

async fn arith<C: ClientT + Sync>(client: &C) -> Checked {
    let mut named = ObjectParams::new();
    named.insert("A", 7)?;
    named.insert("B", -8)?;
    let product: i64 = client.request("Arith.Multiply", named).await?;
    same(&product, &-56)?;
    let divided = call(client, "Arith.Divide", json!([{ "A": 17, "B": 5 }])).await?;
    same(&divided, &json!({ "Quo": 3, "Rem": 2 }))
}

async fn notifications<C: ClientT + Sync>(client: &C) -> Checked {
    let before = count(client).await?;
    for _ in 0..10 {
        client.notification("note", rpc_params!["dusk"]).await?;
    }
    becomes(client, before + 10).await
}

async fn count<C: ClientT + Sync>(client: &C) -> Result<u64, Failure> {
    Ok(client.request("count", rpc_params![]).await?)
}

/// Nobody answers a notification, so its effect may come later
async fn becomes<C: ClientT + Sync>(client: &C, wanted: u64) -> Checked {
    for _ in 0..100 {
        if count(client).await? == wanted {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    same(&count(client).await?, &wanted)
}

async fn concurrent<C: ClientT + Sync>(client: &C) -> Checked {
    let answers = join_all((0..CONCURRENT).map(|number| call(client, "echo", json!([number])))).await;
    for (number, answer) in answers.into_iter().enumerate() {
        same(&answer?, &json!([number]))?;
    }
    Ok(())
}

async fn big<C: ClientT + Sync>(client: &C) -> Checked {
    let length = 1 << 20;
    let got: String = client.request("big", rpc_params![length]).await?;
    same(&got.len(), &length)
}

async fn batch<C: ClientT + Sync>(client: &C) -> Checked {
    let mut batch = BatchRequestBuilder::new();
    batch.insert("echo", rpc_params![1])?;
    batch.insert("nowhere", rpc_params![])?;
    batch.insert("upper", rpc_params!["x"])?;
    let answers: BatchResponse<'_, Value> = client.batch_request(batch).await?;
    let found: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().map_err(|error| error.code()).cloned()).collect();
    same(&found, &vec![Ok(json!([1])), Err(METHOD_NOT_FOUND), Ok(json!("X"))])
}

async fn subscription(client: &WsClient) -> Checked {
    let mut ticks = subscribe(client).await?;
    let first = next(&mut ticks).await?;
    for following in 1..5 {
        same(&next(&mut ticks).await?, &(first + following))?;
    }
    ticks.unsubscribe().await?;
    // The connection goes on.
    upper(client).await
}

async fn two_subscriptions(client: &WsClient) -> Checked {
    let mut one = subscribe(client).await?;
    let mut other = subscribe(client).await?;
    let names = [&one, &other].map(|ticks| format!("{:?}", ticks.kind()));
    if names[0] == names[1] {
        return Err(format!("both are {}", names[0]).into());
    }
    let (first, second) = (next(&mut one).await?, next(&mut other).await?);
    one.unsubscribe().await?;
    same(&first, &second)?;
    same(&next(&mut other).await?, &(second + 1))?;
    other.unsubscribe().await?;
    Ok(())
}

async fn subscribe(client: &WsClient) -> Result<Subscription<u64>, Error> {
    client.subscribe("subscribe_ticks", rpc_params![], "unsubscribe_ticks").await
}

async fn next(ticks: &mut Subscription<u64>) -> Result<u64, Failure> {
    Ok(ticks.next().await.ok_or("the subscription has ended")??)
}

/// The client closes a connection on which its WebSocket pings stay unanswered
async fn survives_pings(url: &str) -> Checked {
    let pings = jsonrpsee::core::client::async_client::PingConfig::new()
        .ping_interval(Duration::from_millis(50))
        .inactive_limit(Duration::from_millis(250))
        .max_failures(1);
    let client = WsClientBuilder::default().enable_ws_ping(pings).build(url).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    upper(&client).await
}

/// A call with these params, an array's elements by position
async fn call<C: ClientT + Sync>(client: &C, method: &str, params: Value) -> Result<Value, Error> {
    let mut positional = ArrayParams::new();
    for element in params.as_array().into_iter().flatten() {
        positional.insert(element).map_err(Error::ParseError)?;
    }
    client.request(method, positional).await
}

fn same<T: PartialEq + Debug>(got: &T, wanted: &T) -> Checked {
    if got == wanted { Ok(()) } else { Err(format!("{got:?} instead of {wanted:?}").into()) }
}

fn fails(got: Result<Value, Error>, code: i32, message: Option<&str>) -> Checked {
    match got {
        Err(Error::Call(error)) => {
            same(&error.code(), &code)?;
            message.map_or(Ok(()), |wanted| same(&error.message(), &wanted))
        }
        other => Err(format!("{other:?} instead of an error").into()),
    }
}

#[derive(Default)]
struct Report {
    ok: usize,
    failed: usize,
}

impl Report {
    async fn check(&mut self, name: &str, check: impl Future<Output = Checked>) {
        let result = tokio::time::timeout(CHECK_TIME, check).await;
        match result.unwrap_or_else(|_| Err("not done in time".into())) {
            Ok(()) => {
                self.ok += 1;
                println!("ok {name}");
            }
            Err(why) => {
                self.failed += 1;
                println!("FAIL {name}: {why}");
            }
        }
    }

    fn done(&self) -> ExitCode {
        println!("done {} ok {} failed", self.ok, self.failed);
        ExitCode::from(u8::from(self.failed > 0))
    }
}
