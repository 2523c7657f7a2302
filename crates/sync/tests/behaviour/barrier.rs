//! `Barrier` and `Latch`.

use std::sync::Arc;
use std::task::Poll;

use corymb::testing::drop_at_every_poll;
use corymb::yield_now;
use corymb_sync::{Barrier, Latch};

use crate::common::Task;

#[test]
fn each_round_has_one_leader() {
    let barrier = Barrier::new(7);
    for round in 0..3 {
        assert_eq!(barrier.statistics().rounds, round);
        let mut tasks: Vec<_> = (0..6).map(|_| Task::waiting(barrier.wait())).collect();
        assert!(!tasks.iter().any(Task::woken));
        let last = Task::new(barrier.wait()).poll();
        assert!(matches!(last, Poll::Ready(result) if result.is_leader()));
        for task in &mut tasks {
            assert!(task.woken());
            assert!(matches!(task.poll(), Poll::Ready(result) if !result.is_leader()));
        }
    }
}

#[test]
fn one_that_is_dropped_leaves_its_round() {
    let barrier = Barrier::new(2);
    drop(Task::waiting(barrier.wait()));
    assert_eq!(barrier.statistics().arrived, 0);
    let mut first = Task::waiting(barrier.wait());
    assert!(Task::new(barrier.wait()).poll().is_ready());
    assert!(first.poll().is_ready());
}

#[test]
fn one_that_is_dropped_after_its_round_changes_nothing() {
    let barrier = Barrier::new(2);
    let first = Task::waiting(barrier.wait());
    assert!(Task::new(barrier.wait()).poll().is_ready());
    let next = Task::waiting(barrier.wait());
    drop(first);
    assert_eq!(barrier.statistics().arrived, 1);
    drop(next);
}

#[test]
fn a_wait_that_is_dropped_at_any_poll_has_not_arrived() {
    let barrier = Arc::new(Barrier::new(2));
    drop_at_every_poll(
        |scope| {
            let [one, other] = [(); 2].map(|()| Arc::clone(&barrier));
            scope.launch(async move {
                yield_now().await;
                other.wait().await;
            });
            async move {
                one.wait().await;
            }
        },
        |_| assert!(barrier.statistics().arrived <= 1),
    );
    assert_eq!(barrier.statistics().arrived, 0, "all are gone");
}

#[test]
fn a_latch_opens_once() {
    let latch = Latch::new(2);
    let mut tasks: Vec<_> = (0..9).map(|_| Task::waiting(latch.wait())).collect();
    latch.count_down();
    assert!(!tasks.iter().any(Task::woken));
    assert_eq!((latch.statistics().left, latch.statistics().waiting), (1, 9));
    latch.count_down();
    assert!(tasks.iter_mut().all(|task| task.woken() && task.poll().is_ready()));
    latch.count_down();
    assert!(latch.is_open());
}

#[test]
fn a_latch_waits_for_its_holds() {
    let latch = Arc::new(Latch::new(1));
    let holds = [(); 2].map(|()| latch.hold());
    latch.count_down();
    let wait = Task::waiting(latch.wait());
    drop(holds);
    assert!(wait.woken() && latch.is_open());
}

#[test]
#[should_panic(expected = "`Latch::hold` of an open latch")]
fn an_open_latch_is_not_held() {
    drop(Arc::new(Latch::new(0)).hold());
}

#[test]
fn a_latch_whose_wait_is_dropped_at_any_poll_opens() {
    let mut opened = 0;
    let polls = drop_at_every_poll(
        |scope| {
            let latch = Arc::new(Latch::new(1));
            let opener = Arc::clone(&latch);
            scope.launch(async move {
                yield_now().await;
                opener.count_down();
            });
            async move { latch.wait().await }
        },
        |_| opened += 1,
    );
    assert_eq!((polls, opened), (2, 5));
}
