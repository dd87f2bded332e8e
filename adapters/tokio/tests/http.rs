//! HTTP over tokio's sockets: what holds in memory holds here

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

use flyrpc_tokio::Tokio;

/// Longer than a socket of this machine needs
const MOMENT: Duration = Duration::from_millis(20);
/// What takes longer hangs
const HANGS: Duration = Duration::from_secs(30);

pub(crate) async fn pause() {
    tokio::time::sleep(MOMENT).await;
}

/// A listener that is dropped takes no connection any more
pub(crate) const fn refuse() {}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(HANGS, test).await.expect("it hangs") });
}

suite::suite!(Tokio, run, large);
dialect::dialect!(Tokio, run);
