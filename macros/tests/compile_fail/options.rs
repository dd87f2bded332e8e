use flyrpc_driver::service;

#[service(nam = "Arith")]
trait UnknownOption {
    fn get(&self) -> u32;
}

#[service(rename_all = "SCREAMING")]
trait UnknownCase {
    fn get(&self) -> u32;
}

#[service(params = named)]
trait NoString {
    fn get(&self) -> u32;
}

#[service(params)]
trait NoValue {
    fn get(&self) -> u32;
}

#[service]
trait UnknownMethodOptions {
    #[rpc(nmae = "get")]
    fn get(&self) -> u32;
    #[rpc(name = "")]
    fn empty(&self) -> u32;
    #[rpc(name = "a", rename = "b")]
    fn both(&self) -> u32;
    #[rpc(context)]
    fn context(&self) -> u32;
    fn parameter(&self, #[rpc(nmae = "n")] n: u32);
}

fn main() {}
