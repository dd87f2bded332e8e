//! Time from SysTick, and sleep, without interrupt handlers

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use flyrpc_core::Instant;

use super::registers::Register;

/// 12.5 MHz, in QEMU as at a cold start of the chip
const CYCLES_PER_TICK: u32 = 12_500;
const MICROS_PER_TICK: u64 = 1_000;

/// The receive interrupts of the three serial ports, as bits of the two banks
const UARTS: [u32; 2] = [1 << 5 | 1 << 6, 1 << 1];

/// Counts milliseconds since its start; ask it at least that often, else time goes slower
pub struct Clock {
    timer: SYST,
    micros: u64,
}

impl Clock {
    /// Takes the timer, and switches interrupt handlers off for good: what waits only ends a [`sleep`](Self::sleep)
    #[must_use]
    pub fn start(mut timer: SYST) -> Self {
        cortex_m::interrupt::disable();
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(CYCLES_PER_TICK - 1);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
        write_each(Register::ENABLE_INTERRUPTS);
        Self { timer, micros: 0 }
    }

    /// Time since the start
    pub fn now(&mut self) -> Instant {
        if SCB::is_pendst_pending() {
            SCB::clear_pendst();
            self.micros += MICROS_PER_TICK;
        }
        Instant::from_micros(self.micros)
    }

    /// Waits for bytes or for the next millisecond; returns at once when either came since the last [`now`](Self::now)
    pub fn sleep(&mut self) {
        write_each(Register::FORGET_INTERRUPTS);
        // A waiting interrupt ends this although its handler may not run.
        cortex_m::asm::wfi();
    }

    /// A number that differs from start to start: how far the timer is when other hardware has answered
    #[must_use]
    pub fn jitter(&mut self) -> u8 {
        let mut turns = 0_u32;
        while !SCB::is_pendst_pending() {
            turns = turns.wrapping_add(1);
        }
        let [a, b, c, d] = turns.to_le_bytes();
        a ^ b ^ c ^ d ^ self.timer.cvr.read() as u8
    }
}

fn write_each([low, high]: [Register; 2]) {
    let [low_bits, high_bits] = UARTS;
    low.write(low_bits);
    high.write(high_bits);
}
