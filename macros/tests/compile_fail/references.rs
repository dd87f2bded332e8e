use flyrpc_driver::service;

#[service]
trait References {
    fn change(&self, list: &mut Vec<u32>);
    fn fixed(&self, text: &'static str);
    fn lent(&self) -> &str;
}

fn main() {}
