//! A serial port without interrupt handlers: a PL011 and its queues of 16 bytes

use core::convert::Infallible;

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};

use super::registers::{Register, Uart};

const DATA: usize = 0x00;
const FLAGS: usize = 0x18;
const LINE_CONTROL: usize = 0x2c;
const CONTROL: usize = 0x30;
const INTERRUPT_MASK: usize = 0x38;
const INTERRUPT_CLEAR: usize = 0x44;

const NOTHING_RECEIVED: u32 = 1 << 4;
const TRANSMITTER_FULL: u32 = 1 << 5;

/// A serial port: 8 data bits, no parity, one stop bit; the rate is the emulator's, which has none
#[derive(Debug)]
pub struct Serial {
    uart: Uart,
}

impl Serial {
    /// Switches the port on; what came before is forgotten
    #[must_use]
    pub fn start(uart: Uart) -> Self {
        let serial = Self { uart };
        serial.register(CONTROL).write(0);
        // Eight bits, with queues; interrupts for bytes that came, to end a `wfi`.
        serial.register(LINE_CONTROL).write(0x70);
        serial.register(INTERRUPT_MASK).write(0x50);
        serial.register(INTERRUPT_CLEAR).write(0x7ff);
        serial.register(CONTROL).write(0x301);
        serial
    }

    /// The next byte, if one has come
    pub fn take(&mut self) -> Option<u8> {
        self.can_read().then(|| self.register(DATA).read() as u8)
    }

    /// Waits until there is room, then hands a byte over
    pub fn put(&mut self, byte: u8) {
        while !self.can_write() {}
        self.register(DATA).write(u32::from(byte));
    }

    fn can_read(&self) -> bool {
        self.register(FLAGS).read() & NOTHING_RECEIVED == 0
    }

    fn can_write(&self) -> bool {
        self.register(FLAGS).read() & TRANSMITTER_FULL == 0
    }

    const fn register(&self, offset: usize) -> Register {
        Register::of_uart(self.uart, offset)
    }
}

impl ErrorType for Serial {
    type Error = Infallible;
}

impl ReadReady for Serial {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.can_read())
    }
}

impl WriteReady for Serial {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.can_write())
    }
}

impl Read for Serial {
    /// Waits for one byte and takes what else is there
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        let mut n = 0;
        for place in buf {
            while n == 0 && !self.can_read() {}
            let Some(byte) = self.take() else { break };
            *place = byte;
            n += 1;
        }
        Ok(n)
    }
}

impl Write for Serial {
    /// Waits until there is room for one byte and writes what else fits
    fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        let mut n = 0;
        for byte in buf {
            if n > 0 && !self.can_write() {
                break;
            }
            self.put(*byte);
            n += 1;
        }
        Ok(n)
    }

    /// Nothing is held back
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl core::fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        text.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}
