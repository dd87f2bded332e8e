//! What goes over the wire in the cases of JSON-RPC, here and in `benches/compare`

pub(crate) const SERVE_ECHO: &str = "JSON-RPC echo 16 B";
pub(crate) const SERVE_MULTIPLY: &str = "JSON-RPC multiply";
pub(crate) const CALL: &str = "JSON-RPC call 16 B";

pub(crate) const ECHO: &str = r#"{"jsonrpc":"2.0","method":"echo","params":["0123456789abcdef"],"id":1}"#;
pub(crate) const ECHOED: &str = r#"{"jsonrpc":"2.0","id":1,"result":"0123456789abcdef"}"#;
pub(crate) const MULTIPLY: &str =
    r#"{"jsonrpc":"2.0","method":"Arith.Multiply","params":{"A":7,"B":8},"id":1}"#;
pub(crate) const PRODUCT: &str = r#"{"jsonrpc":"2.0","id":1,"result":56}"#;
/// An answer up to its id
const ANSWER: &str = r#"{"jsonrpc":"2.0","result":"0123456789abcdef","id":"#;

/// Makes the answer to a request with this id
pub(crate) fn answer(id: &[u8], answer: &mut Vec<u8>) {
    answer.clear();
    answer.extend_from_slice(ANSWER.as_bytes());
    answer.extend_from_slice(id);
    answer.push(b'}');
}

/// The id of a request whose last member it is
pub(crate) fn last_id(request: &[u8]) -> &[u8] {
    let end = request.trim_ascii_end().len() - 1;
    let digits = request[..end].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    &request[end - digits..end]
}
