//! Timeouts; most of their cases are in the tests of `corymb::testing`.

use std::future::pending;
use std::panic::AssertUnwindSafe;

use corymb::prelude::*;
use corymb::sync::channel;
use corymb::testing::{busy, elapsed};
use futures::FutureExt;

use crate::common::{PanicOnDrop, ms, text};

#[corymb::test]
async fn timeout_008_a_failure_during_the_expiry_comes_out() {
    let failing = with_timeout(ms(10), async {
        let _fails = PanicOnDrop("E");
        pending::<()>().await;
    });
    let failed = AssertUnwindSafe(failing).catch_unwind().await;
    assert_eq!(text(&*failed.unwrap_err()), "E");
    assert_eq!(elapsed(), ms(10));
}

#[corymb::test]
async fn timeout_011_an_expiry_can_be_had_as_none() {
    assert_eq!(with_timeout(ms(10), sleep(ms(1000))).await.ok(), None);
    assert_eq!(with_timeout(ms(10), async { 42 }).await.ok(), Some(42));
    assert_eq!(elapsed(), ms(10));
}

#[corymb::test]
async fn timeout_022_work_that_is_always_ready_does_not_starve_its_timeout() {
    let (sender, receiver) = channel::bounded(1);
    let reads = with_timeout(ms(1), async {
        for _ in 0..10_000 {
            sender.send(()).await.unwrap();
            receiver.recv().await.unwrap();
            busy(ms(1));
        }
    });
    reads.await.unwrap_err();
}
