//! Values that are bound for a part of the run.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use corymb_core::time::with_timeout;
use corymb_core::{
    Context, Inherit, Name, blocking, cancel_scope, finally, scope, scoped_value, with_context,
    yield_now,
};
use futures::future::join;
use futures::stream::{FuturesUnordered, StreamExt};

use crate::common::{Harness, Trace, times};

static MADE: AtomicU32 = AtomicU32::new(0);

scoped_value! {
    static USER: &'static str;
    static DEPTH: usize;
    static TRANSACTION: u32 = Inherit::Never;
    static PATH: String = Inherit::By(|parent| {
        MADE.fetch_add(1, Ordering::Relaxed);
        format!("{parent}/child")
    });
}

fn user() -> Option<&'static str> {
    USER.try_with(|user| *user)
}

#[test]
fn it_is_seen_inside_and_gone_outside() {
    let rt = Harness::new();
    assert_eq!(user(), None);
    rt.block_on(async {
        assert_eq!(user(), None);
        let outer = USER.bind("Ada", async {
            yield_now().await;
            assert_eq!(user(), Some("Ada"));
            let inner = USER.bind("Grace", async {
                yield_now().await;
                user()
            });
            assert_eq!(user(), Some("Ada"));
            assert_eq!(inner.await, Some("Grace"));
            user()
        });
        assert_eq!(user(), None);
        assert_eq!(outer.await, Some("Ada"));
        assert_eq!(user(), None);
    });
}

#[test]
fn children_inherit_what_is_bound_where_their_scope_is() {
    let rt = Harness::new();
    rt.block_on(USER.bind("Ada", async {
        scope(async |s| {
            let plain = s.spawn(async { user() });
            let named = s.coroutine().name("child").spawn(async { user() });
            let other = s.clone();
            // The scope was opened outside of this binding.
            let late = USER.bind("Grace", async { other.spawn(async { user() }).await }).await;
            let deep = scope(async |s| {
                s.spawn(scope(async |s| s.spawn(async { (user(), DEPTH.get()) }).await)).await
            });
            let deep = DEPTH.bind(3, deep).await;
            assert_eq!(plain.await, Some("Ada"));
            assert_eq!(named.await, Some("Ada"));
            assert_eq!(late, Some("Ada"));
            assert_eq!(deep, (Some("Ada"), 3));
        })
        .await;
    }));
    assert_eq!(rt.block_on(async { user() }), None);
}

#[test]
fn sections_timeouts_and_branches_keep_it() {
    let rt = Harness::new();
    rt.block_on(USER.bind("Ada", async {
        let far = std::time::Duration::MAX;
        assert_eq!(with_timeout(far, async { user() }).await, Ok(Some("Ada")));
        assert_eq!(cancel_scope(async |_| user()).await.unwrap(), Some("Ada"));
        let named = with_context(Name::new("part"), async {
            yield_now().await;
            scope(async |s| s.spawn(async { user() }).await).await
        });
        assert_eq!(named.await, Some("Ada"));
        assert_eq!(blocking(user).await, Some("Ada"));
        let mut branches: FuturesUnordered<_> = (0..4)
            .map(|depth| {
                DEPTH.bind(depth, async move {
                    yield_now().await;
                    (user(), DEPTH.get() == depth)
                })
            })
            .collect();
        while let Some(seen) = branches.next().await {
            assert_eq!(seen, (Some("Ada"), true));
        }
        let (left, right) = join(USER.bind("left", async { user() }), async { user() }).await;
        assert_eq!((left, right), (Some("left"), Some("Ada")));
        assert_eq!(Context::current().name(), None);
    }));
}

#[test]
fn what_a_child_has_is_the_key_s_affair() {
    let rt = Harness::new();
    let made = MADE.load(Ordering::Relaxed);
    let bound = PATH.bind("root".into(), async {
        TRANSACTION
            .bind(
                7,
                USER.bind("Ada", async {
                    let seen = || (TRANSACTION.try_with(|it| *it), PATH.get(), user());
                    // Its own parts are no children.
                    let part = cancel_scope(async |_| (seen)()).await.unwrap();
                    assert_eq!(part, (Some(7), "root".into(), Some("Ada")));
                    scope(async move |s| {
                        let child = s.spawn(async move {
                            let own = seen();
                            let grandchild =
                                scope(async |s| s.spawn(async move { seen() }).await).await;
                            (own, grandchild)
                        });
                        let (own, grandchild) = child.await;
                        assert_eq!(own, (None, "root/child".into(), Some("Ada")));
                        assert_eq!(grandchild, (None, "root/child/child".into(), Some("Ada")));
                        let named = s.coroutine().name("named").spawn(async move { seen() }).await;
                        assert_eq!(named, (None, "root/child".into(), Some("Ada")));
                    })
                    .await;
                }),
            )
            .await;
    });
    rt.block_on(bound);
    assert_eq!(MADE.load(Ordering::Relaxed) - made, 3);
}

#[test]
fn a_binding_for_a_call_ends_with_it() {
    assert_eq!(USER.bind_sync("Ada", || USER.bind_sync("Grace", user)), Some("Grace"));
    let panicked = catch_unwind(AssertUnwindSafe(|| USER.bind_sync("Ada", || panic!("inside"))));
    assert!(panicked.is_err());
    assert_eq!(user(), None);
    let rt = Harness::new();
    rt.block_on(async {
        let made_inside =
            USER.bind_sync("Ada", || scope(async |s| s.spawn(async { user() }).await));
        // A future is where it is polled, not where it is made.
        assert_eq!(made_inside.await, None);
    });
}

#[test]
fn what_is_not_bound_says_so() {
    let message = catch_unwind(|| USER.get()).unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    assert!(message.contains("&str") && message.contains(file!()), "{message}");
}

#[test]
fn destructors_and_cleanups_see_it() {
    struct Sees(Trace);
    impl Drop for Sees {
        fn drop(&mut self) {
            self.0.add(user().unwrap_or("nobody"));
        }
    }
    let rt = Harness::new();
    let trace = Trace::default();
    let t = trace.clone();
    let job = rt.scope().launch(USER.bind("Ada", async move {
        let _sees = Sees(t.clone());
        let cleanup = move || async move {
            yield_now().await;
            t.add(USER.get());
        };
        finally(USER.bind("Grace", pending::<()>()), cleanup).await;
    }));
    rt.run();
    job.cancel();
    rt.run();
    assert_eq!(trace.get(), ["Ada", "Ada"]);
    // By the one who drops it, somewhere else.
    let sees = Sees(trace.clone());
    let mut unfinished = Box::pin(USER.bind("Grace", async move {
        let _sees = sees;
        pending::<()>().await;
    }));
    assert!(futures::FutureExt::now_or_never(unfinished.as_mut()).is_none());
    drop(unfinished);
    assert_eq!(trace.get()[2..], ["Grace"]);
}

#[test]
fn a_part_that_goes_elsewhere_keeps_what_it_had_at_first() {
    let rt = Harness::new();
    let slot = Arc::new(Mutex::new(None));
    let kept = slot.clone();
    rt.block_on(USER.bind("Ada", async move {
        let mut part = Box::pin(DEPTH.bind(1, async {
            yield_now().await;
            (user(), DEPTH.get())
        }));
        assert!(futures::poll!(part.as_mut()).is_pending());
        *kept.lock().unwrap() = Some(part);
    }));
    let part = slot.lock().unwrap().take().unwrap();
    assert_eq!(rt.block_on(USER.bind("Grace", part)), (Some("Ada"), 1));
}

#[test]
fn many_bindings_are_told_apart_and_freed_without_recursion() {
    fn nest(depth: usize) -> usize {
        if depth == 0 { DEPTH.get() } else { DEPTH.bind_sync(depth, || nest(depth - 1)) }
    }
    assert_eq!(nest(4 * times(50)), 1);
    for round in 0..times(1000) {
        DEPTH.bind_sync(round, || {
            assert_eq!(DEPTH.get(), round);
            USER.bind_sync("Ada", || assert_eq!((DEPTH.get(), user()), (round, Some("Ada"))));
            assert_eq!((DEPTH.get(), user()), (round, None));
        });
    }
    // A chain through children, each of which binds anew.
    let rt = Harness::new();
    let steps = if cfg!(miri) { 100 } else { 50_000 };
    let mut last = Context::current();
    for step in 0..steps {
        last = rt.block_on(with_context(last, DEPTH.bind(step, async { Context::current() })));
    }
    assert_eq!(rt.block_on(with_context(last, async { DEPTH.get() })), steps - 1);
}
