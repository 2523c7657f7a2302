//! Scopes with a policy.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use corymb::CancelCause;
use corymb::joiner::{AllOk, AllUntil, AnyOk, AwaitAll, Reason, Subtask};
use corymb::prelude::*;
use corymb::testing::elapsed;
use futures::FutureExt;

use crate::common::{CANCELLED, Oops, Trace, caught_text, flags, ms};

#[corymb::test]
async fn joiner_001_all_ok_gives_the_values_in_the_order_of_the_forks() {
    let none = join_scope(AllOk::<(), ()>::new(), async |_| ()).await;
    assert_eq!(none, Ok(vec![]));
    let two = join_scope(AllOk::<_, ()>::new(), async |s| {
        s.fork(async {
            sleep(ms(1)).await;
            Ok("first")
        });
        s.fork(async { Ok("second") });
    });
    assert_eq!(two.await, Ok(vec!["first", "second"]));
}

#[corymb::test]
async fn joiner_002_all_ok_ends_at_the_first_failure() {
    let mut job = None;
    let failed = join_scope(AllOk::new(), async |s| {
        job = Some(s.fork(pending()));
        s.fork(async { Ok(1) });
        s.fork(async { Err("E") });
    })
    .await;
    assert_eq!(failed.unwrap_err().into_errors(), ["E"]);
    assert_eq!(flags(&job.unwrap()), CANCELLED);
}

#[corymb::test]
async fn joiner_004_any_ok_gives_the_first_value_or_all_errors() {
    let none = join_scope(AnyOk::<(), ()>::new(), async |_| ()).await;
    assert_eq!(none.unwrap_err().reason(), Reason::NoForks);
    let one = join_scope(AnyOk::<_, ()>::new(), async |s| {
        s.fork(async { Ok(42) });
        s.fork(pending());
    });
    assert_eq!(one.await, Ok(42));
    let failed = join_scope(AnyOk::<(), _>::new(), async |s| {
        s.fork(async { Err("E1") });
        s.fork(async { Err("E2") });
    });
    assert_eq!(failed.await.unwrap_err().errors(), ["E1", "E2"]);
}

#[corymb::test]
async fn joiner_007_all_until_gives_each_result() {
    let never = join_scope(AllUntil::new(|_: &Subtask<u32, Oops>| false), async |s| {
        s.fork(async { Ok(1) });
        s.fork(async { Err(Oops("E")) });
    });
    assert_eq!(never.await, [Subtask::Ok(1), Subtask::Err(Oops("E"))]);
    let first = join_scope(AllUntil::new(|_: &Subtask<u32, ()>| true), async |s| {
        s.fork(pending());
        s.fork(async { Ok(2) });
    });
    assert_eq!(first.await, [Subtask::Unavailable, Subtask::Ok(2)]);
}

#[corymb::test]
async fn joiner_009_a_time_limit_cancels_what_runs() {
    let mut job = None;
    let failed = join_scope(AllOk::<(), ()>::new().within(ms(5)), async |s| {
        job = Some(s.fork(pending()));
    })
    .await;
    assert_eq!(failed.unwrap_err().reason(), Reason::TimedOut);
    assert_eq!(elapsed(), ms(5));
    let job = job.unwrap();
    assert_eq!(flags(&job), CANCELLED);
    assert!(matches!(job.cause().unwrap().cause(), CancelCause::Deadline));
}

#[corymb::test]
async fn joiner_011_a_fork_after_the_body_is_cancelled() {
    let late = Arc::new(Mutex::new(None));
    let place = Arc::clone(&late);
    let all = join_scope(AwaitAll::<_, ()>::new(), async |s| {
        let s = Arc::new(s);
        let inside = Arc::clone(&s);
        s.fork(async move {
            sleep(ms(1)).await;
            let job = inside.fork(async { unreachable!("the body has returned") });
            *place.lock().unwrap() = Some(job);
            Ok(1)
        });
    });
    assert_eq!(all.await, [Subtask::Ok(1)]);
    let job = late.lock().unwrap().take().unwrap();
    assert!(matches!(job.cause().unwrap().cause(), CancelCause::ScopeEnded));
}

#[corymb::test]
async fn joiner_012_a_fork_in_a_cancelled_scope_does_not_run() {
    let mut job = None;
    let ended = cancel_scope(async |c| {
        join_scope(AwaitAll::<(), ()>::new(), async |s| {
            c.cancel();
            job = Some(s.fork(async { unreachable!("the scope is cancelled") }));
            yield_now().await;
        })
        .await
    });
    ended.await.unwrap_err();
    assert_eq!(flags(&job.unwrap()), CANCELLED);
}

#[corymb::test]
async fn joiner_018_a_joiner_that_panics_fails_the_scope() {
    let trace = Trace::default();
    let gone = trace.on_drop("straggler");
    let fails = AllUntil::new(|_: &Subtask<(), ()>| panic!("E"));
    let failing = join_scope(fails, async |s| {
        s.fork(async { Ok(()) });
        s.fork(async move {
            let _gone = gone;
            pending().await
        });
    });
    assert_eq!(caught_text(AssertUnwindSafe(failing).catch_unwind().await), "E");
    assert_eq!(trace.get(), ["straggler"]);
}

#[corymb::test]
async fn joiner_019_stragglers_are_awaited() {
    let trace = Trace::default();
    let in_fork = trace.clone();
    let first = join_scope(AnyOk::<_, ()>::new(), async |s| {
        s.fork(finally(pending(), move || async move {
            sleep(ms(100)).await;
            in_fork.add("straggler");
        }));
        s.fork(async {
            sleep(ms(1)).await;
            Ok(1)
        });
    });
    assert_eq!(first.await, Ok(1));
    assert_eq!(elapsed(), ms(101));
    assert_eq!(trace.get(), ["straggler"]);
}
