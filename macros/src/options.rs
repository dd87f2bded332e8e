//! What may stand in the attributes

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Ident, LitStr, Path, Token};

use crate::names::Case;

/// `#[service(..)]`
#[derive(Default)]
pub(crate) struct ServiceOptions {
    pub(crate) name: Option<LitStr>,
    pub(crate) separator: Option<LitStr>,
    pub(crate) case: Case,
    pub(crate) style: Style,
    pub(crate) root: Option<Path>,
}

/// `#[rpc(..)]` on a method
#[derive(Default)]
pub(crate) struct MethodOptions {
    pub(crate) name: Option<LitStr>,
    pub(crate) rename: Option<LitStr>,
    pub(crate) style: Option<Style>,
    pub(crate) is_notification: bool,
}

/// `#[rpc(..)]` on a parameter
#[derive(Default)]
pub(crate) struct ParameterOptions {
    pub(crate) rename: Option<LitStr>,
    pub(crate) is_context: bool,
}

/// How arguments are sent
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Positional,
    Named,
    Single,
}

impl Style {
    const ALL: [(&str, Self); 3] =
        [("positional", Self::Positional), ("named", Self::Named), ("single", Self::Single)];
}

impl ToTokens for Style {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(match self {
            Self::Positional => quote!(Positional),
            Self::Named => quote!(Named),
            Self::Single => quote!(Single),
        });
    }
}

impl ServiceOptions {
    pub(crate) fn read(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        match key(meta).as_str() {
            "name" => self.name = Some(text(meta)?),
            "rename_all" => self.case = choice(meta, &Case::ALL)?,
            "separator" => self.separator = Some(text(meta)?),
            "params" => self.style = choice(meta, &Style::ALL)?,
            "crate" => self.root = Some(meta.value()?.call(Path::parse_mod_style)?),
            _ => {
                return Err(
                    meta.error("unknown option; there are name, rename_all, separator, params and crate")
                );
            }
        }
        Ok(())
    }
}

impl MethodOptions {
    /// Takes the `#[rpc(..)]` attributes out
    pub(crate) fn take(attributes: &mut Vec<Attribute>) -> syn::Result<Self> {
        let mut options = Self::default();
        take(attributes, |meta| {
            match key(meta).as_str() {
                "name" => options.name = Some(full_name(meta)?),
                "rename" => options.rename = Some(full_name(meta)?),
                "params" => options.style = Some(choice(meta, &Style::ALL)?),
                "notification" => options.is_notification = true,
                "context" => {
                    return Err(
                        meta.error("this belongs before a parameter: #[rpc(context)] context: Context")
                    );
                }
                _ => {
                    return Err(
                        meta.error("unknown option; methods have name, rename, params and notification")
                    );
                }
            }
            Ok(())
        })?;
        match (&options.name, &options.rename) {
            (Some(_), Some(rename)) => {
                Err(syn::Error::new(rename.span(), "`name` is the whole name already"))
            }
            _ => Ok(options),
        }
    }
}

impl ParameterOptions {
    /// Takes the `#[rpc(..)]` attributes out
    pub(crate) fn take(attributes: &mut Vec<Attribute>) -> syn::Result<Self> {
        let mut options = Self::default();
        take(attributes, |meta| {
            match key(meta).as_str() {
                "rename" => options.rename = Some(full_name(meta)?),
                "context" => options.is_context = true,
                _ => return Err(meta.error("unknown option; parameters have rename and context")),
            }
            Ok(())
        })?;
        Ok(options)
    }
}

fn take(
    attributes: &mut Vec<Attribute>,
    mut read: impl FnMut(&ParseNestedMeta<'_>) -> syn::Result<()>,
) -> syn::Result<()> {
    let is_ours = |attribute: &Attribute| attribute.path().is_ident("rpc");
    let result = attributes
        .iter()
        .filter(|attribute| is_ours(attribute))
        .try_for_each(|attribute| attribute.parse_nested_meta(|meta| read(&meta)));
    attributes.retain(|attribute| !is_ours(attribute));
    result
}

/// `crate` is a keyword, and an identifier all the same here
fn key(meta: &ParseNestedMeta<'_>) -> String {
    meta.path.get_ident().map(Ident::to_string).unwrap_or_default()
}

fn text(meta: &ParseNestedMeta<'_>) -> syn::Result<LitStr> {
    meta.value()?.parse()
}

/// A name that is called on the wire
fn full_name(meta: &ParseNestedMeta<'_>) -> syn::Result<LitStr> {
    let name = text(meta)?;
    let value = name.value();
    if value.is_empty() || value.contains('\0') {
        return Err(syn::Error::new(name.span(), "a name is not empty and holds no 0x00"));
    }
    Ok(name)
}

fn choice<T: Copy>(meta: &ParseNestedMeta<'_>, all: &[(&str, T)]) -> syn::Result<T> {
    if !meta.input.peek(Token![=]) {
        let (first, _) = all[0];
        return Err(meta.error(format_args!("a value is missing, such as \"{first}\"")));
    }
    let said = text(meta)?;
    let value = said.value();
    all.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        syn::Error::new(said.span(), format_args!("this is none of {}", names.join(", ")))
    })
}
