use flyrpc_driver::service;

#[service]
trait Methods {
    unsafe fn danger(&self);
    extern "C" fn foreign(&self);
    #[cfg(feature = "other")]
    fn sometimes(&self);
    #[rpc(notification)]
    fn told(&self) -> u32;
    #[rpc(params = "single")]
    fn single(&self, a: u32, b: u32);
    fn many(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8);
    fn within(&self);
    fn result(&self) -> std::fmt::Result;
}

fn main() {}
