//! HTTP over pipes in memory, whole and byte by byte

#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "helpers of tests, which the setting for tests does not see"
)]

mod common;
#[path = "http/dialect.rs"]
mod dialect;
#[path = "http/host.rs"]
mod host;
#[path = "http/suite.rs"]
mod suite;

pub(crate) async fn pause() {
    common::pause(20).await;
}

/// A listener that is dropped takes no connection any more
pub(crate) fn refuse() {
    common::reset();
}

fn run(test: impl Future<Output = ()>, wire: common::Wire) {
    common::reset();
    common::set_wire(wire);
    let mut test = common::Hold::new(test);
    let mut is_ready = test.poll().is_ready();
    while !is_ready {
        let stepped = common::step();
        let woken = test.is_woken();
        assert!(stepped || woken, "nothing is ready, and the test is not either");
        is_ready = woken && test.poll().is_ready();
    }
    drop(test);
    common::reset();
}

mod whole {
    use crate::common::{Hand, Wire};

    fn run(test: impl Future<Output = ()>) {
        crate::run(test, Wire::WIDE);
    }

    crate::suite::suite!(Hand, run, large);
    crate::dialect::dialect!(Hand, run);
}

/// P18
mod byte_by_byte {
    use crate::common::{Hand, Wire};

    fn run(test: impl Future<Output = ()>) {
        crate::run(test, Wire { at_a_time: 1, capacity: 32, writer: false });
    }

    crate::suite::suite!(Hand, run);
    crate::dialect::dialect!(Hand, run);
}

#[test]
fn idle_connections_are_not_woken_by_the_requests_of_others_p16() {
    use dialect::{post, raw, start};

    let turns = |idle: usize| {
        common::reset();
        common::set_wire(common::Wire::WIDE);
        let (_server, mut client, _idle) = common::block_on(async {
            let server = start::<common::Hand>(&dialect::Signals::default()).await;
            let mut others = Vec::new();
            for _ in 0..idle {
                others.push(raw(&server).await);
            }
            let client = raw(&server).await;
            (server, client, others)
        });
        common::run();
        common::block_on(client.send(post(r#"{"jsonrpc":"2.0","method":"echo","id":1}"#)));
        let turns = (0..).take_while(|_| common::step()).count();
        assert_eq!(common::block_on(client.message()).status, "HTTP/1.1 200 OK");
        turns
    };
    assert_eq!(turns(100), turns(0));
    common::reset();
}
