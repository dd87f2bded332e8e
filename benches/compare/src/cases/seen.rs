//! jsonrpsee without its tasks and channels: what its server and its client do to the text of a call
//!
//! Steps and types are those of `jsonrpsee-server` and of the async client of `jsonrpsee-core`, 0.26.

use core::hint::black_box;

use jsonrpsee::core::traits::ToRpcParams;
use jsonrpsee::types::{ErrorObjectOwned, Extensions, Id, Request, Response, ResponseSuccess};
use jsonrpsee::{MethodCallback, RpcModule, rpc_params};
use serde_json::value::RawValue;

use crate::{Args, texts};

/// Longest answer, in bytes
const MOST: usize = 16 << 20;

/// From the bytes that were read to those that are written
pub(crate) fn serve(request: &str, answer: &str) -> impl FnMut(u64) + use<> {
    let mut module = RpcModule::new(());
    module
        .register_method("echo", |params, _, _| -> Result<String, ErrorObjectOwned> { params.one() })
        .expect("a new name");
    module
        .register_method("Arith.Multiply", |params, _, _| -> Result<i64, ErrorObjectOwned> {
            params.parse().map(|Args { a, b }| a * b)
        })
        .expect("a new name");
    let (request, answer) = (request.to_owned(), answer.to_owned());
    move |times| {
        for _ in 0..times {
            let request: Request<'_> =
                serde_json::from_slice(black_box(request.as_bytes())).expect("a request");
            let Some((_, MethodCallback::Sync(method))) = module.method_with_name(&request.method) else {
                panic!("no such method");
            };
            let params = request.params();
            let response = method(request.id.clone(), params, MOST, Extensions::new());
            assert_eq!(black_box(&response).as_json().get(), answer);
        }
    }
}

/// From the parameter to the bytes that are written, and from those that are read to the result
pub(crate) fn call() -> impl FnMut(u64) {
    let mut answer = Vec::with_capacity(1024);
    move |times| {
        for id in 0..times {
            let params = rpc_params![black_box("0123456789abcdef")].to_rpc_params().expect("JSON");
            let request = Request::borrowed("echo", params.as_deref(), Id::Number(id));
            let text = serde_json::to_string(&request).expect("JSON");
            texts::answer(second_id(black_box(&text)), &mut answer);
            let response: Response<'_, Box<RawValue>> =
                serde_json::from_slice(black_box(&answer)).expect("an answer");
            assert_eq!(response.id, Id::Number(id));
            let success = ResponseSuccess::try_from(response).expect("a result");
            let text: String = serde_json::from_str(success.result.get()).expect("a string");
            assert_eq!(black_box(text).len(), 16);
        }
    }
}

/// The id of a request whose second member it is
fn second_id(request: &str) -> &[u8] {
    let digits = request.strip_prefix(r#"{"jsonrpc":"2.0","id":"#).expect("its own form").as_bytes();
    &digits[..digits.iter().take_while(|byte| byte.is_ascii_digit()).count()]
}
