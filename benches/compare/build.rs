//! Stubs for tonic of a service with one method, without protoc

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let message = "crate::with_tonic::Message";
    let echo = Method::builder()
        .name("echo")
        .route_name("Echo")
        .input_type(message)
        .output_type(message)
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let service = Service::builder().package("echo").name("Echo").method(echo).build();
    Builder::new().compile(&[service]);
}
