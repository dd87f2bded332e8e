//! `#[service]`: typed clients and services of flyrpc from traits
//!
//! Programs don't depend on this crate. Every adapter re-exports the attribute, with feature `service`.

#![forbid(unsafe_code)]
#![expect(clippy::wildcard_enum_match_arm, reason = "Rust's syntax grows; what is not known is refused")]

mod client;
mod expand;
mod method;
mod names;
mod options;
mod parameter;
mod root;
mod server;

use proc_macro::TokenStream;
use syn::parse_macro_input;

use expand::expand;
use options::ServiceOptions;

/// A typed client and a service from a trait
///
/// The trait says what can be called. `ArithServer::new(value)` is the service, of a value that implements the trait `Arith`;
/// a router [registers](https://docs.rs/flyrpc-driver) it. `ArithClient::new(peer)` has the same methods and calls them at the
/// other end of a connection. Both ends may have both, and each protocol carries them.
///
/// ```
/// use flyrpc_driver::{Client, Error, Peer, RemoteError, Router, Server, runtime::Runtime, service};
///
/// /// Sums and products
/// #[service]
/// pub trait Arith {
///     /// a times b
///     async fn multiply(&self, a: i64, b: i64) -> Result<i64, RemoteError>;
///     fn square(&self, n: u32) -> u32;
///     #[rpc(notification)]
///     async fn log(&self, line: &str);
/// }
///
/// struct Calculator;
///
/// impl Arith for Calculator {
///     async fn multiply(&self, a: i64, b: i64) -> Result<i64, RemoteError> {
///         a.checked_mul(b).ok_or_else(|| RemoteError::new("OVERFLOW"))
///     }
///
///     fn square(&self, n: u32) -> u32 {
///         n * n
///     }
///
///     async fn log(&self, line: &str) {
///         eprintln!("{line}");
///     }
/// }
///
/// async fn both_ends<R: Runtime>() -> Result<(), Box<dyn core::error::Error>> {
///     let router = Router::new().register(ArithServer::new(Calculator))?;
///     let server = Server::<R>::new().router(router).listen("127.0.0.1:0").await?;
///
///     let client = Client::<R>::new().connect(server.address()).await?;
///     let arith = ArithClient::new(client.peer());
///     assert_eq!(arith.multiply(6, 7).await, Ok(42)); // "Arith.Multiply", [6,7]
///     assert_eq!(arith.square(9).within(core::time::Duration::from_secs(1)).await?, 81);
///     arith.log("done").await?; // ready when it is encoded; nobody answers
///     Ok(())
/// }
/// ```
///
/// On `flyrpc-tokio` and `flyrpc-smol` a client's method gives a future, `ServiceCall`, which has `within`. On
/// `flyrpc-blocking` it gives the `Result` itself. `client.within(time)` bounds all calls of a client.
///
/// # Methods
///
/// * They take `&self`, for calls run side by side, and up to eight parameters. What is sent is owned, and implements serde's
///   `Serialize` and `Deserialize`; `&str`, `&[T]` and `&T` are lent by the client and lent to the method.
/// * `async fn` is a method whose future is `Send`; a plain `fn` runs where the connection's bytes are read, and should not
///   block, save on `flyrpc-blocking`.
/// * A method gives a value, or a `Result` of it and any error that is `Into<RemoteError>`. The client's gives a
///   `Result<Value, Error>` either way. A type alias is taken for a `Result` if its name is that and the value its first type.
/// * A method with a body is one that implementors need not write.
///
/// # Options
///
/// | for the trait | default | |
/// |---|---|---|
/// | `name = "Arith"` | the trait's | the service's name; if empty, methods go by their own names alone |
/// | `rename_all = "PascalCase"` | this one | how methods are called: this, `"camelCase"` or `"snake_case"` |
/// | `separator = "."` | a dot | between the two |
/// | `params = "positional"` | this one | how arguments are sent: this, `"named"` or `"single"` |
/// | `crate = path` | what `Cargo.toml` names | where `flyrpc-tokio`, `-smol`, `-blocking` or `-driver` is found |
///
/// | for a method: `#[rpc(..)]` | |
/// |---|---|
/// | `name = "arith_divide"` | its whole name |
/// | `rename = "Div"` | its name behind that of the service |
/// | `params = ".."` | as above, for this method |
/// | `notification` | the client sends a message, which is not answered; the result is `()` |
///
/// | for a parameter: `#[rpc(..)]` | |
/// |---|---|
/// | `rename = "type"` | its name on the wire |
/// | `context` | it is not sent: the receiver takes it from the request. It is an adapter's `Context`, `State<T>` or whatever else implements `Argument` and owns what it has |
///
/// ```
/// use flyrpc_driver::{Context, Peer, service};
///
/// #[service(name = "textDocument", rename_all = "camelCase", separator = "/", params = "single")]
/// trait Document {
///     #[rpc(notification)]
///     async fn did_open(&self, text: String); // "textDocument/didOpen"
///     #[rpc(name = "$/whoami", params = "positional")]
///     async fn who(&self, #[rpc(context)] context: &Context<Peer>) -> String; // the client's has no parameter
/// }
/// ```
///
/// # Arguments on the wire
///
/// They and the result are in the connection's format: JSON, unless it was told otherwise.
///
/// | `params` | one argument | several |
/// |---|---|---|
/// | `"positional"` | `[7]` | `[7, 2]` |
/// | `"named"` | `{"a": 7}` | `{"a": 7, "b": 2}` |
/// | `"single"` | `7` | |
///
/// Without parameters nothing is sent. A method takes arguments in any of these forms, whatever its client sends: an array holds
/// them in order, an object by name. An object for a single parameter is the argument itself, as in net/rpc, unless `params` is
/// `"named"` or it can't be read as that. What is an `Option` may be absent. Unknown members are passed over; of two with the
/// same name the last counts. Anything else is answered `BAD_PAYLOAD` (JSON-RPC: -32602). Postcard knows arguments only in
/// order. JSON-RPC allows `"single"` for structs and arrays only.
#[proc_macro_attribute]
pub fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut parsed = ServiceOptions::default();
    let parser = syn::meta::parser(|meta| parsed.read(&meta));
    parse_macro_input!(options with parser);
    expand(&parsed, item.into()).unwrap_or_else(|error| error.into_compile_error()).into()
}
