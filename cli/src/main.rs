//! flyrpc
fn main() {}
