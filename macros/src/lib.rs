//! `#[service]`: typed clients and services of flyrpc from traits
//!
//! Programs don't depend on this crate. Every adapter re-exports the attribute, with feature `service`.

#![forbid(unsafe_code)]

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
#[proc_macro_attribute]
pub fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut parsed = ServiceOptions::default();
    let parser = syn::meta::parser(|meta| parsed.read(&meta));
    parse_macro_input!(options with parser);
    expand(&parsed, item.into()).unwrap_or_else(|error| error.into_compile_error()).into()
}
