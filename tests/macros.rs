//! The attributes, as a user writes them.

use std::time::Duration;

use corymb::prelude::*;
use corymb::testing::elapsed;

#[corymb::test]
async fn virtual_time_passes_at_once() {
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(elapsed(), Duration::from_secs(3600));
}

#[corymb::test]
#[should_panic(expected = "not a number")]
async fn an_error_fails_the_test() -> Result<(), Box<dyn std::error::Error>> {
    Err("not a number")?
}

#[test]
fn a_choice_can_be_told_from_others() {
    use corymb::testing::{Choice, Decision, TestRuntime};
    let runtime = TestRuntime::builder().shuffled().build();
    runtime.scope().launch(async {});
    runtime.run(async {});
    let is_next = |decision: &Decision| matches!(decision.choice, Choice::Next);
    assert!(runtime.choices().iter().all(is_next));
}

#[corymb::test(real)]
async fn real_threads() {
    let sum = scope(async |s| {
        let children = [s.spawn(async { 1 }), s.spawn(async { 2 })];
        let mut sum = 0;
        for child in children {
            sum += child.await;
        }
        sum
    });
    assert_eq!(sum.await, 3);
}

#[corymb::test(real)]
#[should_panic(expected = "left 1 coroutine behind")]
async fn a_leak_fails_a_real_test() {
    drop(detached(std::future::pending::<()>()));
}

#[corymb::main]
async fn main() -> Result<(), std::fmt::Error> {
    yield_now().await;
    assert_eq!(corymb::RuntimeHandle::current().unwrap().metrics().alive, 1);
    Ok(())
}

#[test]
fn main_runs() {
    assert_eq!(format!("{:?}", main()), format!("{:?}", std::process::ExitCode::SUCCESS));
}

/// `#[corymb::test(local)]`: an `Rc` is alive across each suspension of the body.
mod local_tests {
    use std::cell::{Cell, RefCell};
    use std::future::pending;
    use std::rc::Rc;
    use std::thread;
    use std::time::Duration;

    use corymb::prelude::*;
    use corymb::testing::{advance, elapsed, settle, take_failures};

    #[corymb::test(local)]
    async fn time_is_virtual_and_the_thread_is_the_test_s() {
        let (shared, home) = (Rc::new(1), thread::current().id());
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(elapsed(), Duration::from_secs(3600));
        assert_eq!((*shared, thread::current().id()), (1, home));
    }

    #[corymb::test(local)]
    async fn what_is_ready_runs_in_the_order_of_the_queue() {
        let trace = Rc::new(RefCell::new(Vec::new()));
        scope(async |s| {
            for n in 0..3 {
                let trace = Rc::clone(&trace);
                s.launch_local(async move { trace.borrow_mut().push(n) });
            }
            yield_now().await; // behind all three
            trace.borrow_mut().push(3);
            let late = Rc::clone(&trace);
            s.launch_local(async move {
                sleep(Duration::from_secs(5)).await;
                late.borrow_mut().push(5);
            });
            settle().await;
            trace.borrow_mut().push(4);
            advance(Duration::from_secs(5)).await;
            trace.borrow_mut().push(6);
        })
        .await;
        assert_eq!(*trace.borrow(), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[corymb::test(local, seed = 1, shuffled)]
    async fn it_goes_with_a_seed() {
        let trace = Rc::new(RefCell::new(Vec::new()));
        scope(async |s| {
            for n in 0..8 {
                let trace = Rc::clone(&trace);
                s.launch_local(async move { trace.borrow_mut().push(n) });
            }
        })
        .await;
        assert!(!trace.borrow().is_sorted(), "{trace:?}");
    }

    #[corymb::test(local)]
    async fn main_and_blocking_are_here() {
        let shared = Rc::new(Cell::new(0));
        with_context(Dispatcher::Main, async { shared.set(1) }).await;
        blocking(|| shared.set(shared.get() + 1)).await;
        assert_eq!(shared.get(), 2);
        assert_eq!(spawn_on(Dispatcher::Default, async { 3 }).await, 3);
    }

    #[corymb::test(local)]
    #[should_panic(expected = "cannot go on elsewhere")]
    async fn a_section_elsewhere_is_refused_as_in_a_program() {
        let shared = Rc::new(1);
        with_context(Dispatcher::Default, async {}).await;
        drop(shared);
    }

    #[corymb::test(local)]
    #[should_panic(expected = "deadlock")]
    async fn a_deadlock_fails() {
        let _shared = Rc::new(1);
        pending::<()>().await;
    }

    #[corymb::test(local)]
    #[should_panic(expected = "still alive after the test's body had returned")]
    async fn a_leak_fails() {
        let shared = Rc::new(1);
        drop(corymb::spawn_local(async move {
            pending::<()>().await;
            drop(shared);
        }));
    }

    #[corymb::test(local)]
    #[should_panic(expected = "an_error_fails returned an error: \"no\"")]
    async fn an_error_fails() -> Result<(), &'static str> {
        let _shared = Rc::new(1);
        yield_now().await;
        Err("no")
    }

    #[corymb::test(local)]
    async fn failures_can_be_taken() {
        let shared = Rc::new(1);
        supervisor_scope(async |s| drop(s.launch_local(async { panic!("E") }))).await;
        assert_eq!(take_failures().len(), 1);
        drop(shared);
    }

    #[corymb::test(local, real)]
    async fn on_real_threads_it_stays_and_serves_main() {
        let (shared, home) = (Rc::new(1), thread::current().id());
        let elsewhere = scope(async |s| s.spawn(async { thread::current().id() }).await).await;
        assert_ne!(elsewhere, home);
        let on_main = spawn_on(Dispatcher::Main, async { thread::current().id() }).await;
        assert_eq!((on_main, thread::current().id(), *shared), (home, home, 1));
    }

    #[corymb::test(local, real)]
    #[should_panic(expected = "left 1 coroutine behind")]
    async fn a_leak_fails_a_real_test() {
        let shared = Rc::new(1);
        drop(corymb::spawn_local(async move {
            pending::<()>().await;
            drop(shared);
        }));
        yield_now().await;
    }

    #[corymb::test(local, real)]
    #[should_panic(expected = "the test returned an error: \"no\"")]
    async fn an_error_fails_a_real_test() -> Result<(), &'static str> {
        let _shared = Rc::new(1);
        yield_now().await;
        Err("no")
    }
}

mod local {
    use std::rc::Rc;

    use corymb::prelude::*;

    #[corymb::main(local)]
    async fn main() {
        let here = std::thread::current().id();
        let shared = Rc::new(1);
        yield_now().await;
        let child = scope(async |s| {
            let shared = Rc::clone(&shared);
            s.spawn_local(async move { (shared, std::thread::current().id()) }).await
        });
        assert_eq!(child.await, (shared, here));
        let on_main = spawn_on(Dispatcher::Main, async { std::thread::current().id() });
        assert_eq!(on_main.await, here);
    }

    #[test]
    fn main_stays_on_its_thread() {
        assert_eq!(format!("{:?}", main()), format!("{:?}", std::process::ExitCode::SUCCESS));
    }
}
