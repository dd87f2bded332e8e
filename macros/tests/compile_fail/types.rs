use flyrpc_driver::service;

struct Plain;

#[service]
trait Types {
    fn parameter(&self, first: u32, plain: Plain);
    async fn result(&self) -> Result<Plain, String>;
    async fn error(&self) -> Result<u32, Plain>;
}

fn main() {}
