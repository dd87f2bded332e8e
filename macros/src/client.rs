//! The typed client

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};

use crate::expand::{Service, place};
use crate::method::Method;

/// The client's own methods, which those of the trait must not be called like
pub(crate) const OWN: [&str; 4] = ["new", "named", "within", "peer"];

/// The type, and its methods
pub(crate) fn write(service: &Service) -> (TokenStream, TokenStream) {
    let Service { vis, ident, client, root, name, separator, .. } = service;
    let about = format!("Calls [`{ident}`] at the other end of a connection");
    let about_new = format!("Of the service `{name}` at the other end of `peer`'s connection");
    let methods = service.methods.iter().enumerate().map(|(at, method)| client_method(service, at, method));
    let definition = quote! {
        #[doc = #about]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #vis struct #client<P>(#root::__service::ClientCore<P>);
    };
    let methods = quote! {
        #[allow(dead_code)]
        impl<P> #client<P> {
            #[doc = #about_new]
            #[must_use]
            #vis const fn new(peer: P) -> Self {
                Self(__flyrpc::ClientCore::new(peer))
            }

            /// The same of a service that was registered under another name
            #[must_use]
            #vis fn named(peer: P, name: &str) -> Self {
                Self(__flyrpc::ClientCore::named(peer, name, #separator, __METHODS))
            }

            /// The same with a time for each call, instead of the connection's
            #[must_use]
            #vis fn within(self, timeout: ::core::time::Duration) -> Self {
                Self(self.0.within(timeout))
            }

            /// Who is called
            #vis const fn peer(&self) -> &P {
                self.0.peer()
            }
        }

        #[allow(dead_code)]
        impl<P: __flyrpc::Calls> #client<P> {
            #(#methods)*
        }
    };
    (definition, methods)
}

fn client_method(service: &Service, at: usize, method: &Method) -> TokenStream {
    let vis = &service.vis;
    let Method { ident, attributes, result, .. } = method;
    let about = (!attributes.iter().any(|attribute| attribute.path().is_ident("doc"))).then(|| {
        let about = format!("`{}`", service.code(method));
        quote!(#[doc = #about])
    });
    let names: Vec<_> = method.arguments().map(|parameter| &parameter.ident).collect();
    let types = method.arguments().map(|parameter| &parameter.declared);
    let value = &result.value;
    let (output, call) = if method.is_notification {
        (quote!(P::Sending<'_>), "notify")
    } else {
        (quote_spanned!(place(value)=> P::Call<'_, #value>), "call")
    };
    let call = Ident::new(call, place(ident));
    let body = quote_spanned!(place(ident)=> self.0.#call(__METHODS, #at, &(#(&#names,)*)));
    quote! {
        #about
        #(#attributes)*
        #vis fn #ident(&self, #(#names: #types),*) -> #output {
            #body
        }
    }
}
