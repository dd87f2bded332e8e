//! Packing packets to send

use alloc::boxed::Box;
use alloc::vec::Vec;

use miniz_oxide::DataFormat;
use miniz_oxide::deflate::CompressionLevel;
use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, TDEFLStatus, compress};

use super::super::Zip;
use super::cobs;

/// When to compress towards a peer
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ZipMode {
    /// Never: the peer may be one that carries the flags without doing the work
    #[default]
    Off,
    /// Always, where it gets smaller
    On,
    /// Once a compressed packet has come from the peer, or it said that it can
    Mirror,
}

/// Compresses codes and payloads that are long enough, where that makes them shorter
///
/// Its working memory of about 300 KiB comes with the first packet that is compressed.
#[derive(Default)]
pub struct Zipper {
    mode: ZipMode,
    threshold: usize,
    peer_unzips: bool,
    state: Option<Box<CompressorOxide>>,
    code: Vec<u8>,
    payload: Vec<u8>,
}

/// A packet's code and payload as they are to be sent
#[derive(Clone, Copy)]
pub struct Packed<'a> {
    /// Code
    pub code: &'a [u8],
    /// Payload
    pub payload: &'a [u8],
    /// Which of them are compressed
    pub zip: Zip,
}

impl Zipper {
    /// Parts shorter than this are sent as they are, in bytes
    pub const THRESHOLD: usize = 256;

    /// A packer with the usual threshold
    #[must_use]
    pub const fn new(mode: ZipMode) -> Self {
        Self {
            mode,
            threshold: Self::THRESHOLD,
            peer_unzips: false,
            state: None,
            code: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// The same with another threshold, in bytes
    #[must_use]
    pub const fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// The peer sent a compressed packet, or said that it understands them: [`ZipMode::Mirror`] compresses from now on
    pub const fn peer_unzips(&mut self) {
        self.peer_unzips = true;
    }

    /// Would it try to compress a part of `len` bytes now?
    #[must_use]
    pub const fn wants(&self, len: usize) -> bool {
        len >= self.threshold
            && match self.mode {
                ZipMode::Off => false,
                ZipMode::On => true,
                ZipMode::Mirror => self.peer_unzips,
            }
    }

    /// Packs a code and a payload, each on its own
    pub fn pack<'a>(&'a mut self, code: &'a [u8], payload: &'a [u8]) -> Packed<'a> {
        let zip = Zip {
            // A code with a 0x00 goes on as it is, to be refused when it is encoded.
            code: self.wants(code.len()) && !code.contains(&0) && self.pack_code(code),
            payload: self.wants(payload.len()) && deflate(&mut self.state, payload, &mut self.payload),
        };
        Packed {
            code: if zip.code { &self.code } else { code },
            payload: if zip.payload { &self.payload } else { payload },
            zip,
        }
    }

    /// Gives all memory back, for a connection that has fallen idle
    pub fn release(&mut self) {
        (self.state, self.code, self.payload) = (None, Vec::new(), Vec::new());
    }

    fn pack_code(&mut self, code: &[u8]) -> bool {
        let mut deflated = Vec::new();
        if !deflate(&mut self.state, code, &mut deflated) {
            return false;
        }
        self.code.resize(cobs::encoded_max(deflated.len()), 0);
        let len = cobs::encode(&deflated, &mut self.code).unwrap_or(usize::MAX);
        self.code.truncate(len);
        len < code.len()
    }
}

impl core::fmt::Debug for Zipper {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Zipper")
            .field("mode", &self.mode)
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}

/// Says how long the payload is, never what is in it (P22)
impl core::fmt::Debug for Packed<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let payload = format_args!("{} bytes", self.payload.len());
        f.debug_struct("Packed").field("payload", &payload).field("zip", &self.zip).finish_non_exhaustive()
    }
}

/// Deflates into `out`; false when that is not shorter
fn deflate(state: &mut Option<Box<CompressorOxide>>, input: &[u8], out: &mut Vec<u8>) -> bool {
    let state = state.get_or_insert_with(|| {
        Box::new(CompressorOxide::with_format_and_level(DataFormat::Raw, CompressionLevel::DefaultLevel))
    });
    state.reset();
    // The room it has is the length it must stay below.
    out.clear();
    out.resize(input.len().saturating_sub(1), 0);
    let (status, _, written) = compress(state, input, out, TDEFLFlush::Finish);
    out.truncate(written);
    status == TDEFLStatus::Done
}
