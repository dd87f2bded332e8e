//! The one place with `unsafe`: registers of this board, and the word of its memory that outlives a reset
//!
//! A register has a fixed address and is no memory of the program's, so reading and writing it can't break anything
//! Rust relies on. Only addresses from the tables below can be made, and none of those registers starts a transfer into
//! memory.
#![expect(unsafe_code, reason = "registers are reached through pointers; here and nowhere else")]

/// A word at a fixed address
#[derive(Clone, Copy, Debug)]
pub(super) struct Register(usize);

impl Register {
    /// Setting bits lets these interrupts happen: numbers 0 to 31, and 32 to 63
    pub(super) const ENABLE_INTERRUPTS: [Self; 2] = [Self(0xe000_e100), Self(0xe000_e104)];

    /// Setting bits forgets that these interrupts wait
    pub(super) const FORGET_INTERRUPTS: [Self; 2] = [Self(0xe000_e280), Self(0xe000_e284)];

    /// A word at the end of the memory: memory.x keeps it from the program
    pub(super) const STARTS: Self = Self(0x2000_fff8);

    /// A register of a serial port (PL011); `offset` below 0x48
    pub(super) const fn of_uart(uart: Uart, offset: usize) -> Self {
        assert!(offset < 0x48 && offset.is_multiple_of(4), "the PL011 has no such register");
        Self(uart as usize + offset)
    }

    pub(super) fn read(self) -> u32 {
        // SAFETY: the address is one of those above: aligned, always there, and no object of the program's.
        unsafe { core::ptr::read_volatile(self.0 as *const u32) }
    }

    pub(super) fn write(self, value: u32) {
        // SAFETY: as in `read`; no register above makes the hardware write to memory.
        unsafe { core::ptr::write_volatile(self.0 as *mut u32, value) }
    }
}

/// The serial ports, by the addresses of their registers
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uart {
    /// Interrupt 5
    Uart0 = 0x4000_c000,
    /// Interrupt 6
    Uart1 = 0x4000_d000,
    /// Interrupt 33
    Uart2 = 0x4000_e000,
}
