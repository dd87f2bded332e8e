//! A server with two endpoints over frames, with buffers of 80 bytes, to be measured

#![no_std]
#![no_main]

use flyrpc_embedded::{Framed, Server};
use flyrpc_firmware::board::{self, Clock, Serial, Uart};
use flyrpc_firmware::size::server;
use panic_halt as _;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut RX: [u8; 80] = [0; 80];
    static mut TX: [u8; 80] = [0; 80];
    let mut uart = Serial::start(Uart::Uart0);
    let Some(device) = cortex_m::Peripherals::take() else { cortex_m::peripheral::SCB::sys_reset() };
    let mut clock = Clock::start(device.SYST);
    let link = Framed::new(board::session(&mut clock));
    let mut node = Server::new(link, RX, TX);
    loop {
        let now = clock.now();
        // This port has no errors.
        if let Ok(false) = node.poll_io(&mut uart, now, server) {
            clock.sleep();
        }
    }
}
