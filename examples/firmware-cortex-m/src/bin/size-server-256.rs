//! A server with two endpoints over FlyRPC's own framing, with buffers of 256 bytes, to be measured

#![no_std]
#![no_main]

use flyrpc_embedded::{Plain, Server};
use flyrpc_firmware::board::{Clock, Serial, Uart};
use flyrpc_firmware::size::server;
use panic_halt as _;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut RX: [u8; 256] = [0; 256];
    static mut TX: [u8; 256] = [0; 256];
    let mut uart = Serial::start(Uart::Uart0);
    let Some(device) = cortex_m::Peripherals::take() else { cortex_m::peripheral::SCB::sys_reset() };
    let mut clock = Clock::start(device.SYST);
    let link = Plain::new();
    let mut node = Server::new(link, RX, TX);
    loop {
        let now = clock.now();
        // This port has no errors.
        if let Ok(false) = node.poll_io(&mut uart, now, server) {
            clock.sleep();
        }
    }
}
