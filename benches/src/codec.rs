//! One packet written into a reused buffer and read from it again

use core::hint::black_box;

use flyrpc_core::fly::{Flag, Fly, RawPacket};
use flyrpc_core::{Call, Decoded, Dialect, Limits, Message};
use serde::{Deserialize, Serialize, Serializer};

use crate::{Case, Target, payload};

const CODE: &[u8] = b"echo1";

pub(crate) fn cases() -> Vec<Case> {
    [("codec 32 B", 32, Target::Instructions(250)), ("codec 4 KiB", 4096, Target::Memcpy(1.5))]
        .into_iter()
        .flat_map(|(group, len, target)| {
            [
                Case::memcpy(group, payload(len)),
                Case::new(group, "RawPacket", move || raw_packet(len)).target(target),
                Case::new(group, "Fly", move || fly(len)).target(target),
                Case::new(group, "postcard", move || postcard(len)),
            ]
        })
        .collect()
}

fn raw_packet(len: usize) -> impl FnMut(u64) {
    let (payload, mut out) = (payload(len), Vec::with_capacity(2 * len + 64));
    move |times| {
        for sequence in 0..times {
            out.clear();
            let packet = RawPacket {
                flag: Flag::REQUEST,
                sequence: sequence as u16,
                code: black_box(CODE),
                payload: black_box(&payload),
            };
            packet.encode(&mut out).expect("a vector has room");
            let (back, used) =
                RawPacket::decode(black_box(&out), 1024, 16 << 20).expect("sound").expect("whole");
            assert_eq!((back.sequence, used), (sequence as u16, out.len()));
            black_box(back);
        }
    }
}

fn fly(len: usize) -> impl FnMut(u64) {
    let (payload, mut out) = (payload(len), Vec::with_capacity(2 * len + 64));
    let (mut dialect, limits) = (Fly::default(), Limits::new());
    move |times| {
        for sequence in 0..times {
            out.clear();
            let call = Call::new(black_box(CODE), black_box(&payload));
            dialect
                .encode_call(sequence as u32 & 0xffff, &call, black_box(&limits), &mut out)
                .expect("not refused");
            let decoded = dialect.decode(black_box(&out), black_box(&limits)).expect("sound");
            let Decoded::Message { consumed, message: Message::Request { key, method, body, meta } } =
                decoded
            else {
                panic!("not a whole request");
            };
            assert_eq!((key, consumed), (sequence as u16, out.len()));
            black_box((method, body, meta));
        }
    }
}

#[derive(Serialize, Deserialize)]
struct PostcardMessage<'a> {
    header: PostcardHeader,
    #[serde(serialize_with = "as_bytes")]
    payload: &'a [u8],
}

#[derive(Serialize, Deserialize)]
struct PostcardHeader {
    key: [u8; 8],
    seq: u32,
}

/// A slice would be serialized element by element
fn as_bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

fn postcard(len: usize) -> impl FnMut(u64) {
    let (payload, mut out) = (payload(len), vec![0; 2 * len + 64]);
    move |times| {
        for sequence in 0..times {
            let header = PostcardHeader { key: *black_box(b"echo1key"), seq: sequence as u32 };
            let message = PostcardMessage { header, payload: black_box(&payload) };
            let written = postcard::to_slice(&message, &mut out).expect("room");
            let back: PostcardMessage<'_> = postcard::from_bytes(black_box(written)).expect("sound");
            assert_eq!(back.header.seq, sequence as u32);
            black_box((back.header.key, back.payload));
        }
    }
}
