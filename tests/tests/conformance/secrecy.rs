//! Texts: what errors say, and what they must not: P20 and P22

use core::error::Error as _;
use core::time::Duration;
use std::sync::mpsc::channel;

use bytes::Bytes;
use flyrpc_driver::{Context, Error, Json, Limits, Packet, RemoteError, Request};

use crate::raw::{RESPONSE, Raw};
use crate::rig::{End, Rig, SOON, echo, plain};
use crate::wire::Text;

const SECRET: &str = "hunter2";

/// The error's text, and those of its sources
fn texts(error: &Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(why) = source {
        texts.push(why.to_string());
        source = why.source();
    }
    texts
}

/// Every way in which a call can fail says what happened, and its sources say why; nothing is said twice
pub(crate) async fn p20_errors_say_what_happened_and_their_sources_why<P: End>(rig: Rig<P>) {
    let (mut raw, client) = Raw::with(&rig, plain().limits(Limits::new().max_payload(100))).await;
    let late = client.call_within("slow", "", Duration::from_millis(2)).await;
    let nul = client.call("a\0b", "").await;
    let mut errors = vec![late, nul];
    raw.read();
    for (i, (flag, code, payload)) in [
        (RESPONSE, "NO_SUCH_LAMP", &b"lamp 7"[..]),
        (RESPONSE, "", &[0; 101]),
        (RESPONSE | 0x04, "", b"not deflate"),
    ]
    .into_iter()
    .enumerate()
    {
        let peer = client.peer.clone();
        let call = rig.spawn(async move { peer.call("echo", "").await });
        raw.read();
        raw.send(flag, i as u16 + 2, code, payload);
        errors.push(call.await);
    }
    let peer = client.peer.clone();
    let call = rig.spawn(async move { peer.call_as::<Json<u32>>("json", "").await });
    raw.read();
    raw.send(RESPONSE, 5, "", b"{");
    errors.push(call.await.map(|_| Bytes::new()));
    let peer = client.peer.clone();
    let call = rig.spawn(async move { peer.call("echo", "").await });
    raw.read();
    drop(raw);
    errors.push(call.await);
    client.closed().await;
    errors.push(client.call("echo", "").await);
    let texts: Vec<_> = errors.iter().map(|error| texts(error.as_ref().expect_err("an error"))).collect();
    let expected = [
        &["the answer did not come in time"][..],
        &["the call was not sent", "00"],
        &["the peer answered with an error: NO_SUCH_LAMP (6 bytes of details)"],
        &["the answer can't be read", "101"],
        &["the answer can't be read", "inflate"],
        &["the answer can't be read", "JSON"],
        &["the connection ended before the answer came", "closed"],
        &["the call was not sent", "ended"],
    ];
    assert_eq!(texts.len(), expected.len());
    for (texts, expected) in texts.iter().zip(expected) {
        assert_eq!(texts[0], expected[0]);
        assert_eq!(texts.len(), expected.len(), "{texts:?}");
        for (text, word) in texts.iter().zip(expected).skip(1) {
            assert!(text.to_lowercase().contains(&word.to_lowercase()), "{texts:?} does not say {word}");
            assert!(!texts[0].contains(text.as_str()), "{texts:?} says it twice");
        }
    }
}

/// Whatever is shown of requests, answers and errors, their payloads are not in it
pub(crate) async fn p22_no_text_holds_a_byte_of_a_payload<P: End>(rig: Rig<P>) {
    let (told, tells) = channel();
    let setup = echo()
        .handle("show", move |request: &Request<P>, packet: &Packet, context: &Context<P>| {
            let _ = told.send(format!("{request:?} {packet:?} {context:?}"));
        })
        .handle("fail", |Text(text): Text| RemoteError::new("FAILED").details(text))
        .handle("json", |Json(n): Json<u32>| n.to_string());
    let (_server, client) = rig.pair(setup, plain()).await;
    assert_eq!(client.call("show", SECRET).await, Ok(Bytes::new()));
    let shown = tells.recv_timeout(SOON).expect("told");
    let len = rig.wire().wrap(SECRET).len().to_string();
    assert!(shown.contains("show") && shown.contains(&len), "{shown}");
    let mut all = vec![shown];
    let quoted = format!("\"{SECRET}\"");
    for outcome in [
        client.call("fail", SECRET).await,
        client.call("json", quoted.clone()).await,
        client.call_as::<Json<u32>>("echo", quoted.clone()).await.map(|_| Bytes::new()),
        client.call_as::<Json<Vec<u8>>>("echo", SECRET).await.map(|_| Bytes::new()),
        client.call_as::<Json<bool>>("echo", format!("{{\"{SECRET}\":1}}")).await.map(|_| Bytes::new()),
    ] {
        let error = outcome.expect_err("an error");
        all.push(format!("{error:?} {error} {:?}", texts(&error)));
        if let Error::Remote(error) = &error {
            // What the other end says of our payload.
            if error.code != "FAILED" {
                all.push(String::from_utf8_lossy(&error.details).into_owned());
            }
        }
    }
    let response = client.request("echo", SECRET).await.expect("an answer");
    assert_eq!(response.payload, SECRET);
    all.push(format!("{response:?}"));
    all.push(format!("{:?}", client.stats()));
    for text in all {
        assert!(!text.contains(SECRET), "{text}");
        assert!(!text.contains("104, 117, 110"), "as numbers: {text}");
    }
}

on_all_stacks! {
    everywhere:
    p22_no_text_holds_a_byte_of_a_payload;
    fly:
    p20_errors_say_what_happened_and_their_sources_why;
}
