//! Arbitrary bytes as compressed codes and payloads

use flyrpc_core::Limits;
use flyrpc_core::fly::Zip;
use flyrpc_core::fly::zip::{
    InflateStream, Unzip, ZipError, ZipMode, Zipper, cobs_max, decode_cobs, encode_cobs, inflate_code,
    inflate_payload,
};

/// Inflated lengths that are allowed
const LIMITS: [usize; 5] = [0, 1, 16, 300, 40_000];

/// Inflates `data` in every way there is, and packs it
///
/// Nothing panics or passes its limit; the ways agree on what the bytes are and on whether they are sound; what is packed opens
/// to the same again.
pub fn zip(data: &[u8]) {
    let mut unzip = Unzip::new();
    for limit in LIMITS {
        payload(data, limit, &mut unzip);
        code(data, limit, &mut unzip);
    }
    cobs(data);
    pack_then_open(data, &mut unzip);
}

fn payload(data: &[u8], limit: usize, unzip: &mut Unzip) {
    // What lies behind the limit must stay as it is.
    let mut memory = vec![0xa5; limit + 8];
    let whole = inflate_payload(data, &mut memory[..limit]).map(|len| memory[..len].to_vec());
    assert_eq!(memory[limit..], [0xa5; 8], "written beyond the limit");
    if let Err(ZipError::TooLarge { limit: named }) = whole {
        assert_eq!(named, limit);
    }
    let limits = Limits::new().max_payload(limit as u32);
    let zip = Zip { code: false, payload: true };
    let opened = unzip.open(b"", data, zip, &limits).map(|opened| opened.payload.to_vec());
    assert_eq!(opened, whole, "slice and vector differ under a limit of {limit}");

    let seed = data.iter().fold(7_usize, |seed, byte| seed.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    for (piece, room) in [(usize::MAX, 50_000), (1, 1 + seed % 97), (1 + seed % 13, 1 + seed % 1000)] {
        let streamed = stream(data, limit, piece, room);
        // A stream that is both too long and corrupt may be given up for either.
        assert_eq!(streamed.clone().ok(), whole.clone().ok(), "pieces of {piece} into {room} bytes differ");
        if let Err(ZipError::TooLarge { limit: named }) = streamed {
            assert_eq!(named, limit);
        }
    }
}

fn stream(data: &[u8], limit: usize, piece: usize, room: usize) -> Result<Vec<u8>, ZipError> {
    let mut inflater = InflateStream::new(limit as u64);
    let mut out = vec![0; room];
    let (mut all, mut idle) = (Vec::new(), 0);
    let mut rest = data;
    loop {
        let step = inflater.push(&rest[..piece.min(rest.len())], &mut out)?;
        assert!(step.read <= rest.len() && step.written <= room);
        rest = &rest[step.read..];
        all.extend(&out[..step.written]);
        assert!(all.len() <= limit, "inflated beyond the limit");
        if step.done && rest.is_empty() {
            return Ok(all);
        }
        if step.read == 0 && step.written == 0 {
            idle += 1;
            assert!(idle < 4 || rest.is_empty(), "input is left and nothing moves");
            if rest.is_empty() {
                // It wants more than there is.
                return Err(ZipError::Corrupt);
            }
        } else {
            idle = 0;
        }
    }
}

fn code(data: &[u8], limit: usize, unzip: &mut Unzip) {
    let limit = limit.min(usize::from(u16::MAX));
    let (mut scratch, mut out) = (vec![0; data.len()], vec![0; limit]);
    let slice = inflate_code(data, &mut scratch, &mut out).map(str::to_owned);
    let limits = Limits::new().max_method(limit as u16);
    let zip = Zip { code: true, payload: false };
    let opened = unzip.open(data, b"", zip, &limits).map(|opened| opened.code.to_owned());
    assert_eq!(opened, slice, "slice and vector differ under a limit of {limit}");
}

fn cobs(data: &[u8]) {
    let mut decoded = vec![0; data.len()];
    if let Some(plain) = decode_cobs(data, &mut decoded) {
        assert!(plain.len() <= data.len());
        let plain = plain.to_vec();
        stuffed(&plain);
    }
    stuffed(data);
}

fn stuffed(plain: &[u8]) {
    let mut code = vec![0; cobs_max(plain.len())];
    let len = encode_cobs(plain, &mut code).expect("room for the longest encoding");
    assert!(!code[..len].contains(&0));
    let mut back = vec![0; plain.len()];
    assert_eq!(decode_cobs(&code[..len], &mut back), Some(plain));
    if let Some(short) = plain.len().checked_sub(1) {
        assert_eq!(decode_cobs(&code[..len], &mut back[..short]), None);
    }
    let mut narrow = vec![0; len - 1];
    assert_eq!(encode_cobs(plain, &mut narrow), None);
}

fn pack_then_open(data: &[u8], unzip: &mut Unzip) {
    let mut zipper = Zipper::new(ZipMode::On).threshold(1);
    let name = String::from_utf8_lossy(data).replace('\0', "-");
    let doubled = [data, data].concat();
    for payload in [data, &doubled] {
        let packed = zipper.pack(name.as_bytes(), payload);
        assert!(packed.code.len() <= name.len() && packed.payload.len() <= payload.len());
        assert_eq!(packed.zip.code, packed.code.len() < name.len(), "only what gets shorter is compressed");
        assert_eq!(packed.zip.payload, packed.payload.len() < payload.len());
        assert!(!packed.zip.code || !packed.code.contains(&0));
        let limits = Limits::new().max_method(u16::MAX);
        if name.len() <= usize::from(u16::MAX) {
            let opened =
                unzip.open(packed.code, packed.payload, packed.zip, &limits).expect("opens what was packed");
            assert_eq!((opened.code, opened.payload), (&name[..], payload));
        }
    }
}
