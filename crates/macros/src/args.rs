//! The options of an attribute: `flag` or `name = literal`, separated by commas.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitInt, LitStr, Path, Result, Token};

/// An option that an attribute knows.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
}

/// What follows an option's name.
#[derive(Clone, Copy)]
pub(crate) enum Takes {
    Nothing,
    Integer,
    Bool,
    Text,
    Duration,
}

impl Known {
    /// How it is written.
    fn usage(&self) -> String {
        match self.takes {
            Takes::Nothing => self.name.into(),
            Takes::Integer => format!("{} = 4", self.name),
            Takes::Bool => format!("{} = false", self.name),
            Takes::Text => format!("{} = \"..\"", self.name),
            Takes::Duration => format!("{} = \"2s\"", self.name),
        }
    }
}

/// An option as it was written.
struct Arg {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for Arg {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        // `crate` is a keyword.
        let name = input.call(Ident::parse_any)?;
        let value = match input.parse::<Option<Token![=]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        Ok(Self { name, value })
    }
}

/// Options that are known, given once, and have the right kind of value.
pub(crate) struct Args(Vec<(Ident, Option<Lit>)>);

impl Args {
    /// Parses and checks what stands in the parentheses of `attribute`.
    pub(crate) fn parse(attribute: &str, known: &[Known], tokens: TokenStream) -> Result<Self> {
        let parser = Punctuated::<Arg, Token![,]>::parse_terminated;
        let mut args = Self(Vec::new());
        for Arg { name, value } in parser.parse2(tokens)? {
            let Some(known) = known.iter().find(|known| name == known.name) else {
                return Err(unknown(attribute, known, &name));
            };
            if args.get(known.name).is_some() {
                return Err(Error::new(
                    name.span(),
                    format!("`{name}` is given twice: remove one of the two"),
                ));
            }
            let value = check(known, &name, value)?;
            args.0.push((name, value));
        }
        Ok(args)
    }

    fn get(&self, name: &str) -> Option<&(Ident, Option<Lit>)> {
        self.0.iter().find(|(given, _)| given == name)
    }

    /// Where the option stands, if it is given.
    pub(crate) fn span(&self, name: &str) -> Option<Span> {
        self.get(name).map(|(name, _)| name.span())
    }

    pub(crate) fn integer(&self, name: &str) -> Option<&LitInt> {
        match self.get(name) {
            Some((_, Some(Lit::Int(value)))) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&LitStr> {
        match self.get(name) {
            Some((_, Some(Lit::Str(value)))) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        match self.get(name) {
            Some((_, Some(Lit::Bool(value)))) => Some(value.value),
            _ => None,
        }
    }

    /// A whole number with a unit, as in `"500ms"`.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let duration = parse_duration(&text.value()).ok_or_else(|| {
            let message = format!(
                "`{name}` takes a whole number with one of the units `ms`, `s` and `min`, such as \
                 `{name} = \"2s\"` or `{name} = \"500ms\"`"
            );
            Error::new(text.span(), message)
        })?;
        Ok(Some(duration))
    }

    /// The module that stands for `corymb`.
    pub(crate) fn krate(&self) -> Result<Path> {
        let Some(text) = self.text("crate") else { return Ok(syn::parse_quote!(::corymb)) };
        text.parse_with(Path::parse_mod_style).map_err(|_| {
            Error::new(
                text.span(),
                "`crate` takes the path of a module, such as `crate = \"corymb_testing\"`",
            )
        })
    }
}

fn unknown(attribute: &str, known: &[Known], name: &Ident) -> Error {
    let known: Vec<_> = known.iter().map(|known| format!("`{}`", known.usage())).collect();
    Error::new(
        name.span(),
        format!("{attribute} has no option `{name}`: it knows {}", known.join(", ")),
    )
}

/// The value, if it is of the kind that the option takes.
fn check(known: &Known, name: &Ident, value: Option<Expr>) -> Result<Option<Lit>> {
    let span = value.as_ref().map_or(name.span(), Spanned::span);
    match (known.takes, value) {
        (Takes::Nothing, None) => return Ok(None),
        (Takes::Integer, Some(Expr::Lit(ExprLit { lit: lit @ Lit::Int(_), .. })))
        | (Takes::Bool, Some(Expr::Lit(ExprLit { lit: lit @ Lit::Bool(_), .. })))
        | (
            Takes::Text | Takes::Duration,
            Some(Expr::Lit(ExprLit { lit: lit @ Lit::Str(_), .. })),
        ) => return Ok(Some(lit)),
        _ => {}
    }
    let takes = match known.takes {
        Takes::Nothing => "no value",
        Takes::Integer => "an integer literal",
        Takes::Bool => "`true` or `false`",
        Takes::Text => "a string literal",
        Takes::Duration => "a duration in a string literal",
    };
    Err(Error::new(span, format!("`{name}` takes {takes}: write `{}`", known.usage())))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "min" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}
