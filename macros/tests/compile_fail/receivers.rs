use flyrpc_driver::service;

#[service]
trait Receivers {
    fn nobody();
    fn somebody(n: u32);
    fn mutable(&mut self);
    fn owned(self);
    fn boxed(self: Box<Self>);
    async fn shared(self: std::sync::Arc<Self>);
}

fn main() {}
