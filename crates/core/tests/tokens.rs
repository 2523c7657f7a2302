//! Jobs without code.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corymb_core::{CancelCause, Job, JobState, cancel_scope, scope, yield_now};

use crate::common::Harness;

fn count_cancels(job: &Job) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    job.on_cancelling(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    count
}

#[test]
fn a_token_has_no_name_but_can_be_asked_and_printed() {
    let token = Job::new(None);
    assert_eq!(token.name(), None);
    assert!(format!("{token:?}").contains("Active"));
    let child = Job::new(Some(&token));
    let mut dump = String::new();
    token.dump(&mut dump).unwrap();
    assert_eq!(dump.lines().count(), 2, "{dump}");
    drop(child);
}

#[test]
fn a_handler_of_a_token_may_panic() {
    let token = Job::new(None);
    token.on_cancelling(|_| panic!("in a handler"));
    assert!(token.cancel());
    assert_eq!(token.state(), JobState::Cancelled);
}

#[test]
fn a_token_of_a_cancelled_parent_has_ended() {
    let rt = Harness::new();
    let parent = Job::new(None);
    parent.cancel();
    let child = Job::new(Some(&parent));
    assert_eq!(child.state(), JobState::Cancelled);
    assert!(matches!(child.cause().unwrap().cause(), CancelCause::ParentCancelled));
    rt.block_on(async move { child.join().await });
}

#[test]
fn tokens_form_chains_of_any_length() {
    let depth = if cfg!(miri) { 100 } else { 100_000 };
    let chain = || {
        let first = Job::new(None);
        let last = (0..depth).fold(first.clone(), |last, _| Job::new(Some(&last)));
        (first, last)
    };
    // Each token is kept by the next one alone.
    drop(chain());

    let (first, last) = chain();
    first.cancel();
    assert_eq!(last.state(), JobState::Cancelled);
}

#[test]
fn a_token_is_cancelled_with_a_coroutine_that_never_suspended() {
    let rt = Harness::new();
    let count = rt.block_on(async {
        let mut count = None;
        let ended = cancel_scope(async |c| {
            scope(async |s| {
                let token = Job::new(Some(&s.launch(async {})));
                count = Some(count_cancels(&token));
                c.cancel();
                yield_now().await;
            })
            .await;
        });
        assert!(ended.await.is_err());
        count.unwrap()
    });
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_token_does_not_hide_a_child_from_the_figures() {
    let rt = Harness::new();
    rt.block_on(scope(async |s| {
        let job = s.job();
        let token = Job::new(Some(&job));
        s.launch(async {});
        assert_eq!((job.children().len(), job.unlisted()), (1, 1));
        drop(token);
        assert_eq!((job.children().len(), job.unlisted()), (0, 1));
    }));
}
