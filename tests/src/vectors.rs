//! Bytes and exchanges recorded from the real programs
//!
//! They are read from `shared/vectors` beside the repository where that is at hand, which may have more of them, else
//! from the copy under `tests/vectors`; its README says where they come from.

use std::path::{Path, PathBuf};

use flyrpc_core::fly::{Flag, RawPacket};
use serde::Deserialize;

/// The cases of one file, named as `flyrpc/packets.json`: the original's where it is at hand, else the copy's
///
/// # Panics
/// When the file is not there or not what it should be.
#[must_use]
pub fn load(file: &str) -> Vec<serde_json::Value> {
    let original = original().join(file);
    if original.is_file() { read(&original) } else { load_copy(file) }
}

/// The cases of one file of the copy
///
/// # Panics
/// When the file is not there or not what it should be.
#[must_use]
pub fn load_copy(file: &str) -> Vec<serde_json::Value> {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file))
}

/// Where the originals are, if they are at hand
#[must_use]
pub fn original() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors")
}

fn read(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Bytes in the vectors' notation: `hex`, `repeat` and `count`, or `parts`
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Bytes {
    /// Lower-case hex
    Hex {
        /// The digits
        hex: String,
    },
    /// One byte, many times
    Repeat {
        /// The byte
        repeat: u8,
        /// How often
        count: usize,
    },
    /// One after the other
    Parts {
        /// The parts
        parts: Vec<Self>,
    },
}

impl Bytes {
    /// The bytes
    ///
    /// # Panics
    /// When the hex is none.
    #[must_use]
    pub fn get(&self) -> Vec<u8> {
        match self {
            Self::Hex { hex } => unhex(hex),
            Self::Repeat { repeat, count } => vec![*repeat; *count],
            Self::Parts { parts } => parts.iter().flat_map(Self::get).collect(),
        }
    }

    /// The bytes that stand in a JSON value beside other members
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn of(value: &serde_json::Value) -> Vec<u8> {
        let bytes: Self =
            serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"));
        bytes.get()
    }
}

/// Bytes of hex digits
///
/// # Panics
/// When they are none.
#[must_use]
pub fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "odd hex: {hex}");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or_else(|error| panic!("{hex}: {error}")))
        .collect()
}

/// A FlyRPC packet as it is on the wire
#[must_use]
pub fn packet(flag: u8, sequence: u16, code: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut wire = Vec::new();
    let (code, payload) = (code.as_ref(), payload.as_ref());
    let written = RawPacket { flag: Flag(flag), sequence, code, payload }.encode(&mut wire);
    debug_assert!(written.is_ok(), "a vector always has room");
    wire
}
