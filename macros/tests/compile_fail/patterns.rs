use flyrpc_driver::service;

#[service]
trait Patterns {
    fn tuple(&self, (a, b): (u32, u32));
    fn nameless(&self, _: u32);
}

fn main() {}
