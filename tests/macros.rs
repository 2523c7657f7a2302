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
