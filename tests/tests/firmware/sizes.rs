//! Payloads that are as long as can be, and longer; and what the board can't read

use core::time::Duration;

use flyrpc_tokio::{Client, Error, Refusal, ZipMode, codes};

use crate::rig::{Framing, PATIENCE, Rig};

pub(crate) async fn the_longest_payload_and_one_byte_more(rig: &mut Rig) {
    let host = rig.host().await;
    let hello = rig.host().await.hello().await.unwrap();
    let longest = hello.max_payload.unwrap() as usize;
    assert!((150..256).contains(&longest), "of a buffer of 256 bytes, {longest} are for a payload");
    let host_again = rig.host().await;
    drop(host);
    for len in [longest - 1, longest] {
        let payload = "y".repeat(len);
        assert_eq!(host_again.call("echo", &payload[..]).within(PATIENCE).await.unwrap(), payload);
    }
    // This connection has not heard of the limit: the board refuses, and lives on.
    for len in [longest + 1, 255, 256, 257, 300, 1000, 100_000] {
        let within = if rig.framing == Framing::Cobs { Duration::from_millis(500) } else { PATIENCE };
        let refused = host_again.call("echo", &"z".repeat(len)[..]).within(within).await;
        match (refused, rig.framing) {
            (Err(Error::Remote(error)), _) if error.is(codes::TOO_LARGE) => {}
            // A frame that does not fit can't be answered: nobody knows what was in it.
            (Err(Error::TimedOut), Framing::Cobs) if len > 200 => {}
            (other, _) => panic!("{len} bytes: {other:?}"),
        }
        assert_eq!(host_again.call("echo", "short").within(PATIENCE).await.unwrap(), "short");
    }
    // Who has heard of it does not even send it.
    host_again.hello().await.unwrap();
    let refused = host_again.call("echo", &"z".repeat(longest + 1)[..]).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::TooLarge { .. }))), "{refused:?}");
}

pub(crate) async fn an_answer_that_is_too_long_for_the_board(rig: &mut Rig) {
    let host = rig.host().await;
    match host.call("ask", "5000 long").within(PATIENCE).await {
        // Of a frame that does not fit the board learns nothing.
        Err(Error::Remote(error)) if error.is(codes::TOO_LARGE) || error.is(codes::TIMEOUT) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(host.call("echo", "short").within(PATIENCE).await.unwrap(), "short");
}

pub(crate) async fn what_is_compressed_is_refused(rig: &mut Rig) {
    let host = rig.bare_host(Client::new().zip(ZipMode::On)).await;
    let refused = host.call("echo", &"a".repeat(400)[..]).within(PATIENCE).await;
    assert!(matches!(&refused, Err(Error::Remote(error)) if error.is(codes::BAD_ZIP)), "{refused:?}");
    assert_eq!(host.call("echo", "short").within(PATIENCE).await.unwrap(), "short");
}
