//! A warm round trip allocates nothing with the growable call table either

use flyrpc_core::{Call, Connection, Incoming, Instant, Limits, Reply, Table, What, fly::Fly};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

type Conn = Connection<Fly, Table<u32>>;

/// A request there and its response back; everything goes through `up` and `down`
fn round(client: &mut Conn, server: &mut Conn, tag: u32, up: &mut Vec<u8>, down: &mut Vec<u8>) {
    let now = Instant::from_micros(u64::from(tag));
    up.clear();
    down.clear();
    let call = client.call(now, Call::new("echo", b"sixteen bytes ok"), tag, up);
    assert!(call.is_ok());
    let step = server.handle_input(now, up).expect("a good packet");
    let What::Incoming(Incoming::Request { body, token, .. }) = step.what else { panic!("no request") };
    let replied = server.reply(token, Reply::ok(body.bytes()), down);
    assert!(replied.is_ok());
    let step = client.handle_input(now, down).expect("a good packet");
    let What::Incoming(Incoming::Reply { tag: back, body, .. }) = step.what else { panic!("no reply") };
    assert_eq!((back, body.bytes()), (tag, b"sixteen bytes ok".as_slice()));
    assert!(client.poll_event().is_none() && server.poll_event().is_none());
    assert!(client.poll_timeout().is_none() && server.poll_timeout().is_none());
}

/// One test in this binary: whatever else ran beside it would be counted
#[test]
fn ten_thousand_warm_round_trips_allocate_nothing() {
    let mut client = Conn::new(Fly::default(), Limits::new());
    let mut server = Conn::new(Fly::default(), Limits::new());
    let (mut up, mut down) = (Vec::with_capacity(256), Vec::with_capacity(256));
    let _profiler = dhat::Profiler::builder().testing().build();
    round(&mut client, &mut server, 0, &mut up, &mut down);
    let warm = dhat::HeapStats::get();
    assert!(warm.total_blocks > 0, "the first call makes the table: the counter counts");
    for tag in 1..=10_000 {
        round(&mut client, &mut server, tag, &mut up, &mut down);
    }
    // Pings neither. (Calls that are given up may: the table then keeps a list of resting sequences.)
    for tag in 0..1000 {
        up.clear();
        down.clear();
        let now = Instant::from_micros(20_000 + u64::from(tag));
        let ping = client.ping(now, 4, Instant::FAR, tag, &mut up);
        assert!(ping.is_ok() && server.handle_input(now, &up).is_ok());
        assert!(matches!(server.poll_transmit(&mut down), Ok(Some(_))));
        let step = client.handle_input(now, &down).expect("a good packet");
        assert!(matches!(step.what, What::Incoming(Incoming::Pong { tag: back, .. }) if back == tag));
    }
    let after = dhat::HeapStats::get();
    println!(
        "blocks: {} for the first call, {} after",
        warm.total_blocks,
        after.total_blocks - warm.total_blocks
    );
    assert_eq!(after.total_blocks, warm.total_blocks);
}
