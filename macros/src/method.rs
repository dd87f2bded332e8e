//! A method of the trait

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{
    Attribute, FnArg, GenericArgument, PathArguments, ReceiverKind, ReturnType, Safety, Signature,
    TraitItemFn, Type,
};

use crate::names::Case;
use crate::options::{MethodOptions, ServiceOptions, Style};
use crate::parameter::{Parameter, bare};

/// A method
pub(crate) struct Method {
    pub(crate) ident: Ident,
    /// Documentation, and what else its client's method has
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) is_async: bool,
    pub(crate) is_notification: bool,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) result: Outcome,
    pub(crate) style: Style,
    /// Its name on the wire, behind that of the service unless `is_full`
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) is_full: bool,
}

/// What a method gives
pub(crate) struct Outcome {
    /// The value of a success
    pub(crate) value: TokenStream,
    /// Is it a `Result`?
    pub(crate) is_result: bool,
    /// Its error, where that is written down
    pub(crate) error: Option<Type>,
    pub(crate) is_nothing: bool,
}

impl Method {
    /// Reads one, and takes its `#[rpc(..)]` away
    pub(crate) fn read(item: &mut TraitItemFn, service: &ServiceOptions) -> syn::Result<Self> {
        let options = MethodOptions::take(&mut item.attrs)?;
        if let Some(cfg) = item.attrs.iter().find(|attribute| is_cfg(attribute)) {
            return Err(syn::Error::new(
                cfg.span(),
                "a service has all of its methods; put this on the trait",
            ));
        }
        plain(&item.sig)?;
        let mut parameters = Vec::new();
        for argument in &mut item.sig.inputs {
            parameters.extend(Parameter::read(argument)?);
        }
        let result = Outcome::of(&item.sig.output)?;
        let method = Self {
            ident: item.sig.ident.clone(),
            attributes: item.attrs.iter().filter(|attribute| goes_along(attribute)).cloned().collect(),
            is_async: item.sig.asyncness.is_some(),
            is_notification: options.is_notification,
            parameters,
            result,
            style: options.style.unwrap_or(service.style),
            name_span: options
                .name
                .as_ref()
                .or(options.rename.as_ref())
                .map_or_else(|| item.sig.ident.span(), |name| name.span()),
            is_full: options.name.is_some(),
            name: match options.name.or(options.rename) {
                Some(name) => name.value(),
                None => wire_name(&item.sig.ident, service.case),
            },
        };
        method.check(&item.sig)?;
        Ok(method)
    }

    fn check(&self, signature: &Signature) -> syn::Result<()> {
        let count = self.arguments().count();
        if self.is_notification && (!self.result.is_nothing || self.result.is_result) {
            return Err(syn::Error::new(
                signature.output.span(),
                "nobody hears the result of a notification",
            ));
        }
        if self.style == Style::Single && count > 1 {
            let text = format!("params = \"single\" is for methods with one parameter; this has {count}");
            return Err(syn::Error::new(self.ident.span(), text));
        }
        if count > MOST {
            let text = format!("{count} parameters; {MOST} are the most: put them into a struct");
            return Err(syn::Error::new(self.ident.span(), text));
        }
        let mut names: Vec<&str> = Vec::new();
        for parameter in self.arguments() {
            if names.contains(&parameter.wire.as_str()) {
                let text = format!("another parameter is called `{}` as well", parameter.wire);
                return Err(syn::Error::new(parameter.ident.span(), text));
            }
            names.push(&parameter.wire);
        }
        Ok(())
    }

    /// The parameters that are sent
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|parameter| !parameter.is_context)
    }

    /// The parameters that the receiver adds
    pub(crate) fn contexts(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|parameter| parameter.is_context)
    }
}

/// As many parameters as there are tuples for
const MOST: usize = 8;

fn wire_name(ident: &Ident, case: Case) -> String {
    let name = ident.to_string();
    case.of(name.strip_prefix("r#").unwrap_or(&name))
}

fn is_cfg(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr")
}

fn goes_along(attribute: &Attribute) -> bool {
    ["doc", "deprecated"].iter().any(|name| attribute.path().is_ident(name))
}

/// Refuses what can't be called from afar
fn plain(signature: &Signature) -> syn::Result<()> {
    let refuse = |span: Span, text: &str| Err(syn::Error::new(span, text));
    if let Some(constness) = &signature.constness {
        return refuse(constness.span(), "a method of a service can't be const");
    }
    if let Safety::Unsafe(token) = &signature.safety {
        return refuse(token.span(), "a method of a service can't be unsafe: anybody may call it");
    }
    if let Some(abi) = &signature.abi {
        return refuse(abi.span(), "a method of a service can't be extern");
    }
    if !signature.generics.params.is_empty() {
        let text = "a method of a service can't be generic: the other end must know its types";
        return refuse(signature.generics.span(), text);
    }
    if let Some(bounds) = &signature.generics.where_clause {
        return refuse(bounds.span(), "a method of a service can't have bounds");
    }
    let Some(FnArg::Receiver(receiver)) = signature.inputs.first() else {
        return refuse(signature.ident.span(), "a method of a service takes `&self` first");
    };
    match &receiver.kind {
        ReceiverKind::Reference(_, None, None) => Ok(()),
        ReceiverKind::Reference(_, Some(lifetime), None) => {
            refuse(lifetime.span(), "leave the lifetime out: `&self`")
        }
        ReceiverKind::Reference(_, _, Some(_)) => {
            let text =
                "calls run side by side, so a method takes `&self`; what changes belongs behind a lock";
            refuse(receiver.span(), text)
        }
        _ => refuse(receiver.span(), "a service is called again and again, so a method takes `&self`"),
    }
}

impl Outcome {
    fn of(output: &ReturnType) -> syn::Result<Self> {
        let ReturnType::Type(_, ty) = output else { return Ok(Self::plain(quote!(()), true)) };
        let plain = || Self::plain(quote!(#ty), is_unit(ty));
        let path = match bare(ty) {
            Type::ImplTrait(future) => {
                return Err(syn::Error::new(
                    future.span(),
                    "a method of a service gives one type; for a future, write `async fn`",
                ));
            }
            Type::Reference(reference) => {
                return Err(syn::Error::new(
                    reference.span(),
                    "the caller is elsewhere, so a result is owned",
                ));
            }
            Type::Path(path) => &path.path,
            _ => return Ok(plain()),
        };
        let Some(last) = path.segments.last().filter(|last| last.ident == "Result") else {
            return Ok(plain());
        };
        let PathArguments::AngleBracketed(arguments) = &last.arguments else {
            let text = "write the types down here: `Result<Value, Error>`";
            return Err(syn::Error::new(ty.span(), text));
        };
        let mut types = arguments.args.iter().filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        });
        let Some(value) = types.next() else { return Ok(plain()) };
        Ok(Self {
            value: quote!(#value),
            is_result: true,
            error: types.next().cloned(),
            is_nothing: is_unit(value),
        })
    }

    const fn plain(value: TokenStream, is_nothing: bool) -> Self {
        Self { value, is_result: false, error: None, is_nothing }
    }
}

fn is_unit(ty: &Type) -> bool {
    matches!(bare(ty), Type::Tuple(tuple) if tuple.elems.is_empty())
}
