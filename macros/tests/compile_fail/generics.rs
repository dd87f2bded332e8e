use flyrpc_driver::service;

#[service]
trait Generic<T> {
    fn get(&self) -> String;
}

#[service]
trait Bounded
where
    Self: Clone,
{
    fn get(&self) -> String;
}

#[service]
trait GenericMethods {
    fn get<T>(&self, value: T) -> String;
    fn bounded(&self) -> String
    where
        Self: Sized;
    fn any(&self, value: impl ToString);
    fn future(&self) -> impl Future<Output = String>;
}

fn main() {}
