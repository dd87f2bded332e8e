//! P22: no payload bytes in texts

use core::fmt::Debug;

use flyrpc_core::fly::zip::{Unzip, ZipMode, Zipper};
use flyrpc_core::fly::{Flag, Fly, RawPacket, Zip};
use flyrpc_core::{Body, Call, Connection, Limits, Oversize, Reply, Table};

use crate::{REQUEST, RESPONSE, at};
use flyrpc_tests::vectors::packet;

const SECRET: &str = "secret";

fn holds_nothing(what: &(impl Debug + ?Sized)) {
    let text = format!("{what:?} {what:#?}");
    let numbers = SECRET.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    assert!(!text.contains(SECRET) && !text.contains(&numbers) && !text.contains("115,\n"), "{text}");
    assert!(text.contains("bytes"), "it says how many there are: {text}");
}

#[test]
fn p22_what_is_received_shows_no_payload() {
    let limits = Limits::new().max_payload(6).oversize(Oversize::Stream);
    let mut conn: Connection<Fly, Table<u32>> = Connection::new(Fly::default(), limits);
    conn.call(at(0), Call::new("x", ""), 1, &mut Vec::new()).unwrap();
    for wire in
        [packet(REQUEST, 1, "code", SECRET), packet(0, 0, "code", SECRET), packet(RESPONSE, 1, "", SECRET)]
    {
        holds_nothing(&conn.handle_input(at(0), &wire).unwrap().what);
    }
    let long = packet(0, 0, "code", "secret secret");
    let head = long.len() - 13;
    let _ = conn.handle_input(at(0), &long[..head]).unwrap();
    holds_nothing(&conn.handle_input(at(0), &long[head..]).unwrap().what);
}

#[test]
fn p22_what_is_sent_shows_no_payload() {
    holds_nothing(&Body::Whole(SECRET.as_bytes()));
    holds_nothing(&Call::<Zip>::new("code", SECRET));
    holds_nothing(&Reply::<Zip>::ok(SECRET));
    holds_nothing(&Reply::<Zip>::error("CODE", SECRET));
    holds_nothing(&RawPacket { flag: Flag::MESSAGE, sequence: 0, code: b"code", payload: SECRET.as_bytes() });
    holds_nothing(&Zipper::new(ZipMode::On).pack(b"code", SECRET.as_bytes()));
    holds_nothing(&Unzip::new().open(b"code", SECRET.as_bytes(), Zip::NONE, &Limits::new()).unwrap());
}
