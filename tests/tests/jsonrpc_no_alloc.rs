//! A warm JSON-RPC round trip allocates nothing

use flyrpc_core::jsonrpc::JsonRpc;
use flyrpc_core::{Call, Connection, Incoming, Instant, Limits, Reply, Table, What};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

type Conn = Connection<JsonRpc, Table<u32>>;

const NOW: Instant = Instant::ZERO;

/// A request there and its answer back; everything goes through `up` and `down`
fn round(client: &mut Conn, server: &mut Conn, tag: u32, up: &mut Vec<u8>, down: &mut Vec<u8>) {
    up.clear();
    down.clear();
    let call = client.call(NOW, Call::new("echo", b"[\"sixteen bytes ok\"]"), tag, up);
    assert!(call.is_ok());
    let step = server.handle_input(NOW, up).expect("a good message");
    let What::Incoming(Incoming::Request { body, token, .. }) = step.what else { panic!("no request") };
    let replied = if tag.is_multiple_of(2) {
        server.reply(token, Reply::ok(body.bytes()), down)
    } else {
        server.reply(token, Reply::error("no such thing", body.bytes()), down)
    };
    assert!(replied.is_ok());
    let step = client.handle_input(NOW, down).expect("a good message");
    let What::Incoming(Incoming::Reply { tag: back, body, .. }) = step.what else { panic!("no reply") };
    assert_eq!((back, body.bytes()), (tag, b"[\"sixteen bytes ok\"]".as_slice()));
}

/// A batch with ids of two lengths, an element that is none, and a notification
fn batch(server: &mut Conn, down: &mut Vec<u8>) {
    const BATCH: &[u8] = br#"[{"jsonrpc":"2.0","method":"m","id":1},{"jsonrpc":"2.0","method":"m",
        "id":"an id that does not fit where short ids are kept"},{},{"jsonrpc":"2.0","method":"n"}]"#;
    down.clear();
    let mut rest = BATCH;
    while !rest.is_empty() {
        let step = server.handle_input(NOW, rest).expect("a good message");
        rest = &rest[step.consumed..];
        if let What::Incoming(Incoming::Request { token, .. }) = step.what {
            assert!(server.reply(token, Reply::ack(), down).is_ok());
        }
    }
    while let Ok(Some(_)) = server.poll_transmit(down) {}
    assert!(down.ends_with(b"]\n"));
}

/// One test in this binary: whatever else ran beside it would be counted
///
/// The harness itself has a second thread, which may allocate a few times at the start; so the best of several windows counts.
#[test]
fn thousands_of_warm_round_trips_allocate_nothing() {
    let mut client = Conn::new(JsonRpc::new(), Limits::new());
    let mut server = Conn::new(JsonRpc::new(), Limits::new());
    let (mut up, mut down) = (Vec::with_capacity(1024), Vec::with_capacity(1024));
    let _profiler = dhat::Profiler::builder().testing().build();
    for tag in 0..4 {
        round(&mut client, &mut server, tag, &mut up, &mut down);
        batch(&mut server, &mut down);
    }
    let mut before = dhat::HeapStats::get().total_blocks;
    assert!(before > 0, "the first call makes the table: the counter counts");
    let windows: Vec<u64> = (0..6)
        .map(|window| {
            for tag in 0..2000 {
                round(&mut client, &mut server, tag, &mut up, &mut down);
                batch(&mut server, &mut down);
                ping(&mut client, &mut server, window, &mut up, &mut down);
            }
            let now = dhat::HeapStats::get().total_blocks;
            now - core::mem::replace(&mut before, now)
        })
        .collect();
    assert!(windows.contains(&0), "blocks in each 2,000 rounds: {windows:?}");
}

fn ping(client: &mut Conn, server: &mut Conn, tag: u32, up: &mut Vec<u8>, down: &mut Vec<u8>) {
    up.clear();
    down.clear();
    assert!(client.ping(NOW, 0, Instant::FAR, tag, up).is_ok());
    assert!(server.handle_input(NOW, up).is_ok());
    assert!(matches!(server.poll_transmit(down), Ok(Some(_))));
    let step = client.handle_input(NOW, down).expect("a good message");
    assert!(matches!(step.what, What::Incoming(Incoming::Pong { tag: back, .. }) if back == tag));
}
