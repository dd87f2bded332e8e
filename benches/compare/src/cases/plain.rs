//! The least that `serde_json` can do for JSON-RPC: an envelope with raw parameters, and a table of functions

use core::hint::black_box;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Args, texts};

#[derive(Serialize, Deserialize)]
struct Request<'a> {
    jsonrpc: &'a str,
    method: &'a str,
    #[serde(borrow)]
    params: &'a RawValue,
    #[serde(borrow)]
    id: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct Call<'a, P> {
    jsonrpc: &'a str,
    method: &'a str,
    params: P,
    id: u64,
}

#[derive(Serialize)]
struct Answer<'a, T> {
    jsonrpc: &'a str,
    id: &'a RawValue,
    result: T,
}

#[derive(Deserialize)]
struct Answered<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    result: &'a RawValue,
    id: u64,
}

type Method = Box<dyn Fn(&Request<'_>, &mut Vec<u8>)>;

/// From the bytes that were read to those that are written
pub(crate) fn serve(request: &str, answer: &str) -> impl FnMut(u64) + use<> {
    let methods: HashMap<&str, Method> = HashMap::from([
        ("echo", method(|[text]: [String; 1]| text)),
        ("Arith.Multiply", method(|Args { a, b }| a * b)),
    ]);
    let (request, answer) = (request.to_owned(), answer.to_owned());
    let mut out = Vec::with_capacity(1024);
    move |times| {
        for _ in 0..times {
            out.clear();
            let request: Request<'_> =
                serde_json::from_slice(black_box(request.as_bytes())).expect("a request");
            assert_eq!(request.jsonrpc, "2.0");
            methods.get(request.method).expect("a method")(&request, &mut out);
            assert_eq!(black_box(&out), answer.as_bytes());
        }
    }
}

fn method<P, T>(answer: impl Fn(P) -> T + 'static) -> Method
where
    P: for<'de> Deserialize<'de>,
    T: Serialize,
{
    Box::new(move |request, out| {
        let result = answer(serde_json::from_str(request.params.get()).expect("parameters"));
        serde_json::to_writer(out, &Answer { jsonrpc: "2.0", id: request.id, result }).expect("JSON");
    })
}

/// From the parameter to the bytes that are written, and from those that are read to the result
pub(crate) fn call() -> impl FnMut(u64) {
    let (mut out, mut answer) = (Vec::with_capacity(1024), Vec::with_capacity(1024));
    move |times| {
        for id in 0..times {
            out.clear();
            let params = [black_box("0123456789abcdef")];
            let call = Call { jsonrpc: "2.0", method: "echo", params, id };
            serde_json::to_writer(&mut out, &call).expect("JSON");
            texts::answer(texts::last_id(black_box(&out)), &mut answer);
            let answered: Answered<'_> = serde_json::from_slice(black_box(&answer)).expect("an answer");
            assert_eq!((answered.jsonrpc, answered.id), ("2.0", id));
            let text: String = serde_json::from_str(answered.result.get()).expect("a string");
            assert_eq!(black_box(text).len(), 16);
        }
    }
}
