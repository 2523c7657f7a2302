//! Channels, locks and signals.

use std::pin::pin;
use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{
    Condvar, Mutex, Notify, OnceCell, RateLimiter, RwLock, Semaphore, broadcast, channel, oneshot,
    watch,
};
use corymb::testing::elapsed;
use futures::{SinkExt, StreamExt};

use super::{Count, Log, SECOND, bears};

#[test]
fn oneshot_channels() {
    bears("oneshot::Receiver", |beside| {
        let (sender, receiver) = oneshot::channel();
        let (parts, refused) = (Count::default(), Count::default());
        let (value, refuses) = (parts.part(), refused.clone());
        beside.launch(async move {
            sleep(SECOND).await;
            if sender.send(value).is_err() {
                refuses.add();
            }
        });
        (receiver, move |got: Option<Result<_, _>>| {
            assert!(refused.get() <= usize::from(got.is_none()), "it was received and refused");
            drop(got);
            parts.assert_none();
        })
    });
    bears("oneshot::Sender::closed", |beside| {
        let (mut sender, receiver) = oneshot::channel::<()>();
        let closes = beside.launch(async move {
            sleep(SECOND).await;
            drop(receiver);
        });
        let scenario = async move {
            sender.closed().await;
            assert!(sender.is_closed());
        };
        (scenario, move |_| assert!(closes.is_completed() && !closes.is_cancelled()))
    });
}

/// Takes so many values out of a stream that is shared.
async fn take<S>(stream: Arc<Mutex<S>>, log: Log, times: usize)
where
    S: futures::Stream<Item = u64> + Unpin,
{
    for _ in 0..times {
        let mut stream = stream.lock().await;
        let Some(value) = stream.next().await else { break };
        log.push(value);
    }
}

/// Two values are taken out of it, or as many as there is time for; the others by another one.
fn taken<S>(beside: &Scope, stream: S) -> (impl Future<Output = ()> + Send + use<S>, Log)
where
    S: futures::Stream<Item = u64> + Unpin + Send + 'static,
{
    let (stream, log) = (Arc::new(Mutex::new(stream)), Log::default());
    beside.launch(take(stream.clone(), log.clone(), 9));
    (take(stream, log.clone(), 2), log)
}

#[test]
fn streams_go_on_for_the_next() {
    bears("channel::Receiver::into_stream", |beside| {
        let (sender, receiver) = channel::bounded(1);
        let (scenario, log) = taken(&beside, Box::pin(receiver.into_stream()));
        beside.launch(async move {
            for n in 1..=3 {
                sender.send(n).await.unwrap();
            }
        });
        (scenario, move |_| assert_eq!(log.get(), [1, 2, 3]))
    });
    bears("channel::Receiver::stream", |beside| {
        let (sender, receiver) = channel::bounded(2);
        let log = Log::default();
        let (next, rest) = (receiver.clone(), log.clone());
        beside.launch(async move {
            sender.send(1).await.unwrap();
            sleep(SECOND).await;
            sender.send(2).await.unwrap();
            sleep(SECOND).await;
            drop(sender);
            next.stream().for_each(async |value| rest.push(value)).await;
        });
        let first = log.clone();
        let scenario = async move {
            let mut stream = pin!(receiver.stream());
            for _ in 0..2 {
                first.push(stream.next().await.unwrap());
            }
        };
        (scenario, move |_| assert_eq!(log.get(), [1, 2]))
    });
    bears("broadcast::Receiver::into_stream", |beside| {
        let (sender, receiver) = broadcast::channel(4);
        let stream = Box::pin(receiver.into_stream().map(Result::unwrap));
        let (scenario, log) = taken(&beside, stream);
        beside.launch(async move {
            for n in 1..=3 {
                sender.send(n).unwrap();
                sleep(SECOND).await;
            }
        });
        (scenario, move |_| assert_eq!(log.get(), [1, 2, 3]))
    });
    bears("watch::Receiver::into_stream", |beside| {
        let (sender, receiver) = watch::channel(0);
        let (scenario, log) = taken(&beside, Box::pin(receiver.into_stream().map(|n| *n)));
        beside.launch(async move {
            for n in 1..=3 {
                sleep(SECOND).await;
                sender.send(n).unwrap();
            }
        });
        (scenario, move |_| {
            let log = log.get();
            assert!(log == [1, 2, 3] || log == [0, 1, 2, 3], "{log:?}");
        })
    });
}

#[test]
fn a_sink_goes_on_for_the_next() {
    bears("channel::Sender::into_sink", |beside| {
        let (sender, receiver) = channel::bounded(1);
        let log = Log::default();
        let received = log.clone();
        let sink = Arc::new(Mutex::new(Box::pin(sender.into_sink())));
        let next = sink.clone();
        beside.launch(async move {
            sleep(SECOND).await;
            while let Ok(value) = receiver.recv().await {
                received.push(value);
            }
        });
        beside.launch(async move {
            sleep(2 * SECOND).await;
            next.lock().await.send(9).await.unwrap();
        });
        let scenario = async move {
            for n in 1..=3 {
                sink.lock().await.send(n).await.unwrap();
            }
        };
        (scenario, move |done: Option<()>| {
            let log = log.get();
            let (last, sent) = log.split_last().unwrap();
            assert_eq!(*last, 9, "the sink is stuck");
            assert!([1, 2, 3].starts_with(sent) && (done.is_none() || sent.len() == 3), "{log:?}");
        })
    });
}

#[test]
fn locks_and_permits_come_back() {
    bears("RwLock::read, upgradable_read, Guard::upgrade", |beside| {
        let lock = Arc::new(RwLock::new(0));
        let reads = lock.clone();
        beside.launch(async move {
            let _guard = reads.read().await;
            sleep(SECOND).await;
        });
        let writes = lock.clone();
        let scenario = async move {
            drop(writes.read().await);
            let guard = writes.upgradable_read().await;
            let before = *guard;
            *guard.upgrade().await = before + 1;
        };
        (scenario, move |done: Option<()>| {
            let value = lock.try_write().expect("nobody holds it");
            assert_eq!(*value, i32::from(done.is_some()));
        })
    });
    bears("RwLock::write", |beside| {
        let lock = Arc::new(RwLock::new(0));
        let (first, then, writes) = (lock.clone(), lock.clone(), lock.clone());
        beside.launch(async move {
            let _guard = first.read().await;
            sleep(SECOND).await;
        });
        let reader = beside.launch(async move {
            sleep(SECOND / 2).await;
            drop(then.read().await); // held back by the writer
        });
        let scenario = async move { *writes.write().await += 1 };
        (scenario, move |done: Option<()>| {
            assert!(reader.is_completed(), "it is held back for ever");
            assert_eq!(*lock.try_write().expect("nobody holds it"), i32::from(done.is_some()));
        })
    });
    bears("Semaphore::acquire, acquire_many, acquire_owned", |beside| {
        let permits = Arc::new(Semaphore::new(3));
        let (first, used) = (permits.clone(), permits.clone());
        beside.launch(async move {
            let _two = first.acquire_many(2).await.unwrap();
            sleep(SECOND).await;
        });
        let scenario = async move {
            let many = used.acquire_many(2).await.unwrap();
            sleep(SECOND).await;
            drop(many);
            let _one = used.acquire().await.unwrap();
            drop(used.acquire_owned().await.unwrap());
        };
        (scenario, move |_| {
            let now = permits.statistics();
            assert_eq!((permits.available_permits(), now.waiting), (3, 0));
        })
    });
    bears("RateLimiter::acquire_many", |beside| {
        let limiter = Arc::new(RateLimiter::new(2, SECOND).burst(2));
        let (used, next) = (limiter.clone(), limiter.clone());
        let next = beside.launch(async move {
            sleep(SECOND / 2).await;
            next.acquire_many(2).await;
        });
        let scenario = async move {
            used.acquire_many(2).await;
            used.acquire_many(2).await;
        };
        (scenario, move |_| {
            assert!(next.is_completed());
            assert!(elapsed() <= 3 * SECOND, "tokens are lost: {:?}", elapsed());
        })
    });
}

#[test]
fn notifications_go_to_one_who_waits() {
    bears("Notified::enable", |beside| {
        let notify = Arc::new(Notify::new());
        let (waits, tells) = (notify.clone(), notify.clone());
        // There is one notification, which whoever gets it hands on.
        let next = beside.launch(async move {
            waits.notified().await;
            waits.notify_one();
        });
        beside.launch(async move {
            sleep(SECOND).await;
            tells.notify_one();
        });
        let scenario = async move {
            let mut notified = pin!(notify.notified());
            notified.as_mut().enable().await;
            notified.await;
            notify.notify_one();
        };
        (scenario, move |_| assert!(next.is_completed(), "a notification is lost"))
    });
    bears("Condvar::wait, Condvar::wait_while", |beside| {
        let (lock, condvar) = (Arc::new(Mutex::new(0)), Arc::new(Condvar::new()));
        let (changes, tells) = (lock.clone(), condvar.clone());
        beside.launch(async move {
            for n in 1..=3 {
                sleep(SECOND).await;
                *changes.lock().await = n;
                tells.notify_all();
            }
        });
        let (mutex, waits) = (lock.clone(), condvar.clone());
        let scenario = async move {
            let mut guard = mutex.lock().await;
            if *guard == 0 {
                guard = waits.wait(guard).await;
            }
            let guard = waits.wait_while(guard, |n| *n < 3).await;
            assert_eq!(*guard, 3);
        };
        (scenario, move |_| {
            assert_eq!(*lock.try_lock().expect("nobody holds it"), 3);
            assert_eq!(condvar.statistics().waiting, 0);
        })
    });
}

#[test]
fn a_cell_is_left_to_the_next() {
    bears("OnceCell::get_or_try_init", |beside| {
        let cell = Arc::new(OnceCell::new());
        let (first, next) = (cell.clone(), cell.clone());
        beside.launch(async move {
            let made = next.get_or_try_init(async {
                sleep(SECOND).await;
                Ok::<_, u32>(2)
            });
            made.await.unwrap();
        });
        let scenario = async move {
            let made = first.get_or_try_init(async {
                sleep(SECOND).await;
                Ok::<_, u32>(1)
            });
            *made.await.unwrap()
        };
        (scenario, move |got: Option<i32>| {
            let made = *cell.get().expect("the next one has made it");
            assert!(got.is_none_or(|got| got == made));
        })
    });
}

#[test]
fn what_goes_through_many_hands_is_whole() {
    bears("a pipeline", |_| {
        let (log, parts) = (Log::default(), Count::default());
        let (received, counted) = (log.clone(), parts.clone());
        let (sender, receiver) = channel::bounded(1);
        let kept = receiver.clone();
        let scenario = scope(async move |s| {
            s.launch(async move {
                for n in 1..=3 {
                    let permit = sender.reserve().await.unwrap();
                    permit.send((n, counted.part())).unwrap();
                }
            });
            while let Ok((n, _part)) = receiver.recv().await {
                received.push(n);
            }
        });
        (scenario, move |done: Option<()>| {
            let mut all = log.get();
            assert!(done.is_none() || all.len() == 3);
            all.extend(std::iter::from_fn(|| kept.try_recv().ok()).map(|(n, _)| n));
            assert!([1, 2, 3].starts_with(&all), "{all:?}");
            parts.assert_none();
            let now = kept.statistics();
            assert_eq!((now.reserved, now.waiting_senders, now.waiting_receivers), (0, 0, 0));
        })
    });
    bears("two accounts", |_| {
        let accounts = Arc::new(Mutex::new([5, 5]));
        let permits = Arc::new(Semaphore::new(1));
        let (moved, used) = (accounts.clone(), permits.clone());
        let scenario = scope(async move |s| {
            for from in [0, 1] {
                let (accounts, permits) = (moved.clone(), used.clone());
                s.launch(async move {
                    let _permit = permits.acquire().await.unwrap();
                    for _ in 0..2 {
                        let mut accounts = accounts.lock().await;
                        accounts[from] -= 1;
                        accounts[1 - from] += 1;
                    }
                });
            }
        });
        (scenario, move |_| {
            assert_eq!(accounts.try_lock().expect("nobody holds it").iter().sum::<i32>(), 10);
            assert_eq!(permits.available_permits(), 1);
        })
    });
}
