//! JSON-RPC: batches, and the cancellation of what is in them: P1, P3, P10, P12, P15, P16, P18

use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use flyrpc_driver::{CloseReason, Context, JsonRpc};

use crate::raw::Raw;
use crate::rig::{End, Gate, Rig, SOON, Setup, echo, plain, until};
use crate::texts::{Texts, failure};
use crate::wire::Wire;

/// A request of this method, with its number as parameter and id
fn request(method: &str, i: usize) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":[{i}],"id":{i}}}"#)
}

fn result(i: usize) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{i},"result":[{i}]}}"#)
}

fn batch(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}

/// Answers to `echo` at once, and to `gated` when the gate lets it; tells of what begins
fn gated<P: End>(gate: &Gate) -> (Setup<P>, Receiver<()>) {
    let (began, begins) = channel();
    let gate = gate.clone();
    let setup = echo().handle("gated", move |params: Bytes| {
        let (gate, began) = (gate.clone(), began.clone());
        async move {
            let _ = began.send(());
            gate.pass().await;
            params
        }
    });
    (setup, begins)
}

/// One array of answers for those who are owed one, nothing where nobody is, and errors for what is no request
pub(crate) async fn p12_a_batch_is_answered_by_a_batch<P: End>(rig: Rig<P>) {
    let server = rig.serve(echo()).await;
    let mut texts = Texts::connect(&rig, &server);
    let notification = r#"{"jsonrpc":"2.0","method":"echo","params":[0]}"#.to_owned();
    let invalid = failure("null", -32600, "Invalid Request");
    texts.send(&batch(&[request("echo", 1), notification.clone(), request("echo", 2), request("nobody", 3)]));
    texts.expect_batch(&[&result(1), &result(2), &failure("3", -32601, "Method not found")]);
    // One element makes a batch too.
    texts.send(&batch(&[request("echo", 1)]));
    texts.expect_batch(&[&result(1)]);
    texts.tells(&batch(&[notification.clone(), notification.clone()]));
    texts.asks("[]", &invalid);
    texts.send("[1,2,3]");
    texts.expect_batch(&[&invalid, &invalid, &invalid]);
    texts.send(&batch(&["7".to_owned(), request("echo", 1), "[]".to_owned(), notification]));
    texts.expect_batch(&[&invalid, &result(1), &invalid]);
    // Broken somewhere, it is no batch at all, and nothing of it is run.
    texts.fails("[{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":1},}]", "null", -32700, "Parse error");
    // As many as may be, and one more.
    let many: Vec<_> = (0..1_024).map(|i| request("rpc.ping", i)).collect();
    texts.send(&batch(&many));
    let answers: Vec<serde_json::Value> = serde_json::from_str(&texts.read()).expect("an array");
    assert_eq!(answers.len(), 1_024);
    let many: Vec<_> = (0..1_025).map(|i| request("rpc.ping", i)).collect();
    texts.asks(&batch(&many), &invalid);
    texts.expect_alive();
}

/// The elements of a batch run side by side; what comes behind the batch does not wait for it
pub(crate) async fn p10_the_elements_of_a_batch_run_side_by_side<P: End>(rig: Rig<P>) {
    let gate = Gate::shut();
    let (setup, begins) = gated(&gate);
    let server = rig.serve(setup).await;
    let mut texts = Texts::connect(&rig, &server);
    texts.send(&batch(&[request("gated", 1), request("echo", 2), request("gated", 3), request("gated", 4)]));
    for _ in 0..3 {
        begins.recv_timeout(SOON).expect("all run at the same time");
    }
    if rig.wire() == Wire::Post {
        // A second request would wait on this connection, as HTTP has it.
        Texts::connect(&rig, &server).asks(&request("echo", 5), &result(5));
    } else {
        texts.asks(&request("echo", 5), &result(5));
    }
    gate.open();
    texts.expect_batch(&[&result(1), &result(2), &result(3), &result(4)]);
    texts.expect_alive();
}

/// Two batches at once, with the same ids: each has its own answers
pub(crate) async fn p12_batches_with_the_same_ids_are_kept_apart<P: End>(rig: Rig<P>) {
    let gate = Gate::shut();
    let (setup, begins) = gated(&gate);
    let server = rig.serve(setup).await;
    let mut raw = Raw::connect(&rig, &server);
    raw.send_json(batch(&[request("gated", 1), request("gated", 1)]));
    for _ in 0..2 {
        begins.recv_timeout(SOON).expect("a handler runs");
    }
    raw.send_json(batch(&[request("echo", 1), request("nobody", 1)]));
    let second = raw.json();
    assert!(second.contains(&result(1)) && second.contains("-32601"), "{second}");
    gate.open();
    raw.expect_json(format!("[{},{}]", result(1), result(1)));
}

/// Messages keep their order, within a batch and outside
pub(crate) async fn p10_notifications_keep_their_order_in_and_out_of_batches<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let server = plain().handle("note", move |params: Bytes| {
        let told = told.clone();
        async move {
            let _ = told.send(params);
        }
    });
    let server = rig.serve(server).await;
    let mut raw = Raw::connect(&rig, &server);
    let note = |i: usize| format!(r#"{{"jsonrpc":"2.0","method":"note","params":[{i}]}}"#);
    for i in (0..120).step_by(4) {
        raw.send_json(note(i));
        raw.send_json(batch(&[note(i + 1), note(i + 2), note(i + 3)]));
    }
    for i in 0..120 {
        assert_eq!(tells.recv_timeout(SOON), Ok(Bytes::from(format!("[{i}]"))));
    }
}

/// A batch in two pieces, with the cut at each byte, is the same batch
pub(crate) async fn p18_a_batch_may_be_cut_anywhere<P: End>(rig: Rig<P>) {
    let server = rig.serve(echo()).await;
    let elements =
        [request("echo", 1), r#"{"jsonrpc":"2.0","method":"echo"}"#.to_owned(), request("echo", 2)];
    let bytes = rig.wire().frame(batch(&elements));
    let mut raw = Raw::connect(&rig, &server);
    for cut in 1..bytes.len() {
        raw.write(&bytes[..cut]);
        std::thread::yield_now();
        raw.write(&bytes[cut..]);
        // In whatever order threads have it.
        let answers = raw.json();
        let orders = [(1, 2), (2, 1)].map(|(a, b)| format!("[{},{}]", result(a), result(b)));
        assert!(orders.contains(&answers), "cut at {cut}: {answers}");
    }
}

/// A client that leaves while half of its batch is answered: handlers learn of it, and the others are served
pub(crate) async fn p01_a_client_may_leave_with_a_batch_half_answered<P: End>(rig: Rig<P>) {
    let (began, begins) = channel();
    let (told, tells) = channel();
    let setup = echo().handle("wait", move |context: Context<P>| {
        let (began, told) = (began.clone(), Dropped(told.clone()));
        async move {
            let _ = began.send(());
            context.cancelled().await;
            drop(told);
        }
    });
    let (server, other) = rig.pair(setup, plain()).await;
    for _ in 0..3 {
        let mut raw = Raw::connect(&rig, &server);
        raw.send_json(batch(&[request("wait", 1), request("echo", 2), request("wait", 3)]));
        for _ in 0..2 {
            begins.recv_timeout(SOON).expect("a handler runs");
        }
        raw.reset();
        for _ in 0..2 {
            assert_eq!(tells.recv_timeout(SOON), Ok(()));
        }
        until("it has left the list", || server.connections() == 1);
        assert_eq!(other.call("echo", "hi").await, Ok(Bytes::from("hi")));
    }
}

/// Tells when it is dropped
struct Dropped(Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A batch that is half answered is answered whole before a draining connection ends, and what comes is refused
pub(crate) async fn p15_a_batch_half_answered_is_owed_whole<P: End>(rig: Rig<P>) {
    let gate = Gate::shut();
    let (setup, begins) = gated(&gate);
    let server = rig.serve(setup).await;
    let mut raw = Raw::connect(&rig, &server);
    // When the last runs, all have been taken.
    raw.send_json(batch(&[request("echo", 2), request("gated", 1)]));
    begins.recv_timeout(SOON).expect("the handler runs");
    let drained = rig.other_end(&server).await.drain(SOON);
    raw.send_json(batch(&[request("echo", 3), request("echo", 4)]));
    raw.expect_json(format!("[{},{}]", failure("3", -32000, "Draining"), failure("4", -32000, "Draining")));
    gate.open();
    let answers = raw.json();
    assert!(answers.contains(&result(1)) && answers.contains(&result(2)), "{answers}");
    raw.expect_end();
    drop(raw);
    assert_eq!(drained.await, CloseReason::Drained);
}

fn cancels(settings: JsonRpc) -> JsonRpc {
    settings.cancel_method(Some("$/cancelRequest"))
}

/// Waits until it is cancelled, and tells when it begins and is over
fn waiting<P: End>() -> (Setup<P>, Receiver<()>, Receiver<()>) {
    let (began, begins) = channel();
    let (told, tells) = channel();
    let setup = echo().json(cancels).handle("wait", move || {
        let (began, told) = (began.clone(), Dropped(told.clone()));
        async move {
            let _ = began.send(());
            core::future::pending::<()>().await;
            drop(told);
        }
    });
    (setup, begins, tells)
}

/// `$/cancelRequest`, where it is switched on, drops the handler of that id; others and unknown ones are left alone
pub(crate) async fn p03_a_cancelled_request_is_dropped_and_told_so<P: End>(rig: Rig<P>) {
    let (setup, begins, tells) = waiting();
    let server = rig.serve(setup).await;
    let mut raw = Raw::connect(&rig, &server);
    let cancel =
        |id: &str| format!(r#"{{"jsonrpc":"2.0","method":"$/cancelRequest","params":{{"id":{id}}}}}"#);
    for id in ["1", "\"1\"", "1.0"] {
        raw.send_json(format!(r#"{{"jsonrpc":"2.0","method":"wait","id":{id}}}"#));
        begins.recv_timeout(SOON).expect("the handler runs");
    }
    for id in ["\"1\"", "1.0", "1"] {
        raw.send_json(cancel("2"));
        raw.send_json(cancel(id));
        raw.expect_json(failure(id, -32800, "Request cancelled"));
        assert_eq!(tells.recv_timeout(SOON), Ok(()));
        raw.send_json(cancel(id));
        raw.expect_alive();
    }
    // One of a batch: the others are answered, and it among them.
    raw.send_json(batch(&[request("wait", 8), request("echo", 9)]));
    begins.recv_timeout(SOON).expect("the handler runs");
    raw.send_json(cancel("8"));
    let answers = raw.json();
    let cancelled = failure("8", -32800, "Request cancelled");
    assert!(answers.contains(&result(9)) && answers.contains(&cancelled), "{answers}");
    assert_eq!(tells.recv_timeout(SOON), Ok(()));
    // In one piece with its request, and in its batch.
    raw.write([rig.wire().frame(request("wait", 5)), rig.wire().frame(cancel("5"))].concat());
    raw.expect_json(failure("5", -32800, "Request cancelled"));
    raw.send_json(batch(&[request("wait", 6), cancel("6")]));
    raw.expect_json(format!("[{}]", failure("6", -32800, "Request cancelled")));
    raw.expect_alive();
}

/// Without the setting it is a notification like any other
pub(crate) async fn p03_nobody_is_cancelled_where_that_is_off<P: End>(rig: Rig<P>) {
    let gate = Gate::shut();
    let (setup, begins) = gated(&gate);
    let server = rig.serve(setup).await;
    let mut raw = Raw::connect(&rig, &server);
    raw.send_json(request("gated", 1));
    begins.recv_timeout(SOON).expect("the handler runs");
    raw.send_json(r#"{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":1}}"#);
    raw.expect_alive();
    gate.open();
    raw.expect_json(result(1));
}

on_all_stacks! {
    texts:
    p10_the_elements_of_a_batch_run_side_by_side
    p12_a_batch_is_answered_by_a_batch;
    json:
    p01_a_client_may_leave_with_a_batch_half_answered
    p03_nobody_is_cancelled_where_that_is_off
    p10_notifications_keep_their_order_in_and_out_of_batches
    p12_batches_with_the_same_ids_are_kept_apart
    p15_a_batch_half_answered_is_owed_whole
    p18_a_batch_may_be_cut_anywhere;
    json_futures:
    p03_a_cancelled_request_is_dropped_and_told_so;
}
