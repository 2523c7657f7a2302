//! `select!`.
//!
//! What it expands to, for two branches of which the second has a guard:
//!
//! ```text
//! {
//!     enum Selected<T0, T1> { B0(T0), B1(T1) }
//!     let selected = {
//!         let enabled = [true, guard];
//!         let f0 = Some(future);                                  // all are evaluated
//!         let f1 = if enabled[1] { Some(future) } else { None };
//!         let mut f0 = pin!(f0);
//!         let mut f1 = pin!(f1);
//!         let mut order = Order::drawn(enabled);
//!         poll_fn(|cx| order.poll(|branch| match branch {
//!             0 => (poll f0; Ready(Some(B0(output))) if the pattern takes it)
//!             ..
//!         })).await
//!     };                                                          // all are dropped
//!     match selected {
//!         Some(B0(output)) => { let pattern = output else { unreachable!() }; body }
//!         ..
//!         None => otherwise
//!     }
//! }
//! ```
//!
//! Bodies stand outside of every loop and closure, so that `break`, `?` and `.await` mean in them
//! what they mean around the `select!`.

mod grammar;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Pat, Path};

use self::grammar::{Branch, Select};

pub(crate) fn expand(tokens: TokenStream) -> TokenStream {
    syn::parse2(tokens).map_or_else(Error::into_compile_error, |select| whole(&select))
}

/// Names that the user's code cannot see.
fn hidden() -> Span {
    Span::mixed_site()
}

/// The type of what was selected. Unlike those of variables, names of types are seen by the bodies.
fn selected() -> Ident {
    Ident::new("__CorymbSelected", hidden())
}

fn name(of: &str, branch: usize) -> Ident {
    format_ident!("{of}{branch}", span = hidden())
}

fn whole(select: &Select) -> TokenStream {
    let Select { krate, branches, .. } = select;
    let selected = selected();
    let variants = (0..branches.len()).map(|n| name("B", n));
    let types = (0..branches.len()).map(|n| name("T", n)).collect::<Vec<_>>();
    let unknown = branches.iter().map(|_| quote_spanned!(hidden()=> _));
    let race = race(select);
    let arms = branches.iter().enumerate().map(|(n, branch)| run_body(n, branch));
    let otherwise = match &select.otherwise {
        Some(body) => quote_spanned!(hidden()=> #body),
        None => quote_spanned!(hidden()=> #krate::__private::no_branch_left()),
    };
    quote_spanned! {hidden()=> {
        enum #selected<#(#types),*> { #(#variants(#types)),* }
        let selected: ::core::option::Option<#selected<#(#unknown),*>> = { #race };
        match selected {
            #(#arms)*
            ::core::option::Option::None => #otherwise,
        }
    }}
}

/// What gives the output of the branch that has won; its end drops all futures.
fn race(select: &Select) -> TokenStream {
    let Select { krate, branches, .. } = select;
    let count = branches.len();
    let guards = branches.iter().map(|branch| match &branch.guard {
        Some(guard) => quote_spanned!(hidden()=> #guard),
        None => quote_spanned!(hidden()=> true),
    });
    let begin = branches.iter().enumerate().map(|(n, branch)| begin(n, branch));
    let pinned = (0..count).map(|n| {
        let future = name("f", n);
        quote_spanned!(hidden()=> let mut #future = ::core::pin::pin!(#future);)
    });
    let polls = branches.iter().enumerate().map(|(n, branch)| poll(krate, n, branch));
    let order = Ident::new(if select.biased { "as_written" } else { "drawn" }, hidden());
    // At the call, for the error that it stands outside of `async`.
    let awaited = quote_spanned!(Span::call_site()=> .await);
    quote_spanned! {hidden()=>
        let enabled: [::core::primitive::bool; #count] = [#(#guards),*];
        #(#begin)*
        #(#pinned)*
        let mut order = #krate::__private::Order::#order(enabled);
        ::core::future::poll_fn(|cx| order.poll(|branch| match branch {
            #(#polls)*
            _ => ::core::unreachable!(),
        })) #awaited
    }
}

/// Evaluates the future.
fn begin(n: usize, Branch { future, guard, .. }: &Branch) -> TokenStream {
    let name = name("f", n);
    let begun = quote_spanned!(hidden().located_at(future.span())=> ::core::future::IntoFuture::into_future(#future));
    let begun = quote_spanned!(hidden()=> ::core::option::Option::Some(#begun));
    let begun = match guard {
        Some(_) => quote_spanned! {hidden()=>
            if enabled[#n] { #begun } else { ::core::option::Option::None }
        },
        None => begun,
    };
    quote_spanned!(hidden()=> let #name = #begun;)
}

/// Polls the future, and sees whether the pattern takes its output.
///
/// A guard sees bindings by reference, and moves nothing until it is true; this one never is. So any
/// pattern can be tried as it is written.
fn poll(krate: &Path, n: usize, Branch { pattern, future, .. }: &Branch) -> TokenStream {
    let (name, selected, variant) = (name("f", n), selected(), name("B", n));
    let output = output(future);
    quote_spanned! {hidden()=>
        #n => match #krate::__private::poll_branch(#name.as_mut(), cx) {
            #[allow(unused_mut)]
            ::core::task::Poll::Ready(mut #output) => {
                let mut fits = false;
                match #output {
                    #[allow(unreachable_patterns, unused_mut, unused_variables)]
                    #pattern if { fits = true; false } => ::core::unreachable!(),
                    _ => {}
                }
                ::core::task::Poll::Ready(if fits {
                    ::core::option::Option::Some(#selected::#variant(#output))
                } else {
                    ::core::option::Option::None
                })
            }
            ::core::task::Poll::Pending => ::core::task::Poll::Pending,
        },
    }
}

fn run_body(n: usize, Branch { pattern, future, body, .. }: &Branch) -> TokenStream {
    let (selected, variant, output) = (selected(), name("B", n), output(future));
    let pattern = match pattern {
        Pat::Or(_) => quote_spanned!(hidden()=> (#pattern)),
        _ => quote_spanned!(hidden()=> #pattern),
    };
    quote_spanned! {hidden()=>
        #[allow(unused_mut)]
        ::core::option::Option::Some(#selected::#variant(mut #output)) => {
            #[allow(irrefutable_let_patterns, unreachable_patterns)]
            let #pattern = #output else { ::core::unreachable!() };
            // An arm, where braces that are not needed bother nobody.
            match () { () => #body }
        }
    }
}

/// The output of `future`, where that stands: errors of types point there, and those of the two
/// places of the pattern are one.
fn output(future: &syn::Expr) -> Ident {
    Ident::new("output", hidden().located_at(future.span()))
}
