//! Why something was cancelled, as those below it see it.

use std::future::pending;
use std::panic::Location;
use std::sync::Mutex;
use std::time::Duration;

use corymb::prelude::*;
use corymb::testing::settle;
use corymb::{CancelCause, Cancelled, JoinError, Runtime};
use futures::FutureExt;

use crate::common::{custom, custom_text, ms};

/// The handle of a child that waits for ever, for who comes after its scope.
#[derive(Default)]
struct Child(Mutex<Option<Deferred<()>>>);

impl Child {
    fn put(&self, child: Deferred<()>) {
        *self.0.lock().unwrap() = Some(child);
    }

    /// Why it was cancelled.
    async fn cancelled(self) -> Cancelled {
        let child = self.0.into_inner().unwrap().unwrap();
        match child.outcome().await {
            Err(JoinError::Cancelled(cancelled)) => cancelled,
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn assert_here(place: &Location<'_>, line: u32) {
    assert_eq!((place.file(), place.line()), (file!(), line));
}

#[corymb::test]
async fn a_sibling_that_failed() {
    for suspended in [true, false] {
        let child = Child::default();
        let mut line = 0;
        let result: Result<(), _> = try_scope(async |s| {
            let failing = async move {
                if suspended {
                    yield_now().await;
                }
                Err("failed")
            };
            line = line!() + 1;
            s.launch(failing);
            child.put(s.spawn(pending()));
            pending().await
        })
        .await;
        assert_eq!(result, Err("failed"));
        let cancelled = child.cancelled().await;
        assert!(matches!(cancelled.cause(), CancelCause::SiblingFailed), "{cancelled:?}");
        assert_here(cancelled.place(), line);
    }
}

#[corymb::test]
async fn a_parent_that_was_cancelled() {
    for suspended in [true, false] {
        let child = Child::default();
        let mut line = 0;
        let ended = cancel_scope(async |c| {
            scope(async |s| {
                child.put(s.spawn(scope(async |s| s.spawn(pending()).await)));
                if suspended {
                    settle().await;
                }
                line = line!() + 1;
                c.cancel();
                pending::<()>().await;
            })
            .await;
        })
        .await;
        assert_here(ended.unwrap_err().place(), line);
        let cancelled = child.cancelled().await;
        assert!(matches!(cancelled.cause(), CancelCause::ParentCancelled), "{cancelled:?}");
        assert_here(cancelled.place(), line);
    }
}

#[corymb::test]
async fn a_deadline() {
    let child = Child::default();
    let line = line!() + 1;
    let timeout = with_timeout(
        ms(10),
        scope(async |s| {
            child.put(s.spawn(pending()));
            pending::<()>().await;
        }),
    );
    timeout.await.unwrap_err();
    let cancelled = child.cancelled().await;
    assert!(matches!(cancelled.cause(), CancelCause::Deadline), "{cancelled:?}");
    assert_here(cancelled.place(), line);
}

#[corymb::test]
async fn a_scope_that_was_dropped() {
    let child = Child::default();
    let line = line!() + 1;
    let mut dropped = scope(async |s| {
        child.put(s.spawn(pending()));
        pending::<()>().await;
    })
    .boxed();
    assert!(futures::poll!(&mut dropped).is_pending());
    settle().await;
    drop(dropped);
    let cancelled = child.cancelled().await;
    assert!(matches!(cancelled.cause(), CancelCause::Dropped), "{cancelled:?}");
    assert_here(cancelled.place(), line);
}

#[corymb::test]
async fn a_cause_of_one_s_own() {
    let child = Child::default();
    let ended = cancel_scope(async |c| {
        scope(async |s| {
            child.put(s.spawn(scope(async |s| s.spawn(pending()).await)));
            settle().await;
            c.job().cancel_with(custom("closing time"));
            pending::<()>().await;
        })
        .await;
    })
    .await;
    assert_eq!(custom_text(&ended.unwrap_err()), "closing time");
    let cancelled = child.cancelled().await;
    assert_eq!(custom_text(&cancelled), "closing time");
    assert!(cancelled.to_string().contains("because closing time"), "{cancelled}");
    assert!(std::error::Error::source(&cancelled).is_some());
}

#[test]
fn a_shutdown() {
    let rt = Runtime::builder().parallelism(1).build().unwrap();
    let child = rt.detached(scope(async |s| s.spawn(pending::<()>()).await));
    assert!(rt.shutdown(Duration::from_secs(10)).is_empty());
    let outcome = futures::executor::block_on(child.outcome());
    let Err(JoinError::Cancelled(cancelled)) = outcome else { panic!("{outcome:?}") };
    assert!(matches!(cancelled.cause(), CancelCause::Shutdown), "{cancelled:?}");
}

#[corymb::test]
async fn the_first_cause_stands_also_for_a_child_that_has_not_run() {
    let child = Child::default();
    let ended = cancel_scope(async |c| {
        scope(async |s| {
            let spawned = s.spawn(pending());
            c.cancel();
            assert!(!spawned.job().cancel_with(custom("too late")));
            child.put(spawned);
            pending::<()>().await;
        })
        .await;
    });
    ended.await.unwrap_err();
    let cancelled = child.cancelled().await;
    assert!(matches!(cancelled.cause(), CancelCause::ParentCancelled), "{cancelled:?}");
}
