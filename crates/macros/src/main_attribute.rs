//! `#[corymb::main]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Result, parse_quote};

use crate::args::{Args, Known, Takes};
use crate::function;

const NAME: &str = "#[corymb::main]";

const KNOWN: &[Known] = &[
    Known { name: "parallelism", takes: Takes::Integer },
    Known { name: "name", takes: Takes::Text },
    Known { name: "grace", takes: Takes::Duration },
    Known { name: "signals", takes: Takes::Bool },
    Known { name: "local", takes: Takes::Nothing },
    Known { name: "crate", takes: Takes::Text },
];

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    try_expand(args, item).unwrap_or_else(|error| {
        let error = error.into_compile_error();
        // Without a `main`, a second error would say that there is none.
        quote!(#error fn main() {})
    })
}

fn try_expand(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function = function::parse(NAME, item)?;
    let name = &function.sig.ident;
    if name != "main" {
        return Err(Error::new(
            name.span(),
            format!("{NAME} goes on the function `main` and makes it the program's: rename it"),
        ));
    }
    let args = Args::parse(NAME, KNOWN, args)?;
    let corymb = args.krate()?;
    let options = options(&args)?;
    let main = match args.span("local") {
        Some(_) => quote!(main_local),
        None => quote!(main),
    };
    // What the body returns need not be `Send`: its report is made in the coroutine, and the
    // exit code of that comes out.
    Ok(function::wrap(
        &function,
        &parse_quote!(-> ::std::process::ExitCode),
        |future| quote!(#corymb::__private::#main(#corymb::__private::Options::new() #options, #future)),
    ))
}

/// The calls that set the options.
fn options(args: &Args) -> Result<TokenStream> {
    let parallelism = args.integer("parallelism").map(|value| {
        if value.base10_parse::<usize>()? == 0 {
            return Err(Error::new(
                value.span(),
                "`parallelism` has to be 1 at least: with 0, nothing would run",
            ));
        }
        Ok(quote!(.parallelism(#value)))
    });
    let parallelism = parallelism.transpose()?;
    let name = args.text("name").map(|value| quote!(.name(#value)));
    let grace = args.duration("grace")?.map(|grace| {
        let (seconds, nanos) = (grace.as_secs(), grace.subsec_nanos());
        quote!(.grace(::core::time::Duration::new(#seconds, #nanos)))
    });
    let signals = args.boolean("signals").map(|signals| quote!(.signals(#signals)));
    Ok(quote!(#parallelism #name #grace #signals))
}
