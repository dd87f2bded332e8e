//! Where the generated code finds flyrpc

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

/// The crates that have what is needed, the ones that programs depend on first
const CRATES: [&str; 4] = ["flyrpc-tokio", "flyrpc-smol", "flyrpc-blocking", "flyrpc-driver"];

/// The path of the first that the caller's `Cargo.toml` names, under whichever name
pub(crate) fn find() -> syn::Result<TokenStream> {
    for name in CRATES {
        let name = match crate_name(name) {
            // Its tests, examples and doc tests, for it has no services itself
            Ok(FoundCrate::Itself) => name.replace('-', "_"),
            Ok(FoundCrate::Name(name)) => name,
            Err(_) => continue,
        };
        let name = Ident::new(&name, Span::call_site());
        return Ok(quote!(::#name));
    }
    let wanted = CRATES.join(", ");
    let text =
        format!("none of {wanted} is among the dependencies; say where to find it: #[service(crate = path)]");
    Err(syn::Error::new(Span::call_site(), text))
}
