//! Contexts: dispatchers, names, failure handlers, scoped values.

use std::cell::Cell;
use std::future::pending;
use std::pin::Pin;

use corymb::prelude::*;
use corymb::testing::{settle, take_failures};
use corymb::{FailureHandler, Inherit, PollHook, scoped_value};

use crate::common::{CANCELLED, Trace, flags, ms, thread_of_its_own};

scoped_value! {
    static VALUE: &'static str;
    static LIST: Vec<u32> = Inherit::By(Vec::clone);
}

fn value() -> Option<&'static str> {
    VALUE.try_with(|value| *value)
}

/// What a dispatcher is called in a context.
fn kind(context: &Context) -> &'static str {
    match context.dispatcher() {
        None => "none",
        Some(Dispatcher::Default) => "default",
        Some(Dispatcher::Io) => "io",
        Some(Dispatcher::Unconfined) => "unconfined",
        Some(_) => "other",
    }
}

/// A scoped value in the place of an element that is backed by a thread-local.
#[corymb::test(real)]
async fn context_001_a_value_is_seen_on_every_thread_that_its_coroutine_is_on() {
    let (first, first_id) = thread_of_its_own();
    let (second, second_id) = thread_of_its_own();
    let seen_at = |id| {
        assert_eq!(std::thread::current().id(), id);
        value()
    };
    scope(async move |s| {
        assert_eq!(value(), None);
        let elsewhere = first.clone();
        let child = s.coroutine().on(first).spawn(VALUE.bind("bound", async move {
            let mut seen = vec![seen_at(first_id)];
            seen.push(with_context(second, async { seen_at(second_id) }).await);
            seen.push(seen_at(first_id));
            seen
        }));
        assert_eq!(value(), None);
        assert_eq!(child.await, [Some("bound"); 3]);
        assert_eq!(value(), None);
        // Nor is it left behind on the threads.
        assert_eq!(with_context(elsewhere, async { seen_at(first_id) }).await, None);
    })
    .await;
}

thread_local!(static PLACE: Cell<&'static str> = const { Cell::new("main") });

/// Sets `PLACE` during each poll.
fn installed(value: &'static str) -> PollHook {
    PollHook::new(move |polling| {
        let outer = PLACE.replace(value);
        let ran = polling.run();
        PLACE.set(outer);
        ran
    })
}

#[corymb::test]
async fn context_004_what_is_written_by_hand_is_gone_after_a_suspension() {
    let part = with_context(installed("initial"), async {
        assert_eq!(PLACE.get(), "initial");
        PLACE.set("overridden");
        with_context(Name::new("inner"), yield_now()).await;
        assert_eq!(PLACE.get(), "initial");
        PLACE.set("overridden");
    });
    part.await;
    assert_eq!(PLACE.get(), "main");
}

#[corymb::test]
async fn context_006_hooks_are_left_in_the_reverse_of_their_order() {
    let trace = Trace::default();
    let noting = |name: &'static str| {
        let trace = trace.clone();
        PollHook::new(move |polling| {
            trace.add(format!("+{name}"));
            let ran = polling.run();
            trace.add(format!("-{name}"));
            ran
        })
    };
    let context = Context::from(noting("A")).and(noting("B"));
    with_context(context, yield_now()).await;
    assert_eq!(trace.get()[..4], ["+A", "+B", "-B", "-A"]);
}

#[corymb::test]
async fn context_002_a_value_of_an_undispatched_child_is_gone_after_its_first_part() {
    let (trace, told) = Trace::twice();
    scope(async |s| {
        let child = VALUE.bind("bound", async move {
            trace.add(VALUE.get());
            yield_now().await;
            trace.add(VALUE.get());
        });
        let job = s.coroutine().undispatched().launch(child);
        assert_eq!(told.get(), ["bound"]);
        assert_eq!(value(), None);
        job.join().await;
        assert_eq!(value(), None);
    })
    .await;
    assert_eq!(told.get(), ["bound"; 2]);
}

type Part = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where the block with the value runs.
fn in_each_kind_of_context(block: impl Fn() -> Part) -> Vec<Part> {
    let view = Dispatcher::Default.limited_parallelism(1);
    vec![
        block(),
        Box::pin(VALUE.bind("outer", block())),
        Box::pin(with_context(Name::new("part"), block())),
        Box::pin(with_context(Dispatcher::Io, block())),
        Box::pin(with_context(Dispatcher::Unconfined, block())),
        Box::pin(with_context(view, block())),
        Box::pin(shield(block())),
        Box::pin({
            let block = block();
            async move { with_timeout(ms(100), block).await.unwrap() }
        }),
        Box::pin({
            let block = block();
            scope(async move |s| drop(s.launch(block)))
        }),
    ]
}

/// What the block does.
fn each_kind_of_suspension() -> Vec<Part> {
    vec![
        Box::pin(async {}),
        Box::pin(sleep(ms(1))),
        Box::pin(yield_now()),
        Box::pin(scope(async |s| drop(s.launch(async { assert_eq!(value(), Some("inner")) })))),
        Box::pin(with_context(Dispatcher::Io, yield_now())),
    ]
}

#[corymb::test]
async fn context_007_a_value_is_back_after_each_suspension_and_the_outer_one_after_the_block() {
    let block = || -> Part {
        Box::pin(async {
            let outer = value();
            for suspension in each_kind_of_suspension() {
                let inside = async {
                    assert_eq!(value(), Some("inner"));
                    suspension.await;
                    assert_eq!(value(), Some("inner"));
                };
                VALUE.bind("inner", inside).await;
                assert_eq!(value(), outer);
            }
        })
    };
    for around in in_each_kind_of_context(block) {
        around.await;
        assert_eq!(value(), None);
    }
}

#[corymb::test]
async fn context_008_a_value_may_be_copied_for_each_child() {
    let list = vec![1, 2, 3];
    LIST.bind(list, async {
        let own = LIST.with(|list| list.as_ptr().addr());
        let (copy, place) = scope(async |s| {
            s.spawn(async { LIST.with(|list| (list.clone(), list.as_ptr().addr())) }).await
        })
        .await;
        assert_eq!(copy, [1, 2, 3]);
        assert_ne!(place, own);
    })
    .await;
}

#[corymb::test]
async fn context_010_the_right_dispatcher_wins_and_default_is_what_there_is_without_one() {
    let contexts = [
        || Context::new(),
        || Dispatcher::Default.into(),
        || Dispatcher::Io.into(),
        || Dispatcher::Unconfined.into(),
    ];
    for left in contexts {
        for right in contexts {
            let (left, right): (Context, Context) = (left(), right());
            let expected = if kind(&right) == "none" { kind(&left) } else { kind(&right) };
            assert_eq!(kind(&left.and(right)), expected);
        }
    }
    let in_child = scope(async |s| s.spawn(async { kind(&Context::current()) }).await);
    assert_eq!(in_child.await, "default");
}

#[test]
fn context_013_there_is_a_job_inside_of_a_coroutine_alone() {
    assert_eq!(Job::current(), None);
    corymb::testing::TestRuntime::new().run(scope(async |s| {
        let child = s.spawn(async { Job::current() });
        let job = child.job();
        assert_eq!(child.await, Some(job));
    }));
}

/// A name stands in for a task-local value.
#[corymb::test]
async fn context_014_what_is_dropped_by_a_cancel_is_dropped_in_its_context() {
    struct Look(Trace);
    impl Drop for Look {
        fn drop(&mut self) {
            self.0.add(Context::current().name().unwrap());
        }
    }
    let trace = Trace::default();
    scope(async |s| {
        let look = Look(trace.clone());
        let child = s.coroutine().name("child").launch(async move {
            let _look = look;
            pending::<()>().await;
        });
        settle().await;
        child.cancel_and_join().await;
        assert_eq!(flags(&child), CANCELLED);
    })
    .await;
    assert_eq!(trace.get(), ["child"]);
}

/// A binding stands in for a write: it is for what is inside, and children have what was bound
/// around their scope.
#[corymb::test]
async fn context_015_a_child_s_value_is_its_own_and_a_parent_s_is_for_later_children() {
    VALUE
        .bind("root", async {
            let seen = scope(async |s| s.spawn(VALUE.bind("child", async { VALUE.get() })).await);
            assert_eq!(seen.await, "child");
            assert_eq!(VALUE.get(), "root");
            let later = scope(async |s| s.spawn(async { VALUE.get() }).await);
            assert_eq!(VALUE.bind("parent", later).await, "parent");
        })
        .await;
}

#[corymb::test]
async fn context_017_a_failure_handler_is_given_a_failure_once() {
    let trace = Trace::default();
    supervisor_scope(async |s| {
        let child = s.coroutine().context(trace.handler()).launch(async { panic!("E") });
        child.join().await;
        assert_eq!(flags(&child), CANCELLED);
    })
    .await;
    assert_eq!(trace.get(), ["E"]);
}

#[corymb::test]
async fn context_019_a_failure_handler_that_fails_is_reported_with_what_it_was_given() {
    supervisor_scope(async |s| {
        let handler = FailureHandler::new(|_| panic!("E2"));
        s.coroutine().context(handler).launch(async { panic!("E1") });
    })
    .await;
    let failures = take_failures();
    assert!(failures[0].contains("E1") && failures[1].contains("E2"), "{failures:?}");
}
