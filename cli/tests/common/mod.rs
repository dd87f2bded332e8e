//! What tests of the bridge share

pub(crate) mod board;
pub(crate) mod bridge;
pub(crate) mod process;
pub(crate) mod qemu;
