//! Compression of a payload, beside what the compressor itself takes

use core::fmt::Write;
use core::hint::black_box;

use flyrpc_core::Limits;
use flyrpc_core::fly::zip::{Unzip, ZipMode, Zipper};
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use crate::Case;

const GROUP: &str = "zip 4 KiB";
const LEN: usize = 4096;
/// The level that [`Zipper`] uses
const LEVEL: u8 = 6;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::memcpy(GROUP, text()),
        Case::new(GROUP, "Zipper", pack).operations(100),
        Case::new(GROUP, "miniz_oxide deflate", deflate).operations(100),
        Case::new(GROUP, "Unzip", open).operations(100),
        Case::new(GROUP, "miniz_oxide inflate", inflate).operations(100),
    ]
}

fn pack() -> impl FnMut(u64) {
    let (text, mut zipper) = (text(), Zipper::new(ZipMode::On));
    move |times| {
        for _ in 0..times {
            let packed = zipper.pack(black_box(b"store"), black_box(&text));
            assert!(packed.zip.payload && !packed.zip.code);
            black_box(packed.payload);
        }
    }
}

fn deflate() -> impl FnMut(u64) {
    let text = text();
    move |times| {
        for _ in 0..times {
            black_box(compress_to_vec(black_box(&text), LEVEL));
        }
    }
}

fn open() -> impl FnMut(u64) {
    let (text, mut zipper, mut unzip) = (text(), Zipper::new(ZipMode::On), Unzip::new());
    let limits = Limits::new();
    let packed = zipper.pack(b"store", &text);
    let (zip, packed) = (packed.zip, packed.payload.to_vec());
    move |times| {
        for _ in 0..times {
            let opened =
                unzip.open(black_box(b"store"), black_box(&packed), zip, black_box(&limits)).expect("sound");
            assert_eq!(opened.payload.len(), LEN);
            black_box(opened);
        }
    }
}

fn inflate() -> impl FnMut(u64) {
    let packed = compress_to_vec(&text(), LEVEL);
    move |times| {
        for _ in 0..times {
            let text = decompress_to_vec_with_limit(black_box(&packed), 16 << 20).expect("sound");
            assert_eq!(text.len(), LEN);
            black_box(text);
        }
    }
}

/// 4 KiB of JSON such as a service of sensors sends it
fn text() -> Vec<u8> {
    let mut text = String::from("[");
    for id in 0_u32.. {
        if text.len() >= LEN {
            break;
        }
        let (room, value, on) = (id * 7 % 12, id * 7919 % 1000, id.is_multiple_of(3));
        let record = write!(text, r#"{{"id":{id},"room":"r{room}","value":{value}.5,"on":{on}}},"#);
        record.expect("a string has room");
    }
    text.truncate(LEN);
    text.into_bytes()
}
