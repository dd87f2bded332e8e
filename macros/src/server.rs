//! The service

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use crate::expand::{Service, place};
use crate::method::Method;

/// The type, and how it becomes a service
pub(crate) fn write(service: &Service) -> (TokenStream, TokenStream) {
    let Service { vis, ident, server, name, separator, .. } = service;
    let about = format!("The service `{name}`, to be registered, of whatever implements [`{ident}`]");
    let bounds = service.methods.iter().flat_map(Method::contexts).map(|parameter| {
        let ty = &parameter.owned;
        quote!(#ty: for<'__r> __flyrpc::Argument<__P, Item<'__r> = #ty>,)
    });
    let methods = service.methods.iter().enumerate().map(|(at, method)| add(service, at, method));
    let definition = quote! {
        #[doc = #about]
        #[derive(::core::fmt::Debug)]
        #vis struct #server<T>(::std::sync::Arc<T>);
    };
    let methods = quote! {
        #[allow(dead_code)]
        impl<T: #ident> #server<T> {
            /// Answers with this
            #[must_use]
            #vis fn new(service: T) -> Self {
                Self(::std::sync::Arc::new(service))
            }

            /// Answers with this, which is shared with others
            #[must_use]
            #vis const fn shared(service: ::std::sync::Arc<T>) -> Self {
                Self(service)
            }
        }

        impl<T> ::core::clone::Clone for #server<T> {
            fn clone(&self) -> Self {
                Self(::std::sync::Arc::clone(&self.0))
            }
        }

        impl<__T, __P> ::core::convert::From<#server<__T>> for __flyrpc::Service<__P>
        where
            __T: #ident,
            __P: __flyrpc::Caller,
            #(#bounds)*
        {
            fn from(__server: #server<__T>) -> Self {
                let __service = <__flyrpc::Service<__P>>::named(#name).separator(#separator);
                #(#methods)*
                __service
            }
        }
    };
    (definition, methods)
}

fn add(service: &Service, at: usize, method: &Method) -> TokenStream {
    let trait_ident = &service.ident;
    let ident = &method.ident;
    let names = method.arguments().map(|parameter| &parameter.ident);
    let types = method.arguments().map(|parameter| &parameter.owned);
    let contexts = method.contexts().map(|parameter| {
        let (name, ty) = (&parameter.ident, &parameter.owned);
        quote!(let #name = <#ty as __flyrpc::Argument<__P>>::take(__request)?;)
    });
    let handed = method.parameters.iter().map(crate::parameter::Parameter::handed);
    let call = quote!(<__T as #trait_ident>::#ident(&__this, #(#handed),*));
    let call = if method.is_async { quote!(#call.await) } else { call };
    let outcome = if method.result.is_result {
        quote_spanned!(place(ident)=> #call.map_err(::core::convert::Into::<__flyrpc::RemoteError>::into))
    } else {
        quote!(::core::result::Result::<_, __flyrpc::RemoteError>::Ok(#call))
    };
    let (register, body) = if method.is_async {
        let body = quote! {
            let __this = ::std::sync::Arc::clone(&__this);
            ::core::result::Result::Ok(async move { #outcome })
        };
        (quote!(later), body)
    } else {
        (quote!(now), outcome)
    };
    quote_spanned! {place(ident)=>
        let __service = {
            let __this = ::std::sync::Arc::clone(&__server.0);
            __flyrpc::#register(
                __service,
                &__METHODS[#at],
                move |__request: &__flyrpc::Request<__P>, (#(#names,)*): (#(#types,)*)| {
                    #(#contexts)*
                    #body
                },
            )
        };
    }
}
