//! Calls and messages, both ways

use core::time::Duration;

use flyrpc_tokio::{Error, RemoteError, codes};
use tokio::time::{Instant, timeout};

use crate::rig::{Host, PATIENCE, Rig};

async fn says(host: &Host, code: &str, payload: &str) -> String {
    let answer = host.call(code, payload).within(PATIENCE).await;
    let answer = answer.unwrap_or_else(|error| panic!("{code} {payload:?}: {error:?}"));
    String::from_utf8(answer.to_vec()).unwrap()
}

async fn refuses(host: &Host, code: &str, payload: &str) -> String {
    match host.call(code, payload).within(PATIENCE).await {
        Err(Error::Remote(error)) => error.code.clone(),
        other => panic!("{code} {payload:?}: {other:?}"),
    }
}

pub(crate) async fn every_request_of_the_board(rig: &mut Rig) {
    let host = rig.host().await;
    for (payload, state) in [("", "0"), ("1", "1"), ("", "1"), ("off", "0"), ("on", "1"), ("0", "0")] {
        assert_eq!(says(&host, "led", payload).await, state);
    }
    assert_eq!(says(&host, "adc", "0").await, "100");
    assert_eq!(says(&host, "adc", "3").await, "800");
    assert_eq!(says(&host, "echo", "").await, "");
    assert_eq!(says(&host, "echo", "over the wire").await, "over the wire");
    for (code, payload) in [("led", "green"), ("adc", "4"), ("adc", ""), ("slow", "soon"), ("burst", "5")] {
        assert_eq!(refuses(&host, code, payload).await, codes::BAD_PAYLOAD);
    }
    assert_eq!(refuses(&host, "no-such-code", "x").await, codes::NOT_FOUND);
    assert_eq!(refuses(&host, "", "").await, codes::NOT_FOUND);
    assert_eq!(says(&host, "echo", "and on").await, "and on");
}

pub(crate) async fn the_board_calls_the_host(rig: &mut Rig) {
    let host = rig.host().await;
    assert_eq!(says(&host, "time", "").await, "12:34:56");
    assert_eq!(says(&host, "ask", "5000 echo there and back").await, "there and back");
    let failed = host.call("ask", "5000 fail").within(PATIENCE).await;
    assert_eq!(failed, Err(Error::Remote(RemoteError::new("NO_LUCK").details("today"))));
    assert_eq!(refuses(&host, "ask", "5000 no-such-code").await, codes::NOT_FOUND);
    for calls in 1..=4 {
        assert_eq!(says(&host, "burst", &calls.to_string()).await, "1".repeat(calls));
    }
    // Each of these is a call within a call.
    let times: Vec<_> = (0..3).map(|_| host.call("time", "").within(PATIENCE)).collect();
    for time in times {
        assert_eq!(time.await.unwrap(), "12:34:56");
    }
}

pub(crate) async fn messages_go_both_ways(rig: &mut Rig) {
    let mut host = rig.host().await;
    assert_eq!(says(&host, "heard", "").await, "0 ");
    for note in ["first", "second"] {
        host.send("note", note).await.unwrap();
    }
    host.send("unknown", "counted").await.unwrap();
    assert_eq!(says(&host, "heard", "").await, "3 second");
    for press in ["1", "2"] {
        assert_eq!(says(&host, "press", "").await, press);
        assert_eq!(timeout(PATIENCE, host.pressed.recv()).await.unwrap().unwrap(), press);
    }
    // By itself, by the board's clock
    assert_eq!(says(&host, "button", "on").await, "on");
    assert_eq!(timeout(PATIENCE, host.pressed.recv()).await.unwrap().unwrap(), "3");
    assert_eq!(says(&host, "button", "off").await, "off");
}

pub(crate) async fn pings_go_both_ways(rig: &mut Rig) {
    let host = rig.host().await;
    // Up to 8 bytes the connection answers by itself, longer ones the application.
    for len in [0, 1, 8, 9, 56] {
        assert_eq!(host.ping(len, PATIENCE).await.unwrap().len, len as u64);
    }
    assert_eq!(says(&host, "pulse", "").await, "alive");
    let hello = host.hello().await.unwrap();
    assert!(hello.version == 1 && hello.cancel && !hello.zip, "{hello:?}");
}

pub(crate) async fn slow_answers_come_in_their_own_time(rig: &mut Rig) {
    let host = rig.host().await;
    let (late, soon, now) = (
        host.call("slow", "600").within(PATIENCE),
        host.call("slow", "200").within(PATIENCE),
        host.call("echo", "now"),
    );
    let order = tokio::sync::Mutex::new(Vec::new());
    let note = async |call: flyrpc_tokio::Call<'_>| {
        let answer = call.await.unwrap();
        order.lock().await.push(answer);
    };
    tokio::join!(note(late), note(soon), note(now));
    assert_eq!(order.into_inner(), ["now", "200", "600"]);
}

pub(crate) async fn many_calls_at_once(rig: &mut Rig) {
    let host = rig.host().await;
    // The board holds eight answers back at the most; it says so to the others.
    let calls: Vec<_> = (0..20)
        .map(|_| host.peer())
        .map(|peer| tokio::spawn(async move { peer.call("slow", "500").within(PATIENCE).await }))
        .collect();
    let (mut answered, mut busy) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(answer) if answer == "500" => answered += 1,
            Err(Error::Remote(error)) if error.is(codes::BUSY) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(answered >= 8 && answered + busy == 20, "{answered} answered, {busy} refused");
    // What is answered at once is no trouble, however much is asked.
    let calls: Vec<_> = (0..100_u32)
        .map(|n| (n, host.peer()))
        .map(|(n, peer)| {
            tokio::spawn(async move { (n, peer.call("echo", &n.to_string()[..]).within(PATIENCE).await) })
        })
        .collect();
    for call in calls {
        let (n, answer) = call.await.unwrap();
        assert_eq!(answer.unwrap(), n.to_string());
    }
}

pub(crate) async fn deadlines_of_both_ends(rig: &mut Rig) {
    let host = rig.host().await;
    // The board's own deadline, by its clock
    let start = Instant::now();
    assert_eq!(refuses(&host, "ask", "300 stuck").await, codes::TIMEOUT);
    assert!(start.elapsed() >= Duration::from_millis(290), "after {:?}", start.elapsed());
    // The host's; the late answer is taken for no other.
    let late = host.call("slow", "400").within(Duration::from_millis(100)).await;
    assert_eq!(late, Err(Error::TimedOut));
    assert_eq!(says(&host, "slow", "700").await, "700");
    assert_eq!(host.stats().late_replies, 1, "{:?}", host.stats());
    assert_eq!(says(&host, "echo", "and on").await, "and on");
}

pub(crate) async fn a_cancelled_call_is_given_up(rig: &mut Rig) {
    let host = rig.host().await;
    // So that each knows that the other understands it
    host.hello().await.unwrap();
    {
        let mut call = core::pin::pin!(host.call("slow", "100000"));
        let sent = timeout(Duration::ZERO, &mut call).await;
        assert!(sent.is_err(), "the call has been sent and is not answered");
        assert_eq!(says(&host, "cancelled", "").await, "0");
    }
    assert_eq!(says(&host, "cancelled", "").await, "1");
    // Its place is free again: eight fit.
    let calls: Vec<_> = (0..8)
        .map(|_| host.peer())
        .map(|peer| tokio::spawn(async move { peer.call("slow", "300").within(PATIENCE).await }))
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "300");
    }
}
