//! The function that an attribute is put on.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, Item, ItemFn, Result, ReturnType, Signature};

/// Parses an `async fn` without parameters; `attribute` is named in errors.
pub(crate) fn parse(attribute: &str, item: TokenStream) -> Result<ItemFn> {
    let function = match syn::parse2::<Item>(item)? {
        Item::Fn(function) => function,
        other => {
            return Err(Error::new_spanned(
                other,
                format!("{attribute} goes on an `async fn`, and this is none: move it to one"),
            ));
        }
    };
    check(attribute, &function.sig)?;
    Ok(function)
}

fn check(attribute: &str, sig: &Signature) -> Result<()> {
    let name = &sig.ident;
    if sig.asyncness.is_none() {
        return Err(Error::new_spanned(
            sig.fn_token,
            format!("{attribute} goes on an `async fn`: write `async fn {name}()`"),
        ));
    }
    if !sig.inputs.is_empty() {
        return Err(Error::new_spanned(
            &sig.inputs,
            format!("nobody calls `{name}` with arguments: remove the parameters"),
        ));
    }
    if !sig.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &sig.generics,
            format!("nobody says what `{name}` is generic over: remove the parameters"),
        ));
    }
    let qualifiers = [sig.safety.to_token_stream(), sig.abi.to_token_stream()];
    match qualifiers.into_iter().find(|qualifier| !qualifier.is_empty()) {
        Some(qualifier) => Err(Error::new_spanned(
            &qualifier,
            format!("{attribute} goes on a plain `async fn`: remove `{qualifier}`"),
        )),
        None => Ok(()),
    }
}

/// The function as a plain one, whose body is what `run` makes of the future.
///
/// The future is that of the function as it was written, inside of the new one: so errors of types
/// show where they are made, and the name means in it what it says.
pub(crate) fn wrap(
    function: &ItemFn,
    output: &ReturnType,
    run: impl FnOnce(TokenStream) -> TokenStream,
) -> TokenStream {
    let ItemFn { attrs, vis, sig, block, .. } = function;
    let (name, written) = (&sig.ident, &sig.output);
    let run = run(quote!(#name()));
    quote! {
        #(#attrs)*
        #vis fn #name() #output {
            async fn #name() #written #block
            #run
        }
    }
}
