//! The device: the application on two lines at once
//!
//! The first serial port speaks frames, which find their way again after noise; the second FlyRPC's own framing; the
//! third is a log.

#![no_std]
#![no_main]

use core::fmt::Write;
use core::panic::PanicInfo;

use cortex_m::peripheral::SCB;
use flyrpc_embedded::{Calls, Framed, Link, Node, Plain, Raw};
use flyrpc_firmware::app::{App, CALLS, Hardware, Tag};
use flyrpc_firmware::board::{self, Clock, Serial, Uart};

/// The longest payload is some 50 bytes shorter.
const BUFFER: usize = 256;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut FRAMED: [[u8; BUFFER]; 2] = [[0; BUFFER]; 2];
    static mut PLAIN: [[u8; BUFFER]; 2] = [[0; BUFFER]; 2];
    let Some(device) = cortex_m::Peripherals::take() else { SCB::sys_reset() };
    let mut log = Serial::start(Uart::Uart2);
    let mut clock = Clock::start(device.SYST);
    let session = board::session(&mut clock);

    let [rx, tx] = FRAMED;
    let mut framed = Device::new(Framed::new(session), rx, tx, Uart::Uart0);
    let [rx, tx] = PLAIN;
    let mut plain = Device::new(Plain::new(), rx, tx, Uart::Uart1);
    // The log has no errors. From here on nothing is lost that comes.
    let _ = writeln!(log, "start, session {session:04x}");
    loop {
        let moved = [framed.turn(&mut clock), plain.turn(&mut clock)];
        if moved == [false; 2] {
            clock.sleep();
        }
    }
}

/// The application on one line
struct Device<L: Link> {
    uart: Serial,
    node: Node<'static, L, Calls<Tag, CALLS>, Raw>,
    app: App<Light>,
}

impl<L: Link> Device<L> {
    fn new(link: L, rx: &'static mut [u8; BUFFER], tx: &'static mut [u8; BUFFER], uart: Uart) -> Self {
        Self { uart: Serial::start(uart), node: Node::new(link, rx, tx), app: App::new(Light) }
    }

    /// One turn of the loop; true if another one is worth it
    fn turn(&mut self, clock: &mut Clock) -> bool {
        let Self { uart, node, app } = self;
        let moved = node.poll_io(uart, clock.now(), |host, event| app.handle(host, event));
        app.tick(node.peer(clock.now()));
        // This port has no errors.
        moved != Ok(false) || !node.unsent().is_empty()
    }
}

/// This board's light is on another bus; the log would say when it is switched
struct Light;

impl Hardware for Light {
    fn set_led(&mut self, _: bool) {}

    fn reset(&mut self) {
        SCB::sys_reset()
    }
}

/// What must not happen is told, and the device starts anew; the other end notices
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut log = Serial::start(Uart::Uart2);
    let _ = writeln!(log, "{info}");
    SCB::sys_reset()
}
