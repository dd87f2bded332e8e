//! A FlyRPC peer on a microcontroller
//!
//! | module | what |
//! |---|---|
//! | [`app`] | what the device answers and says of itself; knows no hardware and runs anywhere |
//! | `board` | serial ports, time and sleep of the LM3S6965 |
//! | [`size`] | the least programs that make sense, to be measured |

#![no_std]

pub mod app;
#[cfg(all(feature = "board", target_arch = "arm"))]
pub mod board;
pub mod size;
