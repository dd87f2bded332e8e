//! A server with two endpoints: `sum`, which takes two u32 and answers a u64 (both little-endian), and `echo`

use flyrpc_embedded::{Answer, Link, Reply, codes};

/// Answers what comes in
pub fn server<L: Link>(code: &[u8], payload: &[u8], answer: Answer<'_, '_, L>) {
    let sum;
    answer.send(match code {
        b"sum" => match add(payload) {
            Some(of_both) => {
                sum = of_both.to_le_bytes();
                Reply::ok(&sum)
            }
            None => Reply::error(codes::BAD_PAYLOAD, b""),
        },
        b"echo" | b"$ping" => Reply::ok(payload),
        _ => Reply::error(codes::NOT_FOUND, b""),
    });
}

pub(super) fn add(payload: &[u8]) -> Option<u64> {
    let (a, b) = payload.split_first_chunk::<4>()?;
    let b = b.first_chunk::<4>().filter(|_| b.len() == 4)?;
    Some(u64::from(u32::from_le_bytes(*a)) + u64::from(u32::from_le_bytes(*b)))
}
