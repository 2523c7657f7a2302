//! `#[corymb::test]`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Attribute, Error, Ident, Path, Result, ReturnType};

use crate::args::{Args, Known, Takes};
use crate::function;

const NAME: &str = "#[corymb::test]";

const KNOWN: &[Known] = &[
    Known { name: "seed", takes: Takes::Integer },
    Known { name: "shuffled", takes: Takes::Nothing },
    Known { name: "explore", takes: Takes::Nothing },
    Known { name: "schedules", takes: Takes::Integer },
    Known { name: "time_limit", takes: Takes::Duration },
    Known { name: "real", takes: Takes::Nothing },
    Known { name: "local", takes: Takes::Nothing },
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
    let local = args.span("local").is_some();
    let pick = |shared, bound| Ident::new(if local { bound } else { shared }, Span::call_site());
    let test = function::wrap(&function, &ReturnType::Default, |future| match runtime {
        Runtime::Real => {
            let run = pick("test_real", "test_real_local");
            quote!(#corymb::__private::#run(#future))
        }
        Runtime::Explored(explorer) => quote!(#explorer.run(|| #future);),
        Runtime::Virtual(None) => {
            let run = pick("run_test", "run_test_local");
            quote!(#corymb::testing::#run(#path, #future))
        }
        Runtime::Virtual(Some(builder)) => {
            let run = pick("run_test_with", "run_test_local_with");
            quote!(#corymb::testing::#run(#path, #builder, #future))
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
    /// With the expression of an explorer.
    Explored(TokenStream),
    /// With the expression of a builder if it differs from the default one.
    Virtual(Option<TokenStream>),
}

fn runtime(args: &Args, corymb: &Path) -> Result<Runtime> {
    let seed = number(args, "seed")?;
    let schedules = number(args, "schedules")?;
    let time_limit = args.duration("time_limit")?.map(|limit| {
        let (seconds, nanos) = (limit.as_secs(), limit.subsec_nanos());
        quote!(.time_limit(::core::time::Duration::new(#seconds, #nanos)))
    });
    if let Some(explore) = args.span("explore") {
        let other = ["shuffled", "real", "local"].into_iter().find(|it| args.span(it).is_some());
        return match other {
            Some(other) => Err(Error::new(
                explore,
                format!(
                    "`explore` runs the test in many orders, in virtual time, as a `Send` \
                         coroutine: remove it, or `{other}`"
                ),
            )),
            None => Ok(Runtime::Explored(
                quote!(#corymb::testing::Explorer::new() #seed #schedules #time_limit),
            )),
        };
    }
    if let Some(span) = args.span("schedules") {
        return Err(Error::new(span, "`schedules` is for `explore`: add that, or remove it"));
    }
    let shuffled = args.span("shuffled").map(|_| quote!(.shuffled()));
    let real = args.span("real").is_some();
    match ["seed", "shuffled", "time_limit"].into_iter().find_map(|it| args.span(it)) {
        Some(span) if real => Err(Error::new(
            span,
            "`seed`, `shuffled` and `time_limit` are for virtual time: remove them, or `real`",
        )),
        Some(_) => Ok(Runtime::Virtual(Some(
            quote!(#corymb::testing::TestRuntime::builder() #seed #shuffled #time_limit),
        ))),
        None if real => Ok(Runtime::Real),
        None => Ok(Runtime::Virtual(None)),
    }
}

/// The call of a builder's method that sets a number, if the option is given.
fn number(args: &Args, name: &str) -> Result<Option<TokenStream>> {
    let Some(value) = args.integer(name) else { return Ok(None) };
    value.base10_parse::<u64>()?;
    let method = Ident::new(name, Span::call_site());
    Ok(Some(quote!(.#method(#value))))
}
