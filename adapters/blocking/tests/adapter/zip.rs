//! Compression, as it is on the wire

use flyrpc_blocking::{
    Bytes, Client, Error, Limits, Refusal, RemoteError, Request, UnreadableReply, ZipMode,
};
use flyrpc_core::fly::Zip;
use flyrpc_core::fly::zip::{Unzip, Zipper};
use flyrpc_tests::vectors::packet;

use crate::common::{MESSAGE, Packet, REQUEST, RESPONSE, Raw, SOON, bounded, connect, echo, listen, noise};

/// The flags of a compressed code and a compressed payload
const ZIP_CODE: u8 = 0x08;
const ZIP: u8 = 0x04;

fn text() -> Vec<u8> {
    b"again and ".repeat(1000)
}

fn deflate(payload: &[u8]) -> Vec<u8> {
    let mut zipper = Zipper::new(ZipMode::On).threshold(0);
    zipper.pack(b"", payload).payload.to_vec()
}

fn inflate(packet: &Packet) -> Vec<u8> {
    assert_eq!(packet.flag & ZIP, ZIP, "the payload is not compressed");
    let zip = Zip { code: false, payload: true };
    Unzip::new().open(b"", &packet.payload, zip, &Limits::new()).unwrap().payload.to_vec()
}

#[test]
fn a_client_that_compresses_says_so_on_the_wire() {
    bounded(|| {
        let (mut raw, client) = Raw::with(Client::new().zip(ZipMode::On));
        let call = client.start("echo", text(), SOON).unwrap();
        let request = raw.read();
        assert_eq!((request.flag & !3, request.code.as_str()), (REQUEST | ZIP, "echo"));
        assert!(request.payload.len() < 200 && inflate(&request) == text());
        raw.send(RESPONSE | ZIP, request.seq, "", deflate(&text()));
        assert!(call.wait().unwrap() == text());

        client.send("note", text()).unwrap();
        let note = raw.read();
        assert_eq!(note.flag & !3, MESSAGE | ZIP);
        assert!(inflate(&note) == text());

        // Not worth it: too short, or no shorter for it.
        for payload in [vec![b'a'; 255], noise(5000)] {
            client.send("note", &payload).unwrap();
            raw.expect(MESSAGE, 0, "note", payload);
        }
    });
}

#[test]
fn compression_is_off_unless_it_is_asked_for() {
    bounded(|| {
        let (mut raw, client) = Raw::with(Client::new());
        client.send("note", text()).unwrap();
        raw.expect(MESSAGE, 0, "note", text());

        // A server that understands compression does not therefore use it.
        let server = listen(echo());
        let mut raw = Raw::connect(&server);
        raw.send(REQUEST | ZIP, 1, "echo", deflate(&text()));
        raw.expect(RESPONSE, 1, "", text());
    });
}

#[test]
fn mirror_compresses_once_the_peer_has() {
    bounded(|| {
        let server = listen(echo().zip(ZipMode::Mirror));
        let mut raw = Raw::connect(&server);
        raw.send(REQUEST, 1, "echo", text());
        raw.expect(RESPONSE, 1, "", text());
        raw.send(REQUEST | ZIP, 2, "echo", deflate(&text()));
        let reply = raw.read();
        assert_eq!((reply.flag & !3, reply.seq), (RESPONSE | ZIP, 2));
        assert!(inflate(&reply) == text());
        server.peers()[0].send("note", text()).unwrap();
        assert!(inflate(&raw.read()) == text());

        // Or has said that it can.
        let mut raw = Raw::connect(&server);
        raw.send(REQUEST, 1, "$hello", b"zip=1\n");
        raw.read();
        raw.send(REQUEST, 2, "echo", text());
        assert!(inflate(&raw.read()) == text());
    });
}

#[test]
fn both_ends_may_compress_and_mirror() {
    bounded(|| {
        let code = "a code that is long enough to be compressed, ".repeat(10);
        for (client, server) in [
            (ZipMode::On, ZipMode::Mirror),
            (ZipMode::Mirror, ZipMode::On),
            (ZipMode::Mirror, ZipMode::Mirror),
            (ZipMode::On, ZipMode::On),
            (ZipMode::Off, ZipMode::On),
        ] {
            let server = listen(
                echo()
                    .zip(server)
                    .handle(&code, |payload: Bytes| payload)
                    .handle("back", |request: &Request| request.peer().call("echo", request.payload())),
            );
            let client = Client::new().zip(client).handle("echo", |payload: Bytes| payload);
            let client = connect(client, &server);
            client.hello().unwrap();
            for len in [0, 255, 256, 10_000] {
                let text = &text()[..len];
                for code in ["echo", "back", &code] {
                    assert!(client.call(code, text).unwrap() == text);
                }
            }
        }
    });
}

#[test]
fn a_compressed_code_finds_its_handler() {
    bounded(|| {
        let code = "lamp ".repeat(100);
        let server = listen(echo().handle(&code, || "lit"));
        let mut raw = Raw::connect(&server);
        let mut zipper = Zipper::new(ZipMode::On);
        let packed = zipper.pack(code.as_bytes(), b"");
        assert!(packed.zip.code);
        raw.write(packet(REQUEST | ZIP_CODE, 1, packed.code, b""));
        raw.expect(RESPONSE, 1, "", b"lit");
    });
}

#[test]
fn what_does_not_inflate_fails_alone() {
    bounded(|| {
        let server = listen(echo().limits(Limits::new().max_payload(4000)));
        let mut raw = Raw::connect(&server);
        raw.send(REQUEST | ZIP, 1, "echo", b"\xff\xff not deflate");
        raw.expect(RESPONSE, 1, "BAD_ZIP", b"");
        raw.send(MESSAGE | ZIP, 0, "echo", b"\xff\xff not deflate");
        raw.send(REQUEST | ZIP_CODE, 2, "not cobs and deflate", b"");
        raw.expect(RESPONSE, 2, "BAD_ZIP", b"");
        // Small on the wire only.
        raw.send(REQUEST | ZIP, 3, "echo", deflate(&vec![0; 1 << 20]));
        raw.expect(RESPONSE, 3, "TOO_LARGE", b"");
        raw.expect_alive();

        let (mut raw, client) = Raw::with(Client::new());
        let call = client.start("x", (), SOON).unwrap();
        let seq = raw.read().seq;
        raw.send(RESPONSE | ZIP, seq, "", b"\xff\xff not deflate");
        assert!(matches!(call.wait(), Err(Error::UnreadableReply(UnreadableReply::Zip(_)))));
        raw.expect_alive();
    });
}

#[test]
fn an_error_is_an_error_also_where_answers_are_compressed() {
    bounded(|| {
        let details = text();
        let told = details.clone();
        let server = listen(
            echo().zip(ZipMode::On).handle("fail", move || RemoteError::new("NO").details(details.clone())),
        );
        let client = connect(Client::new().zip(ZipMode::On), &server);
        assert!(client.call("fail", text()) == Err(RemoteError::new("NO").details(told).into()));
    });
}

/// What the peer takes is counted as it was before it is compressed: the peer counts it so, too
#[test]
fn compression_lets_nothing_through_that_the_peer_does_not_take() {
    bounded(|| {
        let server = listen(echo().limits(Limits::new().max_payload(1000)));
        let client = connect(Client::new().zip(ZipMode::On), &server);
        client.hello().unwrap();
        let refused = Error::Refused(Refusal::TooLarge { len: 2000, limit: 1000 });
        assert_eq!(client.call("echo", &[b'a'; 2000]), Err(refused.clone()));
        assert_eq!(client.send("echo", &[b'a'; 2000]), Err(refused));
        assert_eq!(client.call("echo", &[b'a'; 1000]), Ok(vec![b'a'; 1000].into()));

        let server = listen(echo().handle("fill", || vec![b'a'; 2000]).zip(ZipMode::On));
        let client = connect(Client::new().limits(Limits::new().max_payload(1000)), &server);
        client.hello().unwrap();
        assert_eq!(client.call("fill", ""), Err(Error::Remote(RemoteError::new("TOO_LARGE"))));
    });
}
