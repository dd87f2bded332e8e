//! The receiving end of a serial line, and its frames made in another way

use core::num::NonZeroU16;

use flyrpc_core::fly::zip::{cobs_max, encode_cobs};
use flyrpc_core::serial::{Line, What};

/// A line with a buffer, as its owner has it
#[derive(Clone, Debug)]
pub struct Receiver {
    /// What it tells of
    pub line: Line,
    /// What it found: packets, and `None` where the other end has restarted
    pub found: Vec<Option<Vec<u8>>>,
    data: Vec<u8>,
    capacity: usize,
}

impl Receiver {
    /// An end of session `session` with `capacity` bytes of memory
    ///
    /// # Panics
    /// When `session` is 0.
    #[must_use]
    pub fn new(session: u16, capacity: usize) -> Self {
        let session = NonZeroU16::new(session).expect("a session is not 0");
        Self { line: Line::new(session), found: Vec::new(), data: Vec::new(), capacity }
    }

    /// Takes `bytes`, at most as many at once as there is room for
    ///
    /// # Panics
    /// When what the line says does not fit together.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.capacity - self.data.len();
            if room == 0 {
                self.line.overrun();
                self.data.clear();
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.data.extend(now);
            bytes = later;
            self.take();
        }
    }

    fn take(&mut self) {
        loop {
            let found = self.line.receive(&mut self.data);
            assert!(found.consumed <= self.data.len());
            if found.restarted {
                self.found.push(None);
            }
            match found.what {
                What::Packet { start, end } => {
                    assert!(start < end && end <= found.consumed);
                    self.found.push(Some(self.data[start..end].to_vec()));
                }
                What::Nothing => assert!(found.consumed > 0),
                What::NeedMore => {
                    self.data.drain(..found.consumed);
                    assert!(!self.data.contains(&0), "a delimiter was passed over");
                    return;
                }
            }
            self.data.drain(..found.consumed);
        }
    }

    /// The frame of `packet` that its line makes
    ///
    /// # Panics
    /// When it makes none.
    pub fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut memory = vec![0xa5; Line::frame_max(packet.len()) + 3];
        memory[Line::lead(packet.len())..][..packet.len()].copy_from_slice(packet);
        let len = self.line.seal(&mut memory, packet.len()).expect("there is room");
        assert_eq!(memory[memory.len() - 3..], [0xa5; 3], "written beyond its memory");
        memory.truncate(len);
        memory
    }
}

/// A frame, made with the other COBS of the core and a check bit by bit
///
/// # Panics
/// When the COBS finds no room.
#[must_use]
pub fn frame(from: u16, to: u16, packet: &[u8]) -> Vec<u8> {
    let mut plain = [&from.to_be_bytes()[..], &to.to_be_bytes(), packet].concat();
    plain.extend(crc32(&plain).to_be_bytes());
    let mut frame = vec![0; 1 + cobs_max(plain.len())];
    let len = encode_cobs(&plain, &mut frame[1..]).expect("room for the longest encoding");
    frame.truncate(1 + len);
    frame.push(0);
    frame
}

/// CRC-32/ISO-HDLC
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !sum
}
