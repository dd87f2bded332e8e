//! A method's parameters

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, Ident, Pat, PatType, Type, TypeReference};

use crate::options::ParameterOptions;

/// A parameter
pub(crate) struct Parameter {
    pub(crate) ident: Ident,
    /// As it is declared
    pub(crate) declared: Type,
    /// What is read from the request: for `&str` a `String`, for `&[T]` a `Vec<T>`, for `&T` a `T`
    pub(crate) owned: TokenStream,
    is_lent: bool,
    /// Its name on the wire
    pub(crate) wire: String,
    /// Is it of the request rather than of the arguments?
    pub(crate) is_context: bool,
}

impl Parameter {
    /// Reads one, and takes its `#[rpc(..)]` away
    pub(crate) fn read(argument: &mut FnArg) -> syn::Result<Option<Self>> {
        let FnArg::Typed(PatType { attrs, pat, ty, .. }) = argument else { return Ok(None) };
        let options = ParameterOptions::take(attrs)?;
        let ident = match &**pat {
            Pat::Ident(pat) if pat.by_ref.is_none() && pat.mutability.is_none() && pat.subpat.is_none() => {
                pat.ident.clone()
            }
            _ => {
                return Err(syn::Error::new(
                    pat.span(),
                    "a parameter of a service has a plain name, which is its name on the wire",
                ));
            }
        };
        if let Type::ImplTrait(generic) = bare(ty) {
            return Err(syn::Error::new(
                generic.span(),
                "a parameter of a service has one type, not any of a trait",
            ));
        }
        let name = ident.to_string();
        let name = name.strip_prefix("r#").unwrap_or(&name);
        let wire = options.rename.map_or_else(|| name.to_owned(), |rename| rename.value());
        Ok(Some(Self {
            ident,
            declared: (**ty).clone(),
            owned: owned(ty)?,
            is_lent: matches!(bare(ty), Type::Reference(_)),
            wire,
            is_context: options.is_context,
        }))
    }

    /// How the method gets it
    pub(crate) fn handed(&self) -> TokenStream {
        let ident = &self.ident;
        if self.is_lent { quote!(&#ident) } else { quote!(#ident) }
    }
}

/// The type without parentheses, and without the invisible ones that `macro_rules!` puts around what it was given
pub(crate) fn bare(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            _ => return ty,
        }
    }
}

fn owned(ty: &Type) -> syn::Result<TokenStream> {
    let Type::Reference(TypeReference { lifetime, mutability, elem, .. }) = bare(ty) else {
        return Ok(quote!(#ty));
    };
    if let Some(mutability) = mutability {
        let text = "a method of a service can't change what its caller has; take it by value and give the new one back";
        return Err(syn::Error::new(mutability.span(), text));
    }
    if let Some(lifetime) = lifetime {
        let text = "what is lent to a method of a service lives as long as the call; leave the lifetime out";
        return Err(syn::Error::new(lifetime.span(), text));
    }
    Ok(match bare(elem) {
        Type::Path(path) if path.path.is_ident("str") => {
            quote_spanned!(elem.span()=> ::std::string::String)
        }
        Type::Slice(slice) => {
            let item = &slice.elem;
            quote_spanned!(elem.span()=> ::std::vec::Vec<#item>)
        }
        other => quote!(#other),
    })
}
