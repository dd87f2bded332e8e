//! The board of `examples/firmware-cortex-m`, proved: the part of the conformance suite that needs no heap
//!
//! Each case runs against the application in a thread of this program and on an emulated Cortex-M3 (QEMU, over its
//! UART), over FlyRPC's own framing and over frames with COBS and CRC. The host is `flyrpc-tokio`. Between them is a
//! wire that can split, hold and disturb what it carries.
//!
//! Without `qemu-system-arm`, or without the firmware, half of it is skipped aloud; where `CI` is set it fails.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

#[expect(unreachable_pub, reason = "there it is a library's")]
#[path = "../../../examples/firmware-cortex-m/src/app/mod.rs"]
mod app;
mod calls;
mod life;
mod local;
mod noise;
mod proxy;
mod qemu;
mod rig;
mod sizes;

use rig::{Framing, Place, Rig};

/// A case for each place and framing; those in frames alone are about what FlyRPC's own framing does not promise
macro_rules! cases {
    (both: $($module:ident :: $case:ident),*; in_frames: $($framed_module:ident :: $framed_case:ident),*;) => {
        mod here {
            $(mod $case { cases!(@one plain, Plain, $module, $case, Here); cases!(@one cobs, Cobs, $module, $case, Here); })*
            $(mod $framed_case { cases!(@one cobs, Cobs, $framed_module, $framed_case, Here); })*
        }
        mod in_qemu {
            $(mod $case { cases!(@one plain, Plain, $module, $case, Qemu); cases!(@one cobs, Cobs, $module, $case, Qemu); })*
            $(mod $framed_case { cases!(@one cobs, Cobs, $framed_module, $framed_case, Qemu); })*
        }
    };
    (@one $name:ident, $framing:ident, $module:ident, $case:ident, $place:ident) => {
        #[tokio::test]
        async fn $name() {
            crate::run(crate::Place::$place, crate::Framing::$framing, crate::$module::$case).await;
        }
    };
}

cases! {
    both:
    calls::every_request_of_the_board,
    calls::the_board_calls_the_host,
    calls::messages_go_both_ways,
    calls::pings_go_both_ways,
    calls::slow_answers_come_in_their_own_time,
    calls::many_calls_at_once,
    calls::deadlines_of_both_ends,
    calls::a_cancelled_call_is_given_up,
    sizes::the_longest_payload_and_one_byte_more,
    sizes::an_answer_that_is_too_long_for_the_board,
    sizes::what_is_compressed_is_refused,
    noise::ten_thousand_round_trips_in_pieces,
    noise::garbage_is_got_over,
    life::a_reset_in_the_middle_of_a_call,
    life::a_host_that_restarts_gets_no_old_answer,
    life::what_is_held_back_comes_later;
    in_frames:
    noise::noise_makes_no_wrong_answer,
    life::an_answer_on_the_wire_is_not_for_the_next_host;
}

/// One case, on a board of its own
async fn run(place: Place, framing: Framing, case: impl AsyncFn(&mut Rig)) {
    if let Some(mut rig) = Rig::start(place, framing, 0xb0a2d).await {
        case(&mut rig).await;
        rig.check();
    }
}
