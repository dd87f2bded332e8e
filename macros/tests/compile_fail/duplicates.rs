use flyrpc_driver::service;

#[service]
trait Duplicates {
    fn get(&self) -> u32;
    #[rpc(rename = "Get")]
    fn fetch(&self) -> u32;
    #[rpc(name = "Duplicates.Get")]
    fn take(&self) -> u32;
    fn both(&self, a: u32, #[rpc(rename = "a")] b: u32);
}

fn main() {}
