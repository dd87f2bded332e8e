//! Packets over a serial line: frames that are found again after noise, and ends that notice each other's restarts
//!
//! A stream socket loses nothing and ends; a serial line (UART, RS-232, USB CDC) loses bytes, makes some up, and has no end.
//! [`Line`] is one end of such a line: it makes a frame of each packet and finds packets in what comes. A damaged frame is
//! dropped, and the one after it is found. The owner moves the bytes, and hands the packets to its
//! [`Connection`](crate::Connection) or takes them from there.
//!
//! # The frame
//!
//! | part | bytes |
//! |---|---|
//! | delimiter | `0x00` |
//! | in COBS, so that it holds no `0x00`: | |
//! | - `from`, the sender's session, not 0 | 2, big-endian |
//! | - `to`, the session that the sender has last heard from the other end, or 0 | 2, big-endian |
//! | - the packet; none in an *announcement* | any number |
//! | - CRC-32 (ISO-HDLC, as in Ethernet and zip) of the three above | 4, big-endian |
//! | delimiter | `0x00` |
//!
//! The delimiter in front makes noise on an idle line a frame of its own, so it costs none. What lies between two delimiters
//! may be nothing.
//!
//! # Sessions
//!
//! Each start of an end has a session of its own. A frame from another session than before says that the other end has
//! restarted, and has forgotten every call. A frame to another session was meant for an earlier life: it is dropped, so an
//! answer to a call of then is never taken for one to a call of now. `to` is 0 only until the other end is heard, and then a
//! packet can't be an answer: it is taken.
//!
//! Who gets a frame that is not to its session, owes the other end a frame that says which it is:
//! [`Line::owes_announcement`]. So a restart is noticed with the first frame in either direction.
//!
//! # An owner's loop
//!
//! ```
//! use core::num::NonZeroU16;
//! use flyrpc_core::serial::{Line, What};
//!
//! // The sender: room in front for what comes before the packet, then the frame in place.
//! let mut near = Line::new(NonZeroU16::new(7).unwrap_or(NonZeroU16::MIN));
//! let mut memory = [0; Line::frame_max(5)];
//! let lead = Line::lead(5);
//! memory[lead..lead + 5].copy_from_slice(b"hello");
//! let len = near.seal(&mut memory, 5).unwrap_or_default();
//!
//! // The receiver: `data` is all that has come and was not dropped yet.
//! let mut far = Line::new(NonZeroU16::MIN);
//! let mut data = memory[..len].to_vec();
//! loop {
//!     let found = far.receive(&mut data);
//!     match found.what {
//!         What::Packet { start, end } => assert_eq!(data[start..end], *b"hello"),
//!         What::Nothing => {}
//!         What::NeedMore => break, // and far.overrun() if there is no room for more
//!     }
//!     data.drain(..found.consumed);
//! }
//! assert_eq!(far.peer(), Some(near.session()));
//! assert!(far.owes_announcement(), "the sender does not know the receiver yet");
//! ```
//!
//! A line joins two ends. It is no bus: three ends would take each other's frames for restarts.

mod frame;
mod line;
#[cfg(test)]
mod tests;

pub use frame::{Frame, open};
pub use line::{Found, Line, LineStats, What};
