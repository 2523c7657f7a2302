//! `#[corymb::test]`, with the crate that it expands to.

use std::num::ParseIntError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use corymb_core::hooks::{self, Choice};
use corymb_core::time::sleep;
use corymb_core::{scope, yield_now};
use corymb_testing::{TestRuntime, elapsed, hold_time};

#[corymb_macros::test(crate = "corymb_testing")]
async fn time_is_virtual() {
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(elapsed(), Duration::from_secs(3600));
}

#[corymb_macros::test(crate = "corymb_testing")]
async fn an_ok_passes() -> Result<(), ParseIntError> {
    yield_now().await;
    let answer: u32 = "42".parse()?;
    assert_eq!(answer, 42);
    Ok(())
}

#[corymb_macros::test(crate = "corymb_testing")]
#[should_panic(expected = "test_attribute::an_error_fails returned an error: ParseIntError")]
async fn an_error_fails() -> Result<(), Box<dyn std::error::Error>> {
    yield_now().await;
    let _answer: u32 = "what".parse()?;
    Ok(())
}

#[corymb_macros::test(crate = "corymb_testing")]
#[should_panic(expected = "as it should")]
async fn a_panic_fails() {
    panic!("as it should");
}

#[corymb_macros::test(crate = "corymb_testing")]
#[should_panic(expected = "deadlock")]
async fn a_deadlock_fails() {
    std::future::pending::<()>().await;
}

#[corymb_macros::test(crate = "corymb_testing")]
#[ignore = "it fails, and is not run"]
async fn an_ignored_test_is_not_run() {
    panic!("it was run");
}

#[corymb_macros::test(crate = "corymb_testing", time_limit = "20ms")]
#[should_panic(expected = "too long: it has taken 20ms")]
async fn the_time_limit_is_set() {
    let _held = hold_time();
    std::future::pending::<()>().await;
}

#[corymb_macros::test(crate = "corymb_testing", explore, time_limit = "20ms")]
#[should_panic(expected = "time limit in schedule 1: too long: it has taken 20ms")]
async fn the_time_limit_of_an_exploration_is_set() {
    let _held = hold_time();
    std::future::pending::<()>().await;
}

/// What seed 7 gives, and no other one does in all likelihood.
#[corymb_macros::test(crate = "corymb_testing", seed = 7)]
async fn the_seed_is_set() {
    let expected = || TestRuntime::builder().seed(7).build().run(async { draw() });
    assert_eq!(draw(), thread::spawn(expected).join().unwrap());
}

fn draw() -> Vec<usize> {
    (0..8).map(|_| hooks::with(|runtime| runtime.choose(Choice::Branch, 1000))).collect()
}

/// Of 8 coroutines, that they stay in order has the chance 1 in 40320; this seed is none of them.
#[corymb_macros::test(crate = "corymb_testing", seed = 1, shuffled)]
async fn the_order_is_shuffled() {
    let order = Arc::new(Mutex::new(Vec::new()));
    scope(async |s| {
        for i in 0..8 {
            let order = Arc::clone(&order);
            s.launch(async move { order.lock().unwrap().push(i) });
        }
    })
    .await;
    let order = order.lock().unwrap();
    assert_eq!(order.len(), 8);
    assert!(!order.is_sorted(), "{order:?}");
}

static RUNS: AtomicUsize = AtomicUsize::new(0);

#[corymb_macros::test(crate = "corymb_testing", explore, schedules = 20, seed = 3)]
#[should_panic(expected = "panic in schedule 20: ")]
async fn it_is_run_in_many_schedules() {
    let run = RUNS.fetch_add(1, Ordering::Relaxed) + 1;
    assert!(run < 20, "that is enough");
}

/// `real`, with a module that stands for the facade.
mod real {
    pub(crate) mod __private {
        pub(crate) fn test_real<T, F>(future: F)
        where
            T: corymb_testing::Verdict,
            F: Future<Output = T> + Send + 'static,
        {
            corymb_testing::run_test("in the stand-in", future);
        }
    }

    #[corymb_macros::test(real, crate = "crate::real")]
    #[should_panic(expected = "in the stand-in returned an error: \"no\"")]
    async fn runs_on_what_the_facade_says() -> Result<(), &'static str> {
        corymb_core::yield_now().await;
        Err("no")
    }
}
