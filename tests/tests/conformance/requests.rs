//! JSON-RPC: requests, and what is none, as any peer may write them: P7, P11, P12, P17

use std::sync::mpsc::channel;

use bytes::Bytes;
use flyrpc_driver::{Error, Json, Limits, RemoteError};

use crate::rig::{End, Rig, SOON, echo, plain};
use crate::texts::{Texts, failure};
use crate::wire::Text;

/// Whatever form an id has, it comes back as it came; what can't be an id is no request
pub(crate) async fn p12_ids_of_every_form_come_back<P: End>(rig: Rig<P>) {
    let server = rig.serve(echo()).await;
    let mut texts = Texts::connect(&rig, &server);
    let long = format!("\"{}\"", "i".repeat(1_000));
    let ids =
        ["1", "0", "-7", "1.50", "1e3", "18446744073709551616", "null", "\"\"", "\"x\"", r#""\u00e9\"""#];
    for id in ids.into_iter().chain([&*long]) {
        texts.asks(
            &format!(r#"{{"jsonrpc":"2.0","method":"echo","params":[7],"id":{id}}}"#),
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":[7]}}"#),
        );
        texts.fails(
            &format!(r#"{{"id":{id},"method":"nobody","jsonrpc":"2.0"}}"#),
            id,
            -32601,
            "Method not found",
        );
    }
    for id in ["true", "[1]", r#"{"id":1}"#] {
        let request = format!(r#"{{"jsonrpc":"2.0","method":"echo","params":[7],"id":{id}}}"#);
        texts.fails(&request, "null", -32600, "Invalid Request");
    }
    // Without one, it is a notification.
    texts.tells(r#"{"jsonrpc":"2.0","method":"echo","params":[7]}"#);
}

/// What is not JSON, and what is no request, is told so, and the next request is as good as any
pub(crate) async fn p12_what_is_no_request_is_told_so<P: End>(rig: Rig<P>) {
    let server = rig.serve(echo()).await;
    let mut texts = Texts::connect(&rig, &server);
    // A line that only breaks off would go on with the next one.
    for text in ["nonsense", r#"{"jsonrpc":"2.0","method":"echo","id":1]"#, "[1,}", r#"{"a":"\x"}"#, "[01]"] {
        texts.fails(text, "null", -32700, "Parse error");
        texts.expect_alive();
    }
    for (request, id) in [
        ("{}", "null"),
        ("7", "null"),
        ("\"echo\"", "null"),
        (r#"{"jsonrpc":"2.0","id":5}"#, "5"),
        (r#"{"jsonrpc":"2.0","method":5,"id":5}"#, "5"),
        (r#"{"jsonrpc":"2.0","method":"echo","params":"text","id":"five"}"#, "\"five\""),
        (r#"{"jsonrpc":"1.0","method":"echo","id":5}"#, "5"),
        (r#"{"jsonrpc":2.0,"method":"echo","id":5}"#, "5"),
        (r#"{"method":"echo","id":5}"#, "5"),
    ] {
        texts.fails(request, id, -32600, "Invalid Request");
        texts.expect_alive();
    }
}

/// Of members of one name the last counts, names are read without their escapes, and what is nested is data
pub(crate) async fn p12_the_last_member_of_a_name_counts_and_only_outside<P: End>(rig: Rig<P>) {
    let server = rig.serve(echo()).await;
    let mut texts = Texts::connect(&rig, &server);
    for (request, answer) in [
        (
            r#"{"id":1,"jsonrpc":"1.0","method":"nobody","params":[1],"jsonrpc":"2.0","method":"echo","params":[2],"id":2}"#,
            r#"{"jsonrpc":"2.0","id":2,"result":[2]}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"echo","params":{"id":9,"method":"nobody","params":[1]},"id":3}"#,
            r#"{"jsonrpc":"2.0","id":3,"result":{"id":9,"method":"nobody","params":[1]}}"#,
        ),
        (
            r#"{"x":{"id":9,"method":"nobody"},"jsonrpc":"2.0","m\u0065thod":"e\u0063ho","params":["\u0065"],"i\u0064":4}"#,
            r#"{"jsonrpc":"2.0","id":4,"result":["\u0065"]}"#,
        ),
        (
            "  { \"jsonrpc\" : \"2.0\" , \"method\" :\t\"echo\", \"params\" : [ 1 , 2 ] , \"id\" : 5 }  ",
            r#"{"jsonrpc":"2.0","id":5,"result":[ 1 , 2 ]}"#,
        ),
    ] {
        texts.asks(request, answer);
    }
}

/// No parameters, `null`, and empty ones; no result is `null`, here and there
pub(crate) async fn p12_nothing_is_null<P: End>(rig: Rig<P>) {
    let setup = echo()
        .handle("unit", || ())
        .handle("null", || "null")
        .handle("len", |params: Bytes| params.len().to_string())
        .handle("maybe", |Json(n): Json<Option<u32>>| Json(n));
    let (server, client) = rig.pair(setup, plain()).await;
    let mut texts = Texts::connect(&rig, &server);
    for (call, result) in [
        (r#""method":"unit""#, "null"),
        (r#""method":"unit","params":null"#, "null"),
        (r#""method":"null","params":[]"#, "null"),
        (r#""method":"echo""#, "null"),
        (r#""method":"echo","params":[]"#, "[]"),
        (r#""method":"echo","params":{}"#, "{}"),
        (r#""method":"len""#, "0"),
        (r#""method":"maybe""#, "null"),
        (r#""method":"maybe","params":[null]"#, "null"),
        (r#""method":"maybe","params":[7]"#, "7"),
    ] {
        texts.asks(
            &format!(r#"{{"jsonrpc":"2.0",{call},"id":1}}"#),
            &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#),
        );
    }
    for (method, params, result) in [("unit", "", "null"), ("echo", "", "null"), ("echo", "[]", "[]")] {
        assert_eq!(client.call_json(method, params).await, Ok(Bytes::from(result)), "{method} {params}");
    }
    assert_eq!(client.call_as::<Json<Option<u32>>>("unit", "").await.map(|answer| answer.0), Ok(None));
}

/// A service is what stands before the last point
pub(crate) async fn p12_unknown_services_and_methods_are_two_errors<P: End>(rig: Rig<P>) {
    let server = rig.serve(echo().handle("Arith.Add", |Json((a, b)): Json<(i64, i64)>| Json(a + b))).await;
    let mut texts = Texts::connect(&rig, &server);
    let request = |method: &str| format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":[1,2],"id":1}}"#);
    texts.asks(&request("Arith.Add"), r#"{"jsonrpc":"2.0","id":1,"result":3}"#);
    for (method, code, message) in [
        ("Arith.Sub", -32601, "Method not found"),
        ("Nobody.Add", -32002, "Service not found"),
        ("a.Arith.Add", -32002, "Service not found"),
        ("Arith", -32601, "Method not found"),
        ("", -32601, "Method not found"),
    ] {
        texts.fails(&request(method), "1", code, message);
    }
}

/// Number, message and data of an error arrive as the handler gave them; what it did not give is filled in
pub(crate) async fn p07_a_handlers_error_has_number_message_and_data<P: End>(rig: Rig<P>) {
    let setup = echo()
        .handle("own", || RemoteError::new("so \"sorry\"").number(7).details(r#"{"x": 1}"#))
        .handle("text", || Err::<(), _>("divide by zero"))
        .handle("details", || RemoteError::new("oh").details("not JSON"))
        .handle("no JSON", || "not JSON")
        .handle("half JSON", || "{\"a\":")
        .handle("number", |Json(n): Json<u32>| Json(n))
        .handle("panic", || -> &'static str { panic!("a secret") });
    let (server, client) = rig.pair(setup, plain()).await;
    let mut texts = Texts::connect(&rig, &server);
    let request = |method: &str| format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":["x"],"id":1}}"#);
    texts.asks(
        &request("own"),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":7,"message":"so \"sorry\"","data":{"x": 1}}}"#,
    );
    texts.fails(&request("text"), "1", -32001, "divide by zero");
    texts.asks(
        &request("details"),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"oh","data":"not JSON"}}"#,
    );
    texts.fails(&request("panic"), "1", -32603, "Internal error");
    for (method, number) in [("no JSON", -32603), ("half JSON", -32603), ("number", -32602)] {
        texts.send(&request(method));
        let answer = texts.read();
        assert!(answer.contains(&format!(r#""error":{{"code":{number},"#)), "{answer}");
        let failed = client.call("number", "x").await;
        assert!(matches!(&failed, Err(Error::Remote(error)) if error.number == Some(-32602)), "{failed:?}");
    }
    texts.expect_alive();
    let Err(Error::Remote(error)) = client.call("own", "").await else { panic!("it fails") };
    assert_eq!(error, RemoteError::new("so \"sorry\"").number(7).details(r#"{"x": 1}"#));
}

const TOO_LARGE: &str = "Request too large";

/// What is longer than the limits is passed over, its request told so, and the next one heard
pub(crate) async fn p17_a_message_beyond_the_limit_is_passed_over<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let setup = plain().limits(Limits::new().max_payload(1_000)).handle("len", move |Text(text): Text| {
        let _ = told.send(text.len());
    });
    let server = rig.serve(setup).await;
    let mut texts = Texts::connect(&rig, &server);
    let request = |id: &str, len: usize| {
        let text = "x".repeat(len);
        format!(r#"{{"jsonrpc":"2.0",{id}"method":"len","params":["{text}"]}}"#)
    };
    for len in [4_000, 8_000, 60_000] {
        texts.fails(&request(r#""id":7,"#, len), "7", -32600, TOO_LARGE);
        texts.expect_alive();
        // Whose it is may come too late.
        let late = format!(r#"{{"jsonrpc":"2.0","method":"len","params":["{}"],"id":7}}"#, "x".repeat(len));
        texts.send(&late);
        let answer = texts.read();
        assert!(
            [failure("7", -32600, TOO_LARGE), failure("null", -32600, TOO_LARGE)].contains(&answer),
            "{answer}"
        );
        texts.expect_alive();
    }
    texts.asks(&request(r#""id":8,"#, 900), r#"{"jsonrpc":"2.0","id":8,"result":null}"#);
    assert_eq!((tells.recv_timeout(SOON), tells.try_recv().is_err()), (Ok(900), true), "one was handled");
}

/// Nobody is told that a notification has no handler, can't be read, or fails
pub(crate) async fn p11_notifications_are_never_answered<P: End>(rig: Rig<P>) {
    let setup =
        echo().handle("number", |Json(n): Json<u32>| Json(n)).handle("fail", || Err::<(), _>("FAILED"));
    let server = rig.serve(setup).await;
    let mut texts = Texts::connect(&rig, &server);
    for call in [
        r#""method":"nobody""#,
        r#""method":"echo","params":[1]"#,
        r#""method":"number","params":["x"]"#,
        r#""method":"fail""#,
        r#""method":"echo","params":"no params""#,
    ] {
        texts.tells(&format!(r#"{{"jsonrpc":"2.0",{call}}}"#));
    }
}

on_all_stacks! {
    texts:
    p07_a_handlers_error_has_number_message_and_data
    p11_notifications_are_never_answered
    p12_ids_of_every_form_come_back
    p12_nothing_is_null
    p12_the_last_member_of_a_name_counts_and_only_outside
    p12_unknown_services_and_methods_are_two_errors
    p12_what_is_no_request_is_told_so
    p17_a_message_beyond_the_limit_is_passed_over;
}
