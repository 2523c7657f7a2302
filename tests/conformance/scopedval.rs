//! Values that are bound for a part of the run, and inherited by children.

use std::panic::AssertUnwindSafe;

use corymb::prelude::*;
use corymb::scoped_value;
use futures::FutureExt;
use futures::future::poll_immediate;

use crate::common::{COMPLETED, Trace, caught_text, flags};

scoped_value! {
    static X: &'static str;
    static Y: &'static str;
}

fn x() -> Option<&'static str> {
    X.try_with(|x| *x)
}

#[corymb::test]
async fn scopedval_001_a_value_is_there_inside_of_its_binding_alone() {
    assert_eq!(x(), None);
    let missing = caught_text(std::panic::catch_unwind(|| X.get()));
    assert!(missing.contains("none is bound") && missing.contains("try_with"), "{missing}");

    X.bind("bound", async {
        assert_eq!(X.get(), "bound");
        yield_now().await;
        assert_eq!(x(), Some("bound"));
    })
    .await;
    assert_eq!(x(), None);

    let failing = X.bind("bound", async {
        yield_now().await;
        panic!("{}", X.get());
    });
    let failed: Result<(), _> = AssertUnwindSafe(failing).catch_unwind().await;
    assert_eq!(caught_text(failed), "bound");
    assert_eq!(x(), None);
}

#[corymb::test]
async fn scopedval_002_an_inner_binding_hides_the_outer_one_for_its_time() {
    X.bind("outer", async {
        X.bind("inner", async {
            yield_now().await;
            assert_eq!(x(), Some("inner"));
        })
        .await;
        assert_eq!(x(), Some("outer"));

        let failing = X.bind("inner", async { panic!("{}", X.get()) });
        let failed: Result<(), _> = AssertUnwindSafe(failing).catch_unwind().await;
        assert_eq!(caught_text(failed), "inner");
        assert_eq!(x(), Some("outer"));

        assert_eq!(X.bind_sync("call", x), Some("call"));
        assert_eq!(x(), Some("outer"));
    })
    .await;
    assert_eq!(x(), None);
}

#[corymb::test]
async fn scopedval_006_children_and_grandchildren_have_what_was_bound_around_their_scopes() {
    let seen = X.bind("bound", async {
        scope(async |s| {
            let child = s.spawn(async {
                let grandchild = scope(async |s| s.spawn(async { x() }).await).await;
                (x(), grandchild)
            });
            child.await
        })
        .await
    });
    assert_eq!(seen.await, (Some("bound"), Some("bound")));
}

/// Differs from the case: it is no violation. A child has what its scope has, whatever is bound
/// where it is launched.
#[corymb::test]
async fn scopedval_008_a_child_has_what_its_scope_has_and_not_what_its_launch_has() {
    X.bind("at the opening", async {
        scope(async |s| {
            let outer = s.clone();
            let (rebound, new) = X
                .bind("at the launch", async {
                    let rebound = outer.spawn(async { x() });
                    let new = Y.bind_sync("at the launch", || {
                        assert_eq!(Y.get(), "at the launch");
                        outer.spawn(async { Y.try_with(|y| *y) })
                    });
                    (rebound.await, new.await)
                })
                .await;
            assert_eq!((rebound, new), (Some("at the opening"), None));
        })
        .await;
    })
    .await;
}

/// Differs from the case: the scope is a future, and keeps what was bound where it began.
#[corymb::test]
async fn scopedval_009_a_scope_that_is_moved_out_of_a_binding_keeps_it_for_its_children() {
    let (trace, told) = Trace::twice();
    let mut open = Box::pin(scope(async move |s| {
        yield_now().await; // the binding is over after this
        let seen = trace.clone();
        let late = s.spawn(async move {
            seen.add(x().unwrap_or("nothing"));
        });
        let job = late.job();
        late.await;
        assert_eq!(flags(&job), COMPLETED);
    }));
    X.bind("bound", async {
        assert_eq!(poll_immediate(open.as_mut()).await, None);
    })
    .await;
    assert_eq!(x(), None);
    open.await;
    assert_eq!(told.get(), ["bound"]);
}
