//! `#[corymb::test]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Error, Path, Result, ReturnType};

use crate::args::{Args, Known, Takes};
use crate::function;

const NAME: &str = "#[corymb::test]";

const KNOWN: &[Known] = &[
    Known { name: "seed", takes: Takes::Integer },
    Known { name: "shuffled", takes: Takes::Nothing },
    Known { name: "real", takes: Takes::Nothing },
    Known { name: "crate", takes: Takes::Text },
];

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    try_expand(args, item).unwrap_or_else(Error::into_compile_error)
}

fn try_expand(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function = function::parse(NAME, item)?;
    refuse_second_test(&function.attrs)?;
    let args = Args::parse(NAME, KNOWN, args)?;
    let corymb = args.krate()?;
    let runtime = runtime(&args, &corymb)?;
    let name = &function.sig.ident;
    let path = quote!(::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)));
    let test = function::wrap(&function, &ReturnType::Default, |future| match runtime {
        Runtime::Real => quote!(#corymb::__private::test_real(#future)),
        Runtime::Virtual(None) => quote!(#corymb::testing::run_test(#path, #future)),
        Runtime::Virtual(Some(builder)) => {
            quote!(#corymb::testing::run_test_with(#path, #builder, #future))
        }
    });
    Ok(quote!(#[::core::prelude::v1::test] #test))
}

fn refuse_second_test(attrs: &[Attribute]) -> Result<()> {
    let is_test = |attr: &&Attribute| {
        attr.path().segments.last().is_some_and(|segment| segment.ident == "test")
    };
    match attrs.iter().find(is_test) {
        Some(attr) => Err(Error::new_spanned(
            attr,
            format!("{NAME} makes the function a test: remove the other attribute"),
        )),
        None => Ok(()),
    }
}

enum Runtime {
    Real,
    /// With the expression of a builder if it differs from the default one.
    Virtual(Option<TokenStream>),
}

fn runtime(args: &Args, corymb: &Path) -> Result<Runtime> {
    let seed = args.integer("seed").map(|value| match value.base10_parse::<u64>() {
        Ok(_) => Ok(quote!(.seed(#value))),
        Err(error) => Err(error),
    });
    let seed = seed.transpose()?;
    let shuffled = args.span("shuffled").map(|_| quote!(.shuffled()));
    let real = args.span("real").is_some();
    match args.span("seed").or(args.span("shuffled")) {
        Some(span) if real => Err(Error::new(
            span,
            "`seed` and `shuffled` steer virtual time: remove them, or `real`",
        )),
        Some(_) => Ok(Runtime::Virtual(Some(
            quote!(#corymb::testing::TestRuntime::builder() #seed #shuffled),
        ))),
        None if real => Ok(Runtime::Real),
        None => Ok(Runtime::Virtual(None)),
    }
}
