//! The board: an LM3S6965 evaluation board, as QEMU emulates it (`-M lm3s6965evb`)

mod clock;
mod registers;
mod serial;

use core::num::NonZeroU16;

pub use clock::Clock;
pub use registers::Uart;
pub use serial::Serial;

use registers::Register;

/// A number for this life of the program that differs from that of the one before
///
/// Its upper byte counts resets, in memory that outlives them; the lower byte makes most cold starts differ.
pub fn session(clock: &mut Clock) -> NonZeroU16 {
    let starts = Register::STARTS.read() % 255 + 1;
    Register::STARTS.write(starts);
    NonZeroU16::new((starts as u16) << 8 | u16::from(clock.jitter())).unwrap_or(NonZeroU16::MIN)
}
