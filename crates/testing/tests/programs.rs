//! What proptest draws: it is whole, and is made as small as can be.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::channel::{self, Receiver, Sender};
use corymb::sync::{Mutex, RwLock, Semaphore};
use corymb::testing::programs::Patience::{Endless, Polls};
use corymb::testing::programs::{Act, ChannelOp, Ended, JobTree, LockOp, Mode, lists_of};
use corymb::testing::{Explorer, Guide, TestRuntime};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

mod common;

use common::failure;

const MS: Duration = Duration::from_millis(1);
const CASES: u32 = if cfg!(miri) { 3 } else { 300 };
const SEEDS: u8 = if cfg!(miri) { 1 } else { 20 };

fn config(cases: u32) -> Config {
    Config { failure_persistence: None, ..Config::with_cases(cases) }
}

/// The smallest value for which `test` fails, found from this seed.
fn smallest<T: Debug>(seed: u8, values: impl Strategy<Value = T>, test: impl Fn(T) -> bool) -> T {
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(config(10_000), random);
    let found = runner.run(&values, |value| {
        prop_assert!(test(value));
        Ok(())
    });
    match found {
        Err(TestError::Fail(_, value)) => value,
        other => panic!("nothing fails: {other:?}"),
    }
}

/// Work that leaves a mark if it is cancelled.
fn leaves_no_mark(tree: JobTree) -> bool {
    let mark = Arc::new(AtomicBool::new(false));
    let marked = Arc::clone(&mark);
    TestRuntime::new().run(tree.run(move || {
        let mark = Arc::clone(&marked);
        async move {
            mark.store(true, SeqCst);
            sleep(MS).await;
            mark.store(false, SeqCst);
        }
    }));
    !mark.load(SeqCst)
}

#[test]
fn a_job_tree_shrinks_to_what_it_takes() {
    use Act::{Fail, Launch, Panic, Sleep, Timeout, Work, Yield};
    let tree = |acts: &[Act]| JobTree(acts.to_vec());
    // What ends it comes right after the work has begun.
    let mut minimal = vec![tree(&[Timeout(0, tree(&[Work]))])];
    for end in [Fail, Panic] {
        let (work, ends) = (Launch(tree(&[Work])), Launch(JobTree(vec![end.clone()])));
        minimal.extend([tree(&[ends.clone(), Work]), tree(&[work.clone(), ends])]);
        for pause in [Yield, Sleep(0), Work] {
            minimal.push(tree(&[work.clone(), pause, end.clone()]));
        }
    }
    for seed in 0..SEEDS {
        let found = smallest(seed, any::<JobTree>(), leaves_no_mark);
        println!("{found:?}");
        assert!(minimal.contains(&found), "{found:?}");
    }
}

/// Takes a value out, and gives way before it gives it.
async fn careless_recv(queue: &StdMutex<VecDeque<u32>>) -> Option<u32> {
    let value = queue.lock().unwrap().pop_front();
    yield_now().await;
    value
}

#[test]
fn operations_shrink_to_what_it_takes() {
    let keeps_all = |ops: Vec<ChannelOp>| {
        TestRuntime::new().run(async move {
            let queue = StdMutex::new(VecDeque::new());
            let (mut sent, mut received) = (0, 0);
            for op in ops {
                match op {
                    ChannelOp::Send(_) | ChannelOp::TrySend => {
                        queue.lock().unwrap().push_back(sent);
                        sent += 1;
                    }
                    ChannelOp::Recv(patience) => {
                        let value = patience.wait(careless_recv(&queue)).await;
                        received += u32::from(value.flatten().is_some());
                    }
                    _ => {}
                }
            }
            let left = queue.lock().unwrap().len();
            usize::try_from(sent - received) == Ok(left)
        })
    };
    for seed in 0..SEEDS {
        let found = smallest(seed, lists_of(1, 0..20), |lists| keeps_all(lists.concat())).concat();
        let [ChannelOp::Send(Endless) | ChannelOp::TrySend, ChannelOp::Recv(Polls(1))] = found[..]
        else {
            panic!("{found:?}")
        };
    }
}

#[test]
fn what_is_drawn_beside_shrinks_too() {
    for seed in 0..SEEDS {
        let drawn = (lists_of::<LockOp>(1..4, 0..10), any::<Guide>(), any::<JobTree>(), 0..9_u32);
        let is_empty = |lists: &[Vec<LockOp>]| lists.iter().all(Vec::is_empty);
        let found = smallest(seed, drawn, |(lists, ..)| is_empty(&lists));
        let expected = format!("({:?}, Guide([]), JobTree([]), 0)", found.0);
        assert_eq!((found.0.concat().len(), format!("{found:?}")), (1, expected));
    }
}

#[test]
fn a_schedule_shrinks_to_what_it_takes() {
    let keeps_all = |guide: Guide| {
        let explored = Explorer::new().guide(guide).check(|| async {
            let count = Arc::new(Mutex::new(0));
            scope(async |s| {
                for _ in 0..3 {
                    let count = Arc::clone(&count);
                    s.launch(async move {
                        let read = *count.lock().await;
                        *count.lock().await = read + 1;
                    });
                }
            })
            .await;
            assert_eq!(*count.lock().await, 3);
        });
        explored.is_ok()
    };
    for seed in 0..SEEDS {
        let found = format!("{:?}", smallest(seed, any::<Guide>(), keeps_all));
        println!("{found}");
        let parts = found.split(|c: char| !c.is_ascii_digit()).filter(|it| !it.is_empty());
        let (plain, others): (Vec<_>, Vec<_>) = parts.partition(|it| *it == "0");
        assert!(others.len() == 1 && plain.len() <= 3, "{found}");
    }
}

#[test]
fn how_a_tree_ends() {
    let tree = |acts: &[Act]| JobTree(acts.to_vec());
    let ended = |acts: &[Act]| TestRuntime::new().run(tree(acts).run(|| async {}));
    assert_eq!(ended(&[Act::Work, Act::Yield, Act::Sleep(3)]), Ended::Done);
    assert_eq!(ended(&[Act::Scope(tree(&[Act::Fail])), Act::Panic]), Ended::Failed);
    assert_eq!(ended(&[Act::Launch(tree(&[Act::Panic])), Act::Wait]), Ended::Panicked);
    assert_eq!(ended(&[Act::Launch(tree(&[Act::Wait]))]), Ended::Cancelled);
    assert_eq!(ended(&[Act::Timeout(3, tree(&[Act::Wait]))]), Ended::Done);
    let alone = tree(&[Act::Launch(tree(&[Act::Panic])), Act::Launch(tree(&[Act::Fail]))]);
    assert_eq!(ended(&[Act::Supervisor(alone)]), Ended::Done);
}

#[test]
fn work_that_fails_is_told_of_wherever_it_is() {
    let tree = |acts: &[Act]| JobTree(acts.to_vec());
    let child = tree(&[Act::Launch(tree(&[Act::Work]))]);
    let beside = |acts: &[Act]| JobTree([&child.0[..], acts].concat());
    for tree in [
        child.clone(),
        tree(&[Act::Supervisor(child.clone())]),
        beside(&[Act::Wait]),
        // It fails when the tree has failed already.
        beside(&[Act::Yield, Act::Fail]),
        beside(&[Act::Yield, Act::Panic]),
        tree(&[Act::Supervisor(beside(&[Act::Yield, Act::Panic]))]),
        tree(&[Act::Timeout(1, beside(&[Act::Wait]))]),
    ] {
        let work = || {
            shield(async {
                sleep(2 * MS).await;
                panic!("no work")
            })
        };
        let text = failure(|| TestRuntime::new().run(tree.clone().run(work)));
        assert!(text.contains("panicked: no work"), "{tree:?}: {text}");
    }
}

proptest! {
    #![proptest_config(config(CASES))]

    /// Wherever it is cancelled, in whatever schedule: what it holds comes back, and no more than
    /// may do are at it at once.
    #[test]
    fn locks_and_permits_come_back(tree: JobTree, guide: Guide) {
        let found = Explorer::new().guide(guide).check(|| {
            let tree = tree.clone();
            async move {
                let permits = Arc::new(Semaphore::new(2));
                let (lock, at_once) = (Arc::new(Mutex::new(0)), Arc::new(AtomicUsize::new(0)));
                let (used, locked) = (Arc::clone(&permits), Arc::clone(&lock));
                tree.run(move || {
                    let (permits, lock) = (Arc::clone(&used), Arc::clone(&locked));
                    let part = Part(Arc::clone(&at_once));
                    async move {
                        let _permit = permits.acquire().await.unwrap();
                        let _part = part.begin(2);
                        *lock.lock().await += 1;
                        sleep(MS).await;
                    }
                })
                .await;
                assert_eq!(permits.available_permits(), 2);
                assert!(lock.try_lock().is_some());
            }
        });
        prop_assert!(found.is_ok(), "{}", found.unwrap_err());
    }

    /// Each value that was accepted is received; each of them once, and in the order of its sender.
    #[test]
    fn channels_keep_what_they_have_accepted(
        lists in lists_of::<ChannelOp>(1..4, 0..8),
        capacity in 0..3usize,
        guide: Guide,
    ) {
        let found = Explorer::new().guide(guide).check(|| {
            let lists = lists.clone();
            async move {
                let (sender, receiver) = match capacity {
                    0 => channel::rendezvous(),
                    places => channel::bounded(places),
                };
                let traffic = Arc::<StdMutex<Traffic>>::default();
                scope(async |s| {
                    for (who, ops) in lists.into_iter().enumerate() {
                        let (senders, receivers) = (vec![sender.clone()], vec![receiver.clone()]);
                        let does = Ends { who, senders, receivers }.run(ops, Arc::clone(&traffic));
                        s.launch(async { drop(with_timeout(MS, does).await) });
                    }
                })
                .await;
                let mut traffic = std::mem::take(&mut *traffic.lock().unwrap());
                traffic.received.extend(std::iter::from_fn(|| receiver.try_recv().ok()));
                traffic.check();
            }
        });
        prop_assert!(found.is_ok(), "{}", found.unwrap_err());
    }

    /// Who has it exclusively has it alone, and in the end it is free.
    #[test]
    fn locks_exclude(lists in lists_of::<LockOp>(1..4, 0..8), guide: Guide) {
        let found = Explorer::new().guide(guide).check(|| {
            let lists = lists.clone();
            async move {
                let lock = Arc::new(RwLock::new(0));
                scope(async |s| {
                    for ops in lists {
                        s.launch(take_and_leave(ops, Arc::clone(&lock)));
                    }
                })
                .await;
                assert!(lock.try_write().is_some());
            }
        });
        prop_assert!(found.is_ok(), "{}", found.unwrap_err());
    }
}

/// One of those that are counted until they are dropped.
struct Part(Arc<AtomicUsize>);

impl Part {
    fn begin(&self, most: usize) -> impl Drop + use<> {
        struct Begun(Arc<AtomicUsize>);
        impl Drop for Begun {
            fn drop(&mut self) {
                self.0.fetch_sub(1, SeqCst);
            }
        }
        assert!(self.0.fetch_add(1, SeqCst) < most, "too many at once");
        Begun(Arc::clone(&self.0))
    }
}

/// What was sent by whom and accepted, and what was received, in its order.
#[derive(Default)]
struct Traffic {
    accepted: Vec<(usize, u32)>,
    received: Vec<(usize, u32)>,
}

impl Traffic {
    fn check(&self) {
        // A send that is given up may have sent it: nobody was told.
        let lost = self.accepted.iter().find(|it| !self.received.contains(it));
        assert_eq!(lost, None, "{:?}", self.received);
        for who in 0..3 {
            let of = |it: &&(usize, u32)| it.0 == who;
            let received: Vec<_> = self.received.iter().filter(of).collect();
            assert!(received.is_sorted_by(|a, b| a < b), "{received:?}");
        }
    }
}

/// What a coroutine has of a channel.
struct Ends {
    who: usize,
    senders: Vec<Sender<(usize, u32)>>,
    receivers: Vec<Receiver<(usize, u32)>>,
}

impl Ends {
    async fn run(mut self, ops: Vec<ChannelOp>, traffic: Arc<StdMutex<Traffic>>) {
        for (n, op) in (0..).zip(ops) {
            let value = (self.who, n);
            let accepted = |accepted| {
                if accepted {
                    traffic.lock().unwrap().accepted.push(value);
                }
            };
            let received = |value| traffic.lock().unwrap().received.extend(value);
            match (op, self.senders.last(), self.receivers.last()) {
                (ChannelOp::Send(patience), Some(sender), _) => {
                    let sent = patience.wait(sender.send(value)).await;
                    accepted(sent.is_some_and(|sent| sent.is_ok()));
                }
                (ChannelOp::TrySend, Some(sender), _) => accepted(sender.try_send(value).is_ok()),
                (ChannelOp::Recv(patience), _, Some(receiver)) => {
                    received(patience.wait(receiver.recv()).await.and_then(Result::ok));
                }
                (ChannelOp::TryRecv, _, Some(receiver)) => received(receiver.try_recv().ok()),
                (ChannelOp::CloneSender, Some(sender), _) => self.senders.push(sender.clone()),
                (ChannelOp::DropSender, ..) => drop(self.senders.pop()),
                (ChannelOp::CloneReceiver, _, Some(receiver)) => {
                    self.receivers.push(receiver.clone());
                }
                (ChannelOp::DropReceiver, ..) => drop(self.receivers.pop()),
                (ChannelOp::Close, Some(sender), _) => drop(sender.close()),
                _ => yield_now().await,
            }
        }
    }
}

/// Changes what is in the lock when it has it exclusively, and sees that nobody else does.
async fn take_and_leave(ops: Vec<LockOp>, lock: Arc<RwLock<u32>>) {
    let (mut write, mut read) = (None, None);
    for op in ops {
        let is_free = write.is_none() && read.is_none();
        match op {
            LockOp::Lock(Mode::Exclusive, patience) if is_free => {
                write = patience.wait(lock.write()).await;
            }
            LockOp::Lock(Mode::Shared, patience) if is_free => {
                read = patience.wait(lock.read()).await;
            }
            LockOp::TryLock(Mode::Exclusive) if is_free => write = lock.try_write(),
            LockOp::TryLock(Mode::Shared) if is_free => read = lock.try_read(),
            LockOp::Unlock => (write, read) = (None, None),
            _ => {}
        }
        if let Some(value) = &mut write {
            **value += 1;
        }
        let seen = write.as_deref().or(read.as_deref()).copied();
        yield_now().await;
        assert_eq!(write.as_deref().or(read.as_deref()).copied(), seen);
    }
}

#[test]
fn smaller_lists_are_still_of_those_that_were_asked_for() {
    for seed in 0..SEEDS {
        let found = smallest(seed, lists_of::<ChannelOp>(2..4, 1..5), |_| false);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    }
}
