//! With `heapless` alone, not one byte is allocated from the very first call on

use flyrpc_core::{Call, Connection, Event, Incoming, Instant, Limits, Reply, Slot, What, fly::Fly};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

type Conn = Connection<Fly, heapless::Vec<Slot<u32>, 8>>;
type Buffer = heapless::Vec<u8, 128>;

fn round(client: &mut Conn, server: &mut Conn, tag: u32) {
    let now = Instant::from_micros(u64::from(tag));
    let (mut up, mut down) = (Buffer::new(), Buffer::new());
    let call = client.call(now, Call::new("echo", b"sixteen bytes ok"), tag, &mut up);
    assert!(call.is_ok());
    let step = server.handle_input(now, &up).expect("a good packet");
    let What::Incoming(Incoming::Request { body, token, .. }) = step.what else { panic!("no request") };
    let replied = server.reply(token, Reply::ok(body.bytes()), &mut down);
    assert!(replied.is_ok());
    let step = client.handle_input(now, &down).expect("a good packet");
    assert!(matches!(step.what, What::Incoming(Incoming::Reply { tag: back, .. }) if back == tag));
}

/// Every kind of packet and every end of a call, up to the end of the connection
fn a_whole_life() {
    let mut client = Conn::new(Fly::default(), Limits::new());
    let mut server = Conn::new(Fly::default(), Limits::new());
    for tag in 0..10_000 {
        round(&mut client, &mut server, tag);
    }
    let now = Instant::from_micros(1_000_000);
    let mut wire = Buffer::new();
    assert!(client.notify(now, Call::new("note", b"x"), &mut wire).is_ok());
    assert!(client.ping(now, 8, Instant::FAR, 1, &mut wire).is_ok());
    assert!(client.call(now, Call::new("late", b"").deadline(now), 2, &mut wire).is_ok());
    let mut used = 0;
    while let What::Handled | What::Incoming(_) = {
        let step = server.handle_input(now, &wire[used..]).expect("good packets");
        used += step.consumed;
        step.what
    } {}
    let mut back = Buffer::new();
    assert!(matches!(server.poll_transmit(&mut back), Ok(Some(_))));
    let step = client.handle_input(now, &back).expect("a good packet");
    assert!(matches!(step.what, What::Incoming(Incoming::Pong { tag: 1, len: 8, .. })));
    assert!(matches!(client.poll_event(), Some(Event::TimedOut { tag: 2, .. })));
    client.drain(now, now);
    assert!(matches!(client.poll_event(), Some(Event::Closed { .. })));
    // The bytes of a protocol error, last.
    assert!(server.handle_input(now, &[b'a'; 2000]).is_err());
    assert!(matches!(server.poll_event(), Some(Event::Closed { .. })));
}

/// One test in this binary: whatever else ran beside it would be counted
#[test]
fn a_connection_without_a_heap_allocates_nothing_from_its_first_call_to_its_end() {
    let _profiler = dhat::Profiler::builder().testing().build();
    a_whole_life();
    let stats = dhat::HeapStats::get();
    // The counter does count. (Printing may allocate too: it comes last.)
    drop(core::hint::black_box(vec![0_u8; 100]));
    let counted = dhat::HeapStats::get().total_blocks - stats.total_blocks;
    println!("{} blocks, {} bytes", stats.total_blocks, stats.total_bytes);
    assert_eq!((stats.total_blocks, stats.total_bytes, counted), (0, 0, 1));
}
