//! Where the error type of a `try_scope` is found.

use std::error::Error;
use std::io;

use corymb_core::{TryScope, try_scope, try_scope_all, yield_now};

use crate::common::Harness;

type Boxed = Box<dyn Error + Send + Sync>;

async fn number(text: &'static str) -> io::Result<u32> {
    yield_now().await;
    text.parse().map_err(io::Error::other)
}

/// `?` after the scope, and a child that names the type.
async fn by_a_child() -> Result<u32, Boxed> {
    let scope = try_scope(async |s| {
        let one = s.spawn(number("1"));
        Ok(one.await)
    });
    Ok(scope.await?)
}

/// The same, and only the body's last expression names it.
async fn by_the_bodys_value() -> Result<u32, Boxed> {
    let scope = try_scope(async |s| {
        s.launch(async { Ok(()) });
        number("2").await
    });
    Ok(scope.await?)
}

/// `?` on both sides, and no child that would name it.
async fn by_the_bodys_return_type() -> Result<u32, Boxed> {
    let scope = try_scope(async |s| -> io::Result<_> {
        s.launch(async { Ok(()) });
        let three = number("3").await?;
        Ok(three)
    });
    Ok(scope.await?)
}

/// Nor do the children, which convert.
async fn of_children_that_convert() -> Result<u32, Boxed> {
    let scope = try_scope_all(async |s| -> Result<_, Boxed> {
        let four = s.spawn(async {
            let four = number("4").await?;
            Ok("0".parse::<u32>()? + four)
        });
        Ok(four.await)
    });
    scope.await.map_err(|failures| failures.into_first())
}

/// A closure that is not `async` has no place for a return type.
async fn by_the_handle() -> Result<u32, Boxed> {
    let scope = try_scope(|s: TryScope<io::Error>| async move {
        s.launch(async { Ok(()) });
        let five = number("5").await?;
        Ok(five)
    });
    Ok(scope.await?)
}

/// The result of the function that the scope is the last expression of.
async fn by_the_function() -> io::Result<u32> {
    try_scope(async |s| {
        s.launch(async { Ok(()) });
        let six = number("6").await?;
        Ok(six)
    })
    .await
}

#[test]
fn it_is_found_without_a_turbofish() {
    let rt = Harness::new();
    // In a coroutine, which is `Send`.
    let all = rt.block_on(async {
        let values = [
            by_a_child().await?,
            by_the_bodys_value().await?,
            by_the_bodys_return_type().await?,
            of_children_that_convert().await?,
            by_the_handle().await?,
            by_the_function().await?,
        ];
        Ok::<_, Boxed>(values)
    });
    assert_eq!(all.unwrap(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_it_names_is_what_comes_out() {
    let rt = Harness::new();
    let error = rt.block_on(try_scope(async |s| -> Result<(), Boxed> {
        s.launch(async {
            number("seven").await?;
            Ok(())
        });
        Ok(())
    }));
    assert!(error.unwrap_err().downcast_ref::<io::Error>().is_some());
}
