//! The trait, and what comes with it

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Item, ItemTrait, ReturnType, Token, TraitItem, TraitItemFn, TypeParamBound, parse_quote};

use crate::method::Method;
use crate::options::ServiceOptions;
use crate::{client, root, server};

/// All that is known of a service
pub(crate) struct Service {
    pub(crate) vis: syn::Visibility,
    pub(crate) ident: Ident,
    pub(crate) client: Ident,
    pub(crate) server: Ident,
    /// Its name on the wire
    pub(crate) name: String,
    pub(crate) separator: String,
    pub(crate) root: TokenStream,
    pub(crate) methods: Vec<Method>,
}

impl Service {
    /// What a method is called under
    pub(crate) fn code(&self, method: &Method) -> String {
        if method.is_full || self.name.is_empty() {
            method.name.clone()
        } else {
            format!("{}{}{}", self.name, self.separator, method.name)
        }
    }
}

/// The trait, its client and its server
pub(crate) fn expand(options: &ServiceOptions, item: TokenStream) -> syn::Result<TokenStream> {
    let mut item = match syn::parse2::<Item>(item)? {
        Item::Trait(item) => item,
        other => {
            let text = "#[service] stands before a trait, which says what can be called";
            return Err(syn::Error::new(other.span(), text));
        }
    };
    let service = read(options, &mut item)?;
    finish(&mut item)?;
    let table = table(&service);
    let checks = checks(&service);
    let (client, client_methods) = client::write(&service);
    let (server, server_methods) = server::write(&service);
    let root = &service.root;
    Ok(quote! {
        #item
        #client
        #server
        const _: () = {
            use #root::__service as __flyrpc;
            #table
            #checks
            #client_methods
            #server_methods
        };
    })
}

/// Reads the trait and takes the attributes that are ours out of it; all errors at once
fn read(options: &ServiceOptions, item: &mut ItemTrait) -> syn::Result<Service> {
    let mut errors = Errors::default();
    if let Some(token) = &item.unsafety {
        errors.add(token.span(), "a service can't be unsafe: anybody may call it");
    }
    if let Some(token) = &item.modifiers.auto_token {
        errors.add(token.span(), "a service can't be an auto trait");
    }
    if !item.generics.params.is_empty() {
        errors.add(item.generics.span(), "a service can't be generic: the other end must know its types");
    }
    if let Some(bounds) = &item.generics.where_clause {
        errors.add(bounds.span(), "a service can't have bounds; write them as `trait Name: Bound`");
    }
    let mut methods = Vec::new();
    for item in &mut item.items {
        match item {
            TraitItem::Fn(method) => match Method::read(method, options) {
                Ok(method) => methods.push(method),
                Err(error) => errors.push(error),
            },
            TraitItem::Type(ty) => {
                errors.add(ty.span(), "a service has no associated types: the other end must know its types");
            }
            TraitItem::Const(constant) => {
                errors.add(constant.span(), "a service has methods only; a constant belongs outside");
            }
            other => errors.add(other.span(), "a service has methods only"),
        }
    }
    let ident = item.ident.clone();
    if methods.is_empty() && errors.0.is_none() {
        errors.add(ident.span(), "a service needs a method");
    }
    let root = match &options.root {
        Some(path) => Ok(path.to_token_stream()),
        None => root::find(),
    };
    let root = root.unwrap_or_else(|error| {
        errors.push(error);
        TokenStream::new()
    });
    let service = Service {
        vis: item.vis.clone(),
        client: format_ident!("{ident}Client"),
        server: format_ident!("{ident}Server"),
        name: options.name.as_ref().map_or_else(|| ident.to_string(), |name| name.value()),
        separator: options.separator.as_ref().map_or_else(|| ".".to_owned(), |separator| separator.value()),
        ident,
        root,
        methods,
    };
    names(&service, &mut errors);
    errors.into_result()?;
    Ok(service)
}

/// Refuses what would be called the same
fn names(service: &Service, errors: &mut Errors) {
    let mut codes: Vec<String> = Vec::new();
    for method in &service.methods {
        let code = service.code(method);
        if codes.contains(&code) {
            errors.add(method.name_span, &format!("another method is called `{code}` on the wire as well"));
        }
        codes.push(code);
        let name = method.ident.to_string();
        if client::OWN.contains(&name.as_str()) {
            let text = format!(
                "the client has a method `{name}` of its own; call this one another way, and #[rpc(rename = \"{}\")] on the wire",
                method.name
            );
            errors.add(method.ident.span(), &text);
        }
    }
}

/// Makes the trait what implementors see
fn finish(item: &mut ItemTrait) -> syn::Result<()> {
    let bounds = Punctuated::<TypeParamBound, Token![+]>::parse_terminated
        .parse2(quote!(::core::marker::Send + ::core::marker::Sync + 'static))?;
    item.colon_token.get_or_insert_with(Default::default);
    item.supertraits.extend(bounds);
    for item in &mut item.items {
        if let TraitItem::Fn(method) = item {
            desugar(method);
        }
    }
    Ok(())
}

/// `async fn` as a function whose future is `Send`, which handlers need
fn desugar(method: &mut TraitItemFn) {
    if method.sig.asyncness.take().is_none() {
        return;
    }
    let output = match &method.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => quote!(#ty),
    };
    method.sig.output = parse_quote! {
        -> impl ::core::future::Future<Output = #output> + ::core::marker::Send
    };
    if let Some(body) = &method.default {
        method.default = Some(parse_quote!({ async move #body }));
    }
}

/// What both ends know of the methods
fn table(service: &Service) -> TokenStream {
    let rows = service.methods.iter().map(|method| {
        let (name, code, is_full) = (&method.name, service.code(method), method.is_full);
        let params = method.arguments().map(|parameter| &parameter.wire);
        let (style, nothing) = (method.style, method.result.is_nothing);
        quote! {
            __flyrpc::Method {
                name: #name,
                full: #is_full,
                code: #code,
                params: &[#(#params),*],
                style: __flyrpc::Style::#style,
                returns_nothing: #nothing,
            }
        }
    });
    quote!(static __METHODS: &[__flyrpc::Method] = &[#(#rows),*];)
}

/// Lets errors about types point at the types
fn checks(service: &Service) -> TokenStream {
    let checks = service.methods.iter().flat_map(|method| {
        let values = method.arguments().map(|parameter| &parameter.owned).chain([&method.result.value]);
        let values = values.map(|ty| quote_spanned!(place(ty)=> __flyrpc::value::<#ty>();));
        let error =
            method.result.error.iter().map(|ty| quote_spanned!(place(ty)=> __flyrpc::failure::<#ty>();));
        values.chain(error).collect::<Vec<_>>()
    });
    quote!(const _: () = { #(#checks)* };)
}

/// Generated code that is shown where `tokens` are when the compiler refuses it
pub(crate) fn place(tokens: &impl ToTokens) -> Span {
    Span::call_site().located_at(tokens.span())
}

/// Several errors, to be shown together
#[derive(Default)]
struct Errors(Option<syn::Error>);

impl Errors {
    fn add(&mut self, span: Span, text: &str) {
        self.push(syn::Error::new(span, text));
    }

    fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn into_result(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
