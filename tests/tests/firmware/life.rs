//! Ends and beginnings: of the board, of the host, of what is on its way

use core::time::Duration;

use flyrpc_tokio::Error;
use tokio::time::timeout;

use crate::Framing;
use crate::rig::{PATIENCE, Rig};

pub(crate) async fn a_reset_in_the_middle_of_a_call(rig: &mut Rig) {
    let mut host = rig.host().await;
    for round in 0..3 {
        let peer = host.peer();
        let within = if rig.framing == Framing::Cobs { PATIENCE } else { Duration::from_millis(700) };
        let call = tokio::spawn(async move { peer.call("slow", "100000").within(within).await });
        // Behind it on the wire: when this is answered, the board has the slow one.
        while host.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(host.call("echo", "there?").within(PATIENCE).await.unwrap(), "there?");
        rig.reset().await;
        let ended =
            timeout(PATIENCE / 2, call).await.expect("the call fails long before its deadline").unwrap();
        match (rig.framing, ended) {
            (Framing::Cobs, Err(Error::Lost(_))) => host = rig.host().await,
            (Framing::Plain, Err(Error::TimedOut)) => {}
            (_, other) => panic!("round {round}: {other:?}"),
        }
        assert_eq!(host.call("echo", "again").within(PATIENCE).await.unwrap(), "again");
        assert_eq!(
            host.call("heard", "").within(PATIENCE).await.unwrap(),
            "0 ",
            "it has forgotten everything"
        );
        host.send("note", "remember").await.unwrap();
        assert_eq!(host.call("time", "").within(PATIENCE).await.unwrap(), "12:34:56");
    }
}

pub(crate) async fn a_host_that_restarts_gets_no_old_answer(rig: &mut Rig) {
    let first = rig.host().await;
    assert_eq!(first.call("echo", "first").within(PATIENCE).await.unwrap(), "first");
    for (soon, late) in [("300", "900"), ("200", "600")] {
        let old = rig.host().await;
        let peer = old.peer();
        let call = tokio::spawn(async move { peer.call("slow", soon).within(PATIENCE).await });
        while old.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(old.call("echo", "there?").within(PATIENCE).await.unwrap(), "there?");
        drop(old);
        let lost = timeout(PATIENCE, call).await.unwrap().unwrap();
        assert!(matches!(lost, Err(Error::Lost(_))), "{lost:?}");
        // The same sequences again: the answer to the old call comes while the new one waits.
        let new = rig.host().await;
        let answer = new.call("slow", late).within(PATIENCE).await.unwrap();
        match rig.framing {
            Framing::Cobs => assert_eq!(answer, late),
            // Nothing on this wire tells one host from the next.
            Framing::Plain => assert!(answer == late || answer == soon, "{answer:?}"),
        }
        assert_eq!(new.call("echo", "new").within(PATIENCE).await.unwrap(), "new");
    }
}

pub(crate) async fn an_answer_on_the_wire_is_not_for_the_next_host(rig: &mut Rig) {
    let old = rig.host().await;
    assert_eq!(old.call("echo", "first").within(PATIENCE).await.unwrap(), "first");
    rig.wire.up.hold(true);
    let gone = old.call("slow", "1").within(Duration::from_millis(300)).await;
    assert_eq!(gone, Err(Error::TimedOut));
    while !rig.wire.up.is_holding() {
        tokio::task::yield_now().await;
    }
    drop(old);
    // The second call has the number of the one whose answer is still on the wire.
    let new = rig.host().await;
    let (one, two) = (new.call("slow", "300").within(PATIENCE), new.call("slow", "400").within(PATIENCE));
    let release = async {
        while new.in_flight() < 2 {
            tokio::task::yield_now().await;
        }
        rig.wire.up.hold(false);
    };
    let (one, two, ()) = tokio::join!(one, two, release);
    assert_eq!((one.unwrap(), two.unwrap()), ("300".into(), "400".into()));
}

pub(crate) async fn what_is_held_back_comes_later(rig: &mut Rig) {
    let host = rig.host().await;
    rig.wire.up.hold(true);
    let calls: Vec<_> = (0..30_u32)
        .map(|n| (n, host.peer()))
        .map(|(n, peer)| {
            tokio::spawn(async move { (n, peer.call("echo", &n.to_string()[..]).within(PATIENCE).await) })
        })
        .collect();
    while host.in_flight() < 30 {
        tokio::task::yield_now().await;
    }
    let gone = host.call("echo", "not now").within(Duration::from_millis(100)).await;
    assert_eq!(gone, Err(Error::TimedOut), "nothing comes back");
    rig.wire.up.hold(false);
    for call in calls {
        let (n, answer) = call.await.unwrap();
        assert_eq!(answer.unwrap(), n.to_string());
    }
    assert_eq!(host.call("time", "").within(PATIENCE).await.unwrap(), "12:34:56");
}
