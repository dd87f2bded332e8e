use flyrpc_driver::service;

#[service]
struct Arith;

#[service]
impl Arith {}

fn main() {}
