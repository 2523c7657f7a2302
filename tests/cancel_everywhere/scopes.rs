//! Scopes, and what is around a part of a coroutine.

use std::sync::Arc;

use corymb::joiner::AllOk;
use corymb::prelude::*;
use corymb::sync::Mutex;
use corymb::testing::elapsed;
use corymb::{AsyncClose, AsyncGuard, race, scoped_value, try_scope_all};

use super::{Count, LONG, Log, Part, SECOND, bears, bears_it, cancels, ends_whole};

/// Rows for kinds of scopes, by their bodies, which launch `$a` and await `$b`.
macro_rules! scopes {
    ($($kind:ident($($arg:expr)?) |$s:ident, $a:ident, $b:ident| $body:block)*) => {$(
        ends_whole(stringify!($kind), |parts| {
            let ($a, $b) = (parts.work(), parts.work());
            $kind($($arg,)? async move |$s| $body)
        });
    )*};
}

#[test]
fn scopes_end_with_all_their_children() {
    scopes! {
        scope() |s, a, b| {
            s.launch(a);
            b.await;
        }
        supervisor_scope() |s, a, b| {
            s.launch(a);
            b.await;
        }
        try_scope() |s, a, b| {
            s.launch(async {
                a.await;
                Err(7)
            });
            b.await;
            Ok::<(), u32>(())
        }
        try_scope_all() |s, a, b| {
            s.launch(async {
                a.await;
                Err(7)
            });
            b.await;
            Ok::<(), u32>(())
        }
        cancel_scope() |s, a, b| {
            scope(async |inner| {
                inner.launch(a);
                b.await;
                s.cancel();
                yield_now().await;
            })
            .await;
        }
        local_scope() |s, a, b| {
            let a = s.spawn(a);
            b.await;
            a.await;
        }
        join_scope(AllOk::new()) |s, a, b| {
            s.fork(async {
                a.await;
                Ok::<_, u32>(1)
            });
            b.await;
        }
        scope_with(7) |s, a, b| {
            let seven = s.data();
            s.launch(async move {
                assert_eq!(*seven, 7);
                a.await;
            });
            b.await;
        }
    }
}

#[test]
fn a_scope_of_its_own_ends_with_all_its_children() {
    ends_whole("OwnedScope::close, OwnedScope::shutdown", |parts| {
        let parts = parts.clone();
        async move {
            let closed = OwnedScope::new();
            closed.launch(parts.work());
            closed.close().await.unwrap();
            let shut = OwnedScope::new();
            shut.launch(soft_shield(parts.work()));
            shut.shutdown(SECOND / 2).await
        }
    });
}

#[test]
fn what_a_scope_has_beside_its_children() {
    bears("Scope::start", |beside| {
        let completed = Count::default();
        let completes = completed.clone();
        let started = beside.start(async move |ready| {
            sleep(SECOND).await;
            ready.done(7);
            sleep(SECOND).await;
            completes.add();
        });
        let scenario = async { started.await.unwrap() };
        (scenario, move |value: Option<i32>| {
            assert_eq!(completed.get(), usize::from(value.is_some()));
        })
    });
    bears("Limited::spawn", |beside| {
        let launched = Count::default();
        let limited = beside.limit(1).unwrap();
        let (launches, place) = (launched.clone(), limited.clone());
        let next = beside.launch(async move {
            drop(place.spawn(sleep(SECOND)).await);
            sleep(SECOND / 2).await;
            drop(place.spawn(yield_now()).await);
        });
        let scenario = async move {
            yield_now().await;
            drop(limited.spawn(async move { launches.add() }).await);
        };
        (scenario, move |done: Option<()>| {
            assert!(next.is_completed(), "the place is lost");
            assert_eq!(launched.get(), usize::from(done.is_some()));
        })
    });
    bears("Group::join_next", |beside| {
        let log = Log::default();
        let mut group = beside.group();
        for n in 1..=3 {
            group.spawn(async move {
                sleep(n * SECOND).await;
                n
            });
        }
        let group = Arc::new(Mutex::new(group));
        let take = async |group: Arc<Mutex<corymb::Group<Scope, u32>>>, log: Log, times| {
            for _ in 0..times {
                let Some((_, n)) = group.lock().await.join_next().await else { break };
                log.push(n.unwrap().into());
            }
        };
        beside.launch(take(group.clone(), log.clone(), 3));
        (take(group, log.clone(), 2), move |_| assert_eq!(log.get(), [1, 2, 3]))
    });
}

#[test]
fn cleanups_run_once() {
    bears("finally", |_| {
        let (begun, cleaned) = (Count::default(), Count::default());
        let (begins, cleans) = (begun.clone(), cleaned.clone());
        let body = async move {
            begins.add();
            sleep(SECOND).await;
        };
        let cleanup = async move || {
            sleep(SECOND).await;
            cleans.add();
        };
        (finally(body, cleanup), move |_| assert_eq!(cleaned.get(), begun.get()))
    });
    bears("AsyncGuard::close", |_| {
        struct Closes(Count);
        impl AsyncClose for Closes {
            async fn close(self) {
                sleep(SECOND).await;
                self.0.add();
            }
        }
        let (made, closed) = (Count::default(), Count::default());
        let (makes, closes) = (made.clone(), closed.clone());
        let scenario = async move {
            let guard = AsyncGuard::new(Closes(closes));
            makes.add();
            sleep(SECOND).await;
            guard.close().await;
        };
        (scenario, move |_| assert_eq!(closed.get(), made.get()))
    });
}

#[test]
fn what_is_shielded_goes_on_when_it_is_cancelled() {
    /// Two waits, and counts of the begun and the done.
    fn waits() -> (impl Future<Output = ()> + Send, impl Fn()) {
        let (begun, done) = (Count::default(), Count::default());
        let (begins, does) = (begun.clone(), done.clone());
        let future = async move {
            begins.add();
            sleep(SECOND).await;
            sleep(SECOND).await;
            does.add();
        };
        (future, move || assert_eq!(done.get(), begun.get()))
    }
    bears_it(cancels(), "shield", |_| {
        let (future, check) = waits();
        (shield(future), move |_| check())
    });
    bears_it(cancels(), "shield_for", |_| {
        let (future, check) = waits();
        (shield_for(LONG, future), move |_| check())
    });
    bears_it(cancels(), "cancelled", |_| {
        let told = Count::default();
        let tells = told.clone();
        let scenario = shield(async move {
            let hears = async {
                cancelled().await;
                tells.add();
            };
            race((hears, sleep(SECOND))).await;
        });
        // Told, or too late.
        (scenario, move |_| assert!(told.get() == 1 || elapsed() == SECOND))
    });
}

#[test]
fn what_is_dropped_is_dropped_whole() {
    scoped_value! { static VALUE: Arc<Part>; }
    ends_whole("shield, soft_shield, shield_for", |parts| {
        let parts = parts.clone();
        async move {
            shield(parts.work()).await;
            soft_shield(parts.work()).await;
            shield_for(SECOND / 2, parts.work()).await;
        }
    });
    ends_whole("ScopedValue::bind", |parts| VALUE.bind(Arc::new(parts.part()), parts.work()));
    ends_whole("with_context", |parts| {
        let view = Dispatcher::Default.limited_parallelism(1);
        let (there, back) = (parts.work(), parts.work());
        async move {
            with_context(view, there).await;
            with_context(Dispatcher::Io, back).await;
        }
    });
    ends_whole("spawn_on", |parts| spawn_on(Dispatcher::Io, parts.work()));
    bears("blocking", |_| {
        let called = Count::default();
        let calls = called.clone();
        let scenario = async move {
            yield_now().await;
            blocking(|| calls.add()).await;
            yield_now().await;
        };
        (scenario, move |done: Option<()>| {
            assert!((usize::from(done.is_some())..=1).contains(&called.get()));
        })
    });
}
