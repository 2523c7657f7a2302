//! Scopes that lose a race, cancels from elsewhere, and joins that cannot be.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc;

use corymb::prelude::*;
use corymb::testing::{elapsed, settle};
use corymb::{CancelCause, JobState, JoinError};
use futures::FutureExt;
use futures::future::{Either, select};

use crate::common::{PanicOnDrop, Trace, ms, text};

#[corymb::test]
async fn a_scope_that_loses_a_race_is_cancelled_and_its_job_waits() {
    let trace = Trace::default();
    scope(async |s| {
        let seen = trace.clone();
        let racer = s.launch(async move {
            let loser = scope(async |s| {
                let guard = seen.on_drop("child");
                let child = s.launch(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                let causes = seen.clone();
                child.on_cancelling(move |cancelled| causes.add(cancelled.cause()));
                pending::<()>().await;
            })
            .boxed();
            match select(loser, sleep(ms(10)).boxed()).await {
                Either::Left(_) => unreachable!("it waits for ever"),
                Either::Right((_, loser)) => drop(loser),
            }
            seen.add("racer");
        });
        racer.join().await;
        trace.add("joined");
    })
    .await;
    let dropped = "because its future was dropped";
    assert_eq!(trace.get(), [dropped, "racer", "child", "joined"]);
}

#[corymb::test]
async fn a_scope_that_wins_a_race_gives_its_value() {
    let winner = scope(async |s| s.spawn(async { 42 }).await).boxed();
    match select(winner, sleep(ms(10)).boxed()).await {
        Either::Left((value, _)) => assert_eq!(value, 42),
        Either::Right(_) => unreachable!("the scope waits for nothing"),
    }
    assert_eq!(elapsed(), ms(0));
}

/// Opens a scope with a child, and waits for ever.
async fn with_a_child(trace: Trace) {
    scope(async |s| {
        let guard = trace.on_drop("child");
        s.launch(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        pending::<()>().await;
    })
    .await;
}

#[corymb::test]
async fn a_timeout_returns_when_the_children_inside_have_ended() {
    let trace = Trace::default();
    with_timeout(ms(10), with_a_child(trace.clone())).await.unwrap_err();
    assert_eq!(trace.get(), ["child"]);
}

#[corymb::test]
async fn a_panic_comes_out_of_a_timeout_when_the_children_inside_have_ended() {
    let trace = Trace::default();
    let work = async {
        let _fails = PanicOnDrop("failed");
        with_a_child(trace.clone()).await;
    };
    let failed = AssertUnwindSafe(with_timeout(ms(10), work)).catch_unwind().await;
    assert_eq!(text(&*failed.unwrap_err()), "failed");
    assert_eq!(trace.get(), ["child"]);
}

#[corymb::test]
async fn a_panic_comes_out_of_a_cancel_scope_when_the_children_inside_have_ended() {
    let trace = Trace::default();
    let work = cancel_scope(async |c| {
        let _fails = PanicOnDrop("failed");
        let mut work = with_a_child(trace.clone()).boxed();
        assert!(futures::poll!(&mut work).is_pending());
        settle().await;
        c.cancel();
        work.await;
    });
    let failed = AssertUnwindSafe(work).catch_unwind().await;
    assert_eq!(text(&*failed.unwrap_err()), "failed");
    assert_eq!(trace.get(), ["child"]);
}

#[corymb::test]
async fn an_inner_timeout_does_not_take_an_outer_deadline_for_its_own() {
    let trace = Trace::default();
    let outer = cancel_scope(async |c| {
        let inner = with_timeout(ms(1000), async {
            scope(async |_| {
                c.job().cancel_with(CancelCause::Deadline);
                yield_now().await;
            })
            .await;
        });
        trace.add(format_args!("{:?}", inner.await.is_err()));
    })
    .await;
    assert!(matches!(outer.unwrap_err().cause(), CancelCause::Deadline));
    assert_eq!(trace.get(), Vec::<String>::new());
}

#[corymb::test(real)]
async fn a_cancel_from_another_thread_arrives() {
    for _ in 0..100 {
        scope(async |s| {
            let child = s.spawn(pending::<()>());
            let job = child.job();
            let canceller = std::thread::spawn(move || job.cancel());
            let outcome = child.outcome().await;
            assert!(matches!(outcome, Err(JoinError::Cancelled(_))), "{outcome:?}");
            assert!(canceller.join().unwrap());
        })
        .await;
    }
}

#[corymb::test(real)]
async fn of_many_cancels_at_once_one_is_the_first() {
    scope(async |s| {
        for _ in 0..100 {
            let child = s.launch(pending());
            let cancels: Vec<_> = (0..2)
                .map(|_| {
                    let job = child.clone();
                    s.spawn(async move { job.cancel() })
                })
                .collect();
            let mut firsts = 0;
            for cancel in cancels {
                firsts += usize::from(cancel.await);
            }
            child.join().await;
            assert_eq!(firsts, 1);
        }
    })
    .await;
}

/// A join of `job`, from inside of it, as the text of its panic.
async fn refused_join(job: Job) -> String {
    let refused = AssertUnwindSafe(job.join()).catch_unwind().await.unwrap_err();
    String::from(text(&*refused))
}

#[corymb::test]
async fn a_join_from_inside_is_refused() {
    let refused = scope(async |s| {
        let (jobs, job) = mpsc::channel();
        let child = s.spawn(scope(async move |s| {
            let parent = job.recv().unwrap();
            let own = s.spawn(async { refused_join(Job::current().unwrap()).await });
            [own.await, refused_join(s.job()).await, refused_join(parent).await]
        }));
        jobs.send(child.job()).unwrap();
        settle().await;
        child.await
    });
    for text in refused.await {
        assert!(text.contains("it would wait for ever") && text.contains(file!()), "{text}");
    }
}

#[corymb::test]
async fn a_join_of_a_failing_child_never_returns_inside_of_its_scope() {
    let trace = Trace::default();
    let result: Result<(), _> = try_scope(async |s| {
        let child = s.launch(async { Err("failed") });
        child.join().await;
        trace.add("joined");
        Ok(())
    })
    .await;
    assert_eq!(result, Err("failed"));
    assert_eq!(trace.get(), Vec::<String>::new());
}

#[corymb::test]
async fn a_scope_that_was_cancelled_by_itself_cancels_its_caller() {
    scope(async |s| {
        let trace = Trace::default();
        let seen = trace.clone();
        let child = s.launch(async move {
            scope(async |s| {
                s.job().cancel();
                yield_now().await;
            })
            .await;
            seen.add("after");
        });
        child.join().await;
        assert_eq!(child.state(), JobState::Cancelled);
        assert_eq!(trace.get(), Vec::<String>::new());
    })
    .await;
}

#[corymb::test]
async fn a_scope_that_was_cancelled_by_itself_is_no_expiry_of_the_timeout_around() {
    scope(async |s| {
        let child = s.launch(async {
            let inner = scope(async |s| {
                s.job().cancel();
                yield_now().await;
            });
            let result = with_timeout(ms(10), inner).await;
            unreachable!("the caller went on with {result:?}");
        });
        child.join().await;
        assert_eq!(child.state(), JobState::Cancelled);
    })
    .await;
    assert_eq!(elapsed(), ms(0));
}

#[corymb::test]
async fn a_timeout_that_loses_a_race_cancels_the_children_inside() {
    let trace = Trace::default();
    scope(async |s| {
        let seen = trace.clone();
        let racer = s.launch(async move {
            let loser = with_timeout(ms(100), with_a_child(seen.clone())).boxed();
            drop(select(loser, sleep(ms(10)).boxed()).await);
            seen.add("racer");
        });
        racer.join().await;
        trace.add("joined");
    })
    .await;
    assert_eq!(trace.get(), ["racer", "child", "joined"]);
}

#[corymb::test(real)]
async fn a_tree_can_be_looked_at_while_it_ends() {
    fn look(job: &Job) -> usize {
        let seen = (job.name(), job.parent(), job.cause(), job.state());
        let mut dump = format!("{seen:?}");
        job.dump(&mut dump).unwrap();
        dump.len() + job.children().len() + job.coroutines() + job.unfinished().len()
    }

    for round in 0..200 {
        scope(async |s| {
            let tree = s.coroutine().name("tree").launch(scope(async |s| {
                for _ in 0..4 {
                    let child = s.coroutine().name("child").launch(scope(async |s| {
                        s.launch(yield_now());
                    }));
                    s.launch(async move { child.join().await });
                }
            }));
            let looked_at = tree.clone();
            s.launch(async move {
                while !looked_at.is_completed() {
                    let children = looked_at.children();
                    let below: usize = children.iter().map(look).sum();
                    assert!(look(&looked_at) + below > 0);
                    yield_now().await;
                }
            });
            if round % 2 == 0 {
                yield_now().await;
                tree.cancel();
            }
        })
        .await;
    }
}
