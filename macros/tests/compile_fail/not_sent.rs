use flyrpc_driver::service;

#[service]
trait Later {
    async fn later(&self);
}

struct Local;

impl Later for Local {
    async fn later(&self) {
        let local = std::rc::Rc::new(1);
        std::future::ready(()).await;
        drop(local);
    }
}

fn main() {}
