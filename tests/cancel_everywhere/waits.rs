//! Timers, jobs and callbacks.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{Mutex, oneshot};
use corymb::testing::elapsed;
use corymb::time::{Interval, interval, now, sleep_until, timeout_abandon};
use corymb::{check_cancelled, consume_budget, race, suspend_cancellable};

use super::{Count, LONG, Log, SECOND, bears, ends_whole};

#[test]
fn what_waits_for_nobody_leaves_nothing() {
    bears("yield_now, consume_budget, check_cancelled", |_| {
        let scenario = async {
            yield_now().await;
            consume_budget().await;
            check_cancelled().await;
        };
        (scenario, |_| ())
    });
}

#[test]
fn timers_are_taken_out() {
    // The clock goes on if there is one to go to.
    let ends_early = |_| assert!(elapsed() <= SECOND, "a timer is left");
    bears("sleep", |_| (race((sleep(SECOND), sleep(LONG))), ends_early));
    bears("sleep_until", |_| {
        (async { race((sleep(SECOND), sleep_until(now() + LONG))).await }, ends_early)
    });
    let ends_early = |_| assert!(elapsed() <= SECOND, "a timer is left");
    bears("with_timeout", |_| (with_timeout(LONG, sleep(SECOND)), ends_early));
    bears("with_deadline", |_| {
        (async { with_deadline(now() + LONG, sleep(SECOND)).await }, ends_early)
    });
    bears("timeout_abandon", |_| (timeout_abandon(LONG, sleep(SECOND)), ends_early));
}

#[test]
fn timeouts_end_their_work() {
    ends_whole("with_timeout", |parts| {
        let (a, b) = (parts.work(), parts.work());
        let work = scope(async move |s| {
            s.launch(a);
            b.await;
        });
        with_timeout(SECOND / 2, work)
    });
    ends_whole("timeout_abandon", |parts| timeout_abandon(SECOND / 2, parts.work()));
    ends_whole("timeout_abandon", |parts| timeout_abandon(LONG, parts.work()));
}

#[test]
fn ticks_are_not_lost() {
    bears("Interval::tick", |beside| {
        let (log, start) = (Log::default(), now());
        let interval = Arc::new(Mutex::new(interval(SECOND)));
        let tick = async move |log: &Log, interval: &Mutex<Interval>| {
            let tick = interval.lock().await.tick().await;
            log.push((tick - start).as_secs());
        };
        let (other, same) = (log.clone(), interval.clone());
        beside.launch(async move {
            sleep(SECOND / 2).await;
            while other.get().len() < 4 {
                tick(&other, &same).await;
            }
        });
        let ticked = log.clone();
        let scenario = async move {
            tick(&ticked, &interval).await;
            tick(&ticked, &interval).await;
        };
        (scenario, move |_| assert_eq!(log.get()[..4], [0, 1, 2, 3]))
    });
}

#[test]
fn who_waits_for_a_job_gives_up_the_wait_alone() {
    let completes = |child: Job| move || assert!(child.is_completed() && !child.is_cancelled());
    bears("Deferred", |beside| {
        let child = beside.spawn(sleep(SECOND));
        let completes = completes(child.job());
        (child, move |_| completes())
    });
    bears("Deferred::outcome", |beside| {
        let child = beside.spawn(sleep(SECOND));
        let completes = completes(child.job());
        (child.outcome(), move |_| completes())
    });
    bears("Job::join", |beside| {
        let child = beside.launch(sleep(SECOND));
        (child.join(), {
            let completes = completes(child);
            move |_| completes()
        })
    });
    bears("Job::cancel_and_join", |beside| {
        let child = beside.launch(shield(sleep(SECOND)));
        (child.cancel_and_join(), move |_| assert!(child.is_cancelled() && child.is_completed()))
    });
    bears("Scope::promise", |beside| {
        let (promise, value) = beside.promise();
        beside.launch(async move {
            sleep(SECOND).await;
            promise.complete(7).unwrap();
        });
        let completes = completes(value.job());
        (value, move |_| completes())
    });
}

#[test]
fn a_value_that_is_awaited_by_reference_is_not_lost() {
    bears("&mut Deferred", |beside| {
        let log = Log::default();
        let child = Arc::new(Mutex::new(beside.spawn(async {
            sleep(SECOND).await;
            7
        })));
        let take = async |child: Arc<Mutex<Deferred<u64>>>, log: Log| {
            let mut child = child.lock().await;
            if log.get().is_empty() {
                log.push((&mut *child).await);
            }
        };
        beside.launch(take(child.clone(), log.clone()));
        (take(child, log.clone()), move |_| assert_eq!(log.get(), [7]))
    });
    bears("&mut oneshot::Receiver", |beside| {
        let (log, (sender, receiver)) = (Log::default(), oneshot::channel());
        let receiver = Arc::new(Mutex::new(receiver));
        let take = async |receiver: Arc<Mutex<oneshot::Receiver<u64>>>, log: Log| {
            let mut receiver = receiver.lock().await;
            if log.get().is_empty() {
                log.push((&mut *receiver).await.unwrap());
            }
        };
        beside.launch(async move {
            sleep(SECOND).await;
            sender.send(7).unwrap();
        });
        beside.launch(take(receiver.clone(), log.clone()));
        (take(receiver, log.clone()), move |_| assert_eq!(log.get(), [7]))
    });
}

#[test]
fn a_continuation_gives_its_value_or_undoes_it() {
    bears("suspend_cancellable", |beside| {
        let (given, undone, hooked) = (Count::default(), Count::default(), Count::default());
        let slot = Arc::new(std::sync::Mutex::new(None));
        let (resumes, gives, undoes) = (slot.clone(), given.clone(), undone.clone());
        beside.launch(async move {
            sleep(SECOND).await;
            let cont: Option<corymb::Continuation<u64>> = resumes.lock().unwrap().take();
            if let Some(cont) = cont {
                gives.add();
                cont.resume_or(7, move |_| undoes.add());
            }
        });
        let hook = hooked.clone();
        let scenario = suspend_cancellable(move |mut cont| {
            cont.on_cancel(move || hook.add());
            *slot.lock().unwrap() = Some(cont);
        });
        (scenario, move |value: Option<Result<u64, _>>| {
            let got = usize::from(value.is_some());
            assert_eq!(got + undone.get(), given.get(), "the value went somewhere, once");
            assert!(hooked.get() <= 1 - got);
        })
    });
}
