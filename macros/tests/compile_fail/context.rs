use flyrpc_driver::service;

use flyrpc_driver::{Peer, Router};

#[service]
trait Who {
    fn who(&self, #[rpc(context)] context: u32) -> u32;
}

struct Nobody;

impl Who for Nobody {
    fn who(&self, context: u32) -> u32 {
        context
    }
}

fn router() -> Router<Peer> {
    Router::new().register(WhoServer::new(Nobody)).unwrap()
}

fn main() {}
