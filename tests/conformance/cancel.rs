//! The prompt guarantee, callbacks, tokens, and the drop as a cancellation.

use std::future::pending;
use std::sync::{Arc, Mutex};

use corymb::prelude::*;
use corymb::sync::{channel, oneshot};
use corymb::testing::{settle, take_failures};
use corymb::{CancelCause, Continuation, JoinError, suspend_cancellable};
use futures::FutureExt;
use futures::future::{Either, select};

use crate::common::{CANCELLED, PanicOnDrop, Trace, custom, custom_text, flags};

/// Where a callback's continuation is kept.
type Kept<T> = Arc<Mutex<Option<Continuation<T>>>>;

#[corymb::test]
async fn cancel_001_what_is_cancelled_before_it_runs_never_does() {
    scope(async |s| {
        let child = s.launch(async { unreachable!("a cancelled child ran") });
        child.cancel();
        settle().await;
        assert_eq!(flags(&child), CANCELLED);
    })
    .await;
}

/// Differs from the case: no start ignores a cancel that came before it. What begins in its launch
/// has begun before anybody can cancel it, and a shield takes it to its end.
#[corymb::test]
async fn cancel_002_what_begins_in_its_launch_behind_a_shield_runs_to_its_end() {
    let (trace, told) = Trace::twice();
    scope(async |s| {
        let child = s.coroutine().undispatched().launch(shield(async move {
            trace.add("began");
            yield_now().await;
            trace.add("ended");
        }));
        child.cancel();
        assert_eq!(told.get(), ["began"]);
        child.join().await;
    })
    .await;
    assert_eq!(told.get(), ["began", "ended"]);
}

/// Differs from the case: in a cancelled scope nothing begins.
#[corymb::test]
async fn cancel_003_an_undispatched_launch_in_a_cancelled_scope_does_not_begin() {
    let (trace, told) = Trace::twice();
    let ended = cancel_scope(async |c| {
        scope(async |s| {
            c.cancel();
            let dropped = trace.on_drop("dropped");
            let child = s.coroutine().undispatched().launch(async move {
                let _dropped = dropped;
                unreachable!("it began");
            });
            assert!(child.is_cancelled());
        })
        .await;
    });
    assert!(ended.await.is_err());
    assert_eq!(told.get(), ["dropped"]);
}

#[corymb::test]
async fn cancel_005_a_cancel_arrives_before_a_value_that_is_ready() {
    let trace = Trace::default();
    scope(async |s| {
        let (sender, receiver) = oneshot::channel::<u32>();
        let value = s.spawn(receiver);
        let job = value.job();
        let seen = trace.clone();
        let waiter = s.launch(async move {
            let _cleanup = seen.on_drop("cleanup");
            value.await.unwrap();
            seen.add("value");
        });
        settle().await;
        sender.send(42).unwrap();
        // It runs after the sender of the value and before the waiter.
        s.launch(async move {
            assert!(job.is_completed() && waiter.is_active());
            waiter.cancel();
        });
    })
    .await;
    assert_eq!(trace.get(), ["cleanup"]);
}

/// A limit of one stands in for the mutex.
#[corymb::test]
async fn cancel_007_who_is_cancelled_with_the_place_in_hand_lets_it_go_on() {
    let (trace, told) = Trace::twice();
    scope(async |s| {
        let one = s.limit(1).unwrap();
        let (release, held) = oneshot::channel::<()>();
        let holder = one.spawn(held).await.job();
        let (places, seen) = (one.clone(), trace.clone());
        let waiter = s.launch(async move {
            drop(places.spawn(async { unreachable!("its waiter was cancelled") }).await);
            seen.add("got past");
        });
        settle().await;
        release.send(()).unwrap();
        // It runs after the holder's end and before the waiter.
        s.launch(async move {
            assert!(holder.is_completed() && waiter.is_active());
            waiter.cancel();
        });
        one.spawn(async move { trace.add("the next one") }).await.await;
    })
    .await;
    assert_eq!(told.get(), ["the next one"]);
}

#[corymb::test]
async fn cancel_009_a_sender_s_value_is_delivered_though_the_sender_was_cancelled() {
    scope(async |s| {
        let (sender, receiver) = channel::bounded(1);
        sender.send(1).await.unwrap();
        let waiting = s.spawn(async move { sender.send(42).await });
        settle().await;
        assert_eq!(receiver.try_recv(), Ok(1));
        waiting.job().cancel();
        assert!(matches!(waiting.outcome().await, Err(JoinError::Cancelled(_))));
        assert_eq!(receiver.try_recv(), Ok(42));
    })
    .await;
}

/// Differs from the case: the value stays in the channel.
#[corymb::test]
async fn cancel_010_a_receiver_that_is_cancelled_takes_nothing_with_it() {
    scope(async |s| {
        let (sender, receiver) = channel::bounded(1);
        let other = receiver.clone();
        let waiting = s.spawn(async move { receiver.recv().await });
        settle().await;
        sender.send(42).await.unwrap();
        waiting.job().cancel();
        assert!(matches!(waiting.outcome().await, Err(JoinError::Cancelled(_))));
        assert_eq!(other.try_recv(), Ok(42));
    })
    .await;
}

/// A shield makes a suspension one that a cancel does not end.
#[corymb::test]
async fn cancel_013_a_shielded_suspension_in_a_cancelled_coroutine_gets_its_value() {
    let (trace, told) = Trace::twice();
    scope(async |s| {
        let kept = Kept::default();
        let slot = kept.clone();
        let waiting = s.launch(async move {
            Job::current().unwrap().cancel();
            assert!(is_cancelled());
            let wait = suspend_cancellable(move |cont| *slot.lock().unwrap() = Some(cont));
            trace.add(shield(wait).await.unwrap());
        });
        settle().await;
        assert!(waiting.is_cancelled() && !waiting.is_completed());
        kept.lock().unwrap().take().unwrap().resume(42).unwrap();
        waiting.join().await;
    })
    .await;
    assert_eq!(told.get(), ["42"]);
}

#[corymb::test]
async fn cancel_016_to_resume_what_was_cancelled_gives_the_value_back() {
    scope(async |s| {
        let kept = Kept::default();
        let slot = kept.clone();
        let waiting = s.spawn(suspend_cancellable(move |cont| *slot.lock().unwrap() = Some(cont)));
        settle().await;
        waiting.job().cancel();
        settle().await;
        let cont = kept.lock().unwrap().take().unwrap();
        assert!(cont.is_cancelled());
        assert_eq!(cont.resume(42), Err(42));
        assert!(matches!(waiting.outcome().await, Err(JoinError::Cancelled(_))));
    })
    .await;
}

/// Suspends with a hook and gives the continuation away.
fn suspend_with_hook(trace: &Trace, kept: &Kept<u32>) -> impl Future<Output = ()> + use<> {
    let (trace, kept) = (trace.clone(), kept.clone());
    async move {
        let hook = trace.clone();
        let value = suspend_cancellable(move |mut cont| {
            cont.on_cancel(move || hook.add("hook"));
            *kept.lock().unwrap() = Some(cont);
        });
        value.await.unwrap();
        trace.add("resumed");
    }
}

/// The hooks are given no cause: the job has it.
#[corymb::test]
async fn cancel_019_a_value_that_was_not_taken_goes_to_its_undo() {
    let trace = Trace::default();
    scope(async |s| {
        let kept = Kept::default();
        let waiting = s.spawn(suspend_with_hook(&trace, &kept));
        settle().await;
        let cont = kept.lock().unwrap().take().unwrap();
        let undo = trace.clone();
        cont.resume_or(42, move |value| undo.add(value));
        waiting.job().cancel();
        assert_eq!(trace.get(), Vec::<String>::new());
        let outcome = waiting.outcome().await;
        assert!(matches!(outcome, Err(JoinError::Cancelled(_))), "{outcome:?}");
    })
    .await;
    assert_eq!(trace.get(), ["hook", "42"]);
}

/// Differs from the case: a value that is there at once is taken, and the cancel arrives at the
/// next suspension.
#[corymb::test]
async fn cancel_020_a_value_that_is_there_at_once_is_taken_in_spite_of_a_cancel() {
    let trace = Trace::default();
    scope(async |s| {
        let seen = trace.clone();
        let waiting = s.spawn(async move {
            let value = suspend_cancellable(|mut cont| {
                cont.on_cancel(|| unreachable!("the hook of what was resumed"));
                Job::current().unwrap().cancel_with(custom("E"));
                cont.resume_or(42, |_| unreachable!("the undo of what was taken"));
            });
            seen.add(value.await.unwrap());
            yield_now().await;
            seen.add("after");
        });
        let Err(JoinError::Cancelled(cancelled)) = waiting.outcome().await else {
            panic!("it was not cancelled");
        };
        assert_eq!(custom_text(&cancelled), "E");
    })
    .await;
    assert_eq!(trace.get(), ["42"]);
}

#[corymb::test]
async fn cancel_022_hooks_that_panic_are_reported_and_change_nothing() {
    scope(async |s| {
        let kept = Kept::<u32>::default();
        let slot = kept.clone();
        let waiting = s.spawn(suspend_cancellable(move |mut cont| {
            cont.on_cancel(|| panic!("in the hook"));
            *slot.lock().unwrap() = Some(cont);
        }));
        settle().await;
        let cont = kept.lock().unwrap().take().unwrap();
        cont.resume_or(42, |_| panic!("in the undo"));
        waiting.job().cancel();
        assert!(matches!(waiting.outcome().await, Err(JoinError::Cancelled(_))));
        let failures = take_failures();
        assert!(
            failures[0].contains("in the hook") && failures[1].contains("in the undo"),
            "{failures:?}"
        );
    })
    .await;
}

#[corymb::test]
#[should_panic(expected = "a continuation has one hook")]
async fn cancel_023_a_second_hook_is_refused() {
    let value = suspend_cancellable::<(), _>(|mut cont| {
        cont.on_cancel(|| ());
        cont.on_cancel(|| ());
    });
    _ = value.await;
}

#[corymb::test]
async fn cancel_026_a_shield_puts_a_cancel_off_and_does_not_remove_it() {
    let (trace, told) = Trace::twice();
    scope(async |s| {
        trace.add(1);
        let seen = trace.clone();
        let child = s.spawn(async move {
            shield(async {
                seen.add(2);
                yield_now().await;
                seen.add(4);
            })
            .await;
            seen.add(5);
            yield_now().await;
            seen.add("after");
        });
        yield_now().await;
        trace.add(3);
        child.job().cancel();
        let Err(JoinError::Cancelled(cancelled)) = child.outcome().await else {
            panic!("it was not cancelled");
        };
        assert!(matches!(cancelled.cause(), CancelCause::Requested));
    })
    .await;
    assert_eq!(told.get(), ["1", "2", "3", "4", "5"]);
}

/// Differs from the case: no start ignores a cancel that came before it.
#[corymb::test]
async fn cancel_031_whatever_its_start_nothing_begins_under_a_cancelled_parent() {
    let (trace, told) = Trace::twice();
    let ended = cancel_scope(async |c| {
        scope(async |s| {
            c.cancel();
            for builder in [
                s.coroutine().on(Dispatcher::Unconfined),
                s.coroutine().on(Dispatcher::Unconfined).undispatched(),
                s.coroutine().on(Dispatcher::Unconfined).lazy(),
            ] {
                let dropped = trace.on_drop("dropped");
                let child = builder.launch(async move {
                    let _dropped = dropped;
                    unreachable!("it began");
                });
                child.start();
                assert!(child.is_cancelled());
            }
        })
        .await;
    });
    assert!(ended.await.is_err());
    assert_eq!(told.get(), ["dropped"; 3]);
}

/// Differs from the case: a coroutine that returns has completed, and gives its value.
#[corymb::test]
async fn cancel_036_what_returns_though_it_was_cancelled_gives_its_value() {
    scope(async |s| {
        let child = s.spawn(async {
            Job::current().unwrap().cancel();
            "OK"
        });
        let job = child.job();
        assert_eq!(child.outcome().await.unwrap(), "OK");
        assert_eq!(flags(&job), CANCELLED);
    })
    .await;
}

#[corymb::test]
async fn cancel_034_a_failure_outranks_a_cancel_of_the_caller() {
    let trace = Trace::default();
    scope(async |s| {
        let seen = trace.clone();
        let child = s.launch(async move {
            let outer = Job::current().unwrap();
            let result = cancel_scope(async |_| {
                outer.cancel();
                Err::<(), _>("E")
            });
            seen.add(result.await.unwrap().unwrap_err());
        });
        child.join().await;
    })
    .await;
    assert_eq!(trace.get(), ["E"]);
}

/// A scope stands in for a change of the context.
#[corymb::test]
async fn cancel_038_a_cancel_arrives_though_what_was_awaited_is_done() {
    let trace = Trace::default();
    scope(async |s| {
        let (sender, receiver) = oneshot::channel();
        let seen = trace.clone();
        let outer = s.launch(async move {
            scope(async |s| {
                let seen = seen.clone();
                s.launch(async move {
                    receiver.await.unwrap();
                    seen.add("child");
                });
            })
            .await;
            seen.add("after the scope");
        });
        settle().await;
        sender.send(()).unwrap();
        // It runs after the child and before the outer one.
        let seen = trace.clone();
        s.launch(async move {
            seen.add("cancel");
            outer.cancel();
        });
    })
    .await;
    assert_eq!(trace.get(), ["child", "cancel"]);
}

#[corymb::test]
async fn cancel_039_the_first_cause_is_kept() {
    scope(async |s| {
        let child = s.spawn(async {
            Job::current().unwrap().cancel_with(custom("C2"));
            pending::<()>().await;
        });
        assert!(child.job().cancel_with(custom("C1")));
        assert!(!child.job().cancel_with(custom("C2")));
        let Err(JoinError::Cancelled(cancelled)) = child.outcome().await else {
            panic!("it was not cancelled");
        };
        assert_eq!(custom_text(&cancelled), "C1");
    })
    .await;
}

#[corymb::test]
async fn cancel_041_to_wait_for_a_cancel_never_returns() {
    scope(async |s| {
        let child = s.spawn(async {
            pending::<()>().await;
            unreachable!("it went on");
        });
        settle().await;
        child.job().cancel();
        assert!(matches!(child.outcome().await, Err(JoinError::Cancelled(_))));
    })
    .await;
}

#[corymb::test]
async fn cancel_042_a_token_s_cancel_reaches_who_waits_for_its_child() {
    scope(async |s| {
        let parent = Job::new(None);
        let child = Job::new(Some(&parent));
        let waiters = [s.launch(parent.join()), s.launch(child.join())];
        settle().await;
        assert!(waiters.iter().all(Job::is_active));
        parent.cancel();
        settle().await;
        assert!(waiters.iter().all(Job::is_completed));
        assert_eq!([flags(&parent), flags(&child)], [CANCELLED; 2]);
    })
    .await;
}

#[corymb::test]
async fn cancel_043_a_token_s_cancel_spares_its_parent() {
    scope(async |s| {
        let parent = Job::new(None);
        let child = Job::new(Some(&parent));
        let waiters = [s.launch(parent.join()), s.launch(child.join())];
        settle().await;
        child.cancel();
        settle().await;
        assert_eq!(waiters.each_ref().map(Job::is_completed), [false, true]);
        let later = Job::new(Some(&parent));
        assert!(later.is_active());
        parent.cancel();
        assert_eq!(flags(&later), CANCELLED);
        assert!(matches!(later.cause().unwrap().cause(), CancelCause::ParentCancelled));
    })
    .await;
}

#[corymb::test]
async fn cancel_046_what_waits_behind_a_cancelled_token_is_never_polled() {
    let token = Job::new(None);
    token.cancel();
    let never = async { unreachable!("it was polled") }.boxed();
    let ended = select(token.join(), never).await;
    assert!(matches!(ended, Either::Left(_)));
}

#[corymb::test]
async fn cancel_048_a_failure_during_a_cancellation_outranks_it() {
    supervisor_scope(async |s| {
        let child = s.spawn(async {
            let _fails = PanicOnDrop("in the destructor");
            pending::<()>().await;
        });
        settle().await;
        child.job().cancel();
        let Err(JoinError::Panicked(panic)) = child.outcome().await else {
            panic!("the failure was lost");
        };
        assert_eq!(panic.message(), "in the destructor");
        assert_eq!(s.spawn(async { 42 }).await, 42);
    })
    .await;
}

#[corymb::test]
async fn cancel_051_to_drop_a_scope_drops_all_that_is_in_it() {
    let trace = Trace::default();
    let mut open = scope(async |s| {
        for _ in 0..16 {
            let guard = trace.on_drop("dropped");
            s.launch(async move {
                let _guard = guard;
                pending::<()>().await;
            });
        }
        pending::<()>().await;
    })
    .boxed();
    assert!(futures::poll!(&mut open).is_pending());
    settle().await;
    assert_eq!(trace.get().len(), 0);
    drop(open);
    settle().await;
    assert_eq!(trace.get().len(), 16);
}

/// Differs from the case: the scope owns its children, whatever becomes of their handles.
#[corymb::test]
async fn cancel_054_to_drop_a_handle_neither_ends_nor_detaches() {
    scope(async |s| {
        let child = s.spawn(pending::<()>());
        let job = child.job();
        drop(child);
        settle().await;
        assert!(job.is_active());
        job.cancel();
    })
    .await;
}

#[test]
fn cancel_050_what_is_bound_to_a_thread_is_dropped_there_by_a_cancel_from_elsewhere() {
    struct Here(std::rc::Rc<std::cell::Cell<Option<std::thread::ThreadId>>>);
    impl Drop for Here {
        fn drop(&mut self) {
            self.0.set(Some(std::thread::current().id()));
        }
    }
    let dropped = std::rc::Rc::new(std::cell::Cell::new(None));
    run_blocking(scope(async |s| {
        let held = Here(std::rc::Rc::clone(&dropped));
        let job = s.launch_local(async move {
            let _held = held;
            pending::<()>().await;
        });
        std::thread::spawn(move || job.cancel()).join().unwrap();
    }));
    assert_eq!(dropped.get(), Some(std::thread::current().id()));
}
