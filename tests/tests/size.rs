//! What a connection costs in memory, with its call table in it

use flyrpc_core::{Connection, Slot, fly::Fly};

type Connection8 = Connection<Fly, heapless::Vec<Slot<u32>, 8>>;

#[test]
fn a_connection_with_eight_slots_takes_at_most_512_bytes() {
    println!("Connection with 8 slots: {} bytes", size_of::<Connection8>());
    println!("each slot with a u32 as tag: {} bytes", size_of::<Slot<u32>>());
    assert!(size_of::<Connection8>() <= 512);
}

#[test]
fn an_idle_connection_with_a_growable_table_takes_less_than_512_bytes_and_no_heap() {
    type Growable = Connection<Fly, flyrpc_core::Table<u32>>;
    println!("Connection with a growable table: {} bytes", size_of::<Growable>());
    assert!(size_of::<Growable>() < 512);
}
