//! A page in headless Chromium calls a board through `flyrpc bridge`
//!
//! The page is `examples/browser`, and `run.mjs` uses it as a person would. `install.sh` here installs what that takes.
//! Where something is missing the tests are skipped, loudly; they fail where `CI` is set.

#[path = "../common/mod.rs"]
mod common;
mod page;

use common::board::Board;
use common::qemu::Qemu;
use page::{Page, with_browser};

/// The checks of `run.mjs`, in their order: none can be lost unseen
const CHECKS: &[&str] = &[
    "connected",
    "led",
    "adc",
    "echo",
    "time",
    "button",
    "unknown",
    "many",
    "error",
    "page-is-called",
    "restart",
    "stranger",
    "no-complaints",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_calls_a_stand_in_for_a_board() {
    let Some(browser) = with_browser() else { return };
    let mut board = Board::start().await;
    Page::open(&browser, board.address(), &[]).finds(CHECKS, &mut board).await;
}

/// The firmware has buffers of 256 bytes, so it is asked four things at a time
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_calls_a_microcontroller() {
    let Some(browser) = with_browser() else { return };
    let Some(mut board) = Qemu::start() else { return };
    let address = board.address();
    Page::open(&browser, &address, &["--max-in-flight", "4"]).finds(CHECKS, &mut board).await;
}
