//! What is written in a `select!`.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Pat, Path, Result, Token};

/// As many as one byte can count.
const MOST_BRANCHES: usize = 256;

/// `path; biased, pattern = future, if guard => body, .. else => body`
///
/// The path stands for the crate with the support, and is written by what calls the macro.
pub(super) struct Select {
    pub(super) krate: Path,
    pub(super) biased: bool,
    pub(super) branches: Vec<Branch>,
    pub(super) otherwise: Option<Expr>,
}

pub(super) struct Branch {
    pub(super) pattern: Pat,
    pub(super) future: Expr,
    pub(super) guard: Option<Expr>,
    pub(super) body: Expr,
}

impl Parse for Select {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let krate = input.call(Path::parse_mod_style)?;
        input.parse::<Token![;]>()?;
        let biased = is_biased(input);
        if biased {
            input.parse::<Ident>()?;
            comma_after_biased(input)?;
        }
        let mut select = Self { krate, biased, branches: Vec::new(), otherwise: None };
        while !input.is_empty() {
            select.parse_item(input)?;
        }
        select.check()?;
        Ok(select)
    }
}

impl Select {
    fn parse_item(&mut self, input: ParseStream<'_>) -> Result<()> {
        if is_biased(input) {
            return Err(
                input.error("`biased` is said once, before the branches: `select! { biased, .. }`")
            );
        }
        let token = input.parse::<Option<Token![else]>>()?;
        let written = match token {
            Some(token) if self.otherwise.is_some() => {
                return Err(Error::new(
                    token.span,
                    "a second `else`: a `select!` has one, for when all branches are out",
                ));
            }
            None if self.otherwise.is_some() => {
                return Err(input.error(
                    "a branch after `else`: move it up, `else` is the last one and has no future",
                ));
            }
            Some(_) => self.otherwise.insert(body(input, "else")?),
            None => {
                self.branches.push(input.parse()?);
                &self.branches[self.branches.len() - 1].body
            }
        };
        comma_after_body(input, written)
    }

    fn check(&self) -> Result<()> {
        let message = match self.branches.get(MOST_BRANCHES) {
            Some(branch) => {
                let message = format!("a `select!` has {MOST_BRANCHES} branches at most");
                return Err(Error::new(branch.pattern.span(), message));
            }
            None if self.branches.is_empty() && self.otherwise.is_none() => {
                "a `select!` without branches: write `pattern = future => body`"
            }
            None => return Ok(()),
        };
        Err(Error::new(Span::call_site(), message))
    }
}

impl Parse for Branch {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let pattern = input.call(Pat::parse_multi_with_leading_vert)?;
        if !input.peek(Token![=]) || input.peek(Token![=>]) {
            return Err(input.error(
                "expected `=` and a future after the pattern: a branch is `pattern = future => body`",
            ));
        }
        input.parse::<Token![=]>()?;
        let future: Expr = input.parse()?;
        let guard = if input.peek(Token![,]) {
            input.parse::<Token![,]>()?;
            if !input.peek(Token![if]) {
                return Err(input.error(
                    "expected a guard, `if condition`, after the comma, or `=>` and a body in place of \
                     the comma",
                ));
            }
            input.parse::<Token![if]>()?;
            Some(input.parse()?)
        } else {
            None
        };
        let after = if guard.is_some() { "guard" } else { "future" };
        Ok(Self { pattern, future, guard, body: body(input, after)? })
    }
}

/// `biased`, unless it is a pattern.
fn is_biased(input: ParseStream<'_>) -> bool {
    let fork = input.fork();
    matches!(fork.call(Ident::parse_any), Ok(name) if name == "biased")
        && !fork.peek(Token![=])
        && !fork.peek(Token![|])
        && !fork.peek(Token![@])
}

fn comma_after_biased(input: ParseStream<'_>) -> Result<()> {
    if !input.is_empty() && input.parse::<Option<Token![,]>>()?.is_none() {
        return Err(input.error("expected `,` after `biased`"));
    }
    Ok(())
}

/// `=> body`; `after` is what it follows.
fn body(input: ParseStream<'_>, after: &str) -> Result<Expr> {
    if input.parse::<Option<Token![=>]>>()?.is_none() {
        return Err(input.error(format!("expected `=>` and a body after the {after}")));
    }
    if input.is_empty() || input.peek(Token![,]) {
        return Err(input.error("expected a body after `=>`: `{}` does nothing"));
    }
    // As in `match`: a block ends the branch.
    Expr::parse_with_earlier_boundary_rule(input)
}

/// As in `match`: only a block needs none before the next branch.
fn comma_after_body(input: ParseStream<'_>, body: &Expr) -> Result<()> {
    let comma = input.parse::<Option<Token![,]>>()?;
    if comma.is_some() || input.is_empty() || ends_with_block(body) {
        return Ok(());
    }
    Err(input.error("expected `,` before the next branch, as the body above is no block"))
}

fn ends_with_block(body: &Expr) -> bool {
    matches!(
        body,
        Expr::Block(_)
            | Expr::Unsafe(_)
            | Expr::If(_)
            | Expr::Match(_)
            | Expr::While(_)
            | Expr::Loop(_)
            | Expr::ForLoop(_)
    )
}
