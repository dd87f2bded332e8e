use flyrpc_driver::service;

#[service]
trait Associated {
    type Item;
    const MOST: u32;
    fn get(&self) -> u32;
}

#[service]
trait Empty {}

fn main() {}
