//! HTTP over smol's sockets: what holds in memory holds here

#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "helpers of tests, which the setting for tests does not see"
)]

#[path = "../../driver/tests/http/dialect.rs"]
mod dialect;
#[path = "../../driver/tests/http/host.rs"]
mod host;
#[path = "../../driver/tests/http/suite.rs"]
mod suite;

use core::time::Duration;

use flyrpc_smol::Smol;

/// Longer than a socket of this machine needs
const MOMENT: Duration = Duration::from_millis(20);
/// What takes longer hangs
const HANGS: Duration = Duration::from_secs(30);

pub(crate) async fn pause() {
    smol::Timer::after(MOMENT).await;
}

/// A listener that is dropped takes no connection any more
pub(crate) const fn refuse() {}

fn run(test: impl Future<Output = ()>) {
    smol::block_on(smol::future::or(test, async {
        smol::Timer::after(HANGS).await;
        panic!("it hangs");
    }));
}

suite::suite!(Smol, run, large);
dialect::dialect!(Smol, run);
