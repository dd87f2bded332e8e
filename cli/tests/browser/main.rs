//! A page in headless Chromium calls a board through `flyrpc bridge`: `examples/browser`, used by `run.mjs` as a person would
//!
//! `install.sh` here installs what that takes. Where something is missing the tests are skipped, loudly; they fail where `CI` is set.

#[path = "../common/mod.rs"]
mod common;
mod page;

use common::board::Board;
use page::{Page, with_browser};

/// The checks of `run.mjs`, in their order: none can be lost unseen
const CHECKS: &[&str] = &["connected", "led", "adc", "echo", "time", "button", "unknown", "many"];
/// Those that a board made for this test can be asked for
const STAND_IN: &[&str] = &["error", "page-is-called"];
const LAST: &[&str] = &["restart", "stranger", "no-complaints"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_calls_a_board_through_the_bridge() {
    let Some(browser) = with_browser() else { return };
    let mut board = Board::start().await;
    let mut page = Page::open(&browser, "stand-in", board.address(), &[]);
    page.expect("CUT");
    board.stop().await;
    page.bridge.server.log_until("is gone");
    page.say("done");
    page.expect("RESTORE");
    board.start_again().await;
    page.bridge.server.log_until("connected to");
    page.say("done");
    page.finds(&[CHECKS, STAND_IN, LAST].concat());
}
