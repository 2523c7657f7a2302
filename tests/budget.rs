//! Work that never has to wait starves nobody.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use corymb::Runtime;
use corymb::net::{TcpListener, TcpStream};
use corymb::prelude::*;
use corymb::sync::{channel, oneshot};
use corymb::testing::{TestRuntime, busy};
use corymb::time::{interval, now};

/// Whether another coroutine of the same thread had its turn.
#[derive(Clone, Default)]
struct Turn(Arc<(AtomicBool, AtomicUsize)>);

impl Turn {
    fn take(&self) {
        self.0.0.store(true, Ordering::SeqCst);
    }

    /// Whether there is reason to go on; panics if there would be for ever.
    fn is_awaited(&self) -> bool {
        let round = self.0.1.fetch_add(1, Ordering::SeqCst);
        assert!(round < 1_000, "another coroutine does not get its turn");
        !self.0.0.load(Ordering::SeqCst)
    }
}

/// Runs `body` beside a coroutine that is launched after it.
async fn beside<F>(body: impl FnOnce(Turn) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    scope(async |s| {
        let turn = Turn::default();
        s.launch(body(turn.clone()));
        s.launch(async move { turn.take() });
    })
    .await;
}

#[corymb::test]
async fn a_channel_that_is_never_full_nor_empty() {
    beside(async |turn| {
        let (sender, receiver) = channel::bounded(1);
        while turn.is_awaited() {
            sender.send(()).await.unwrap();
            receiver.recv().await.unwrap();
        }
    })
    .await;
}

#[corymb::test]
async fn oneshot_values_that_are_there() {
    beside(async |turn| {
        while turn.is_awaited() {
            let (mut sender, receiver) = oneshot::channel();
            if turn.is_awaited() {
                sender.send(()).unwrap();
                receiver.await.unwrap();
            } else {
                drop(receiver);
                sender.closed().await;
            }
        }
    })
    .await;
}

#[corymb::test]
async fn ticks_that_are_due() {
    let begun = now();
    beside(async move |turn| {
        let mut ticks = interval(Duration::from_millis(1));
        busy(Duration::from_secs(2));
        while turn.is_awaited() {
            ticks.tick().await;
        }
    })
    .await;
    assert_eq!(now() - begun, Duration::from_secs(2));
}

#[corymb::test]
async fn sleeps_that_are_over() {
    beside(async |turn| {
        while turn.is_awaited() {
            sleep(Duration::ZERO).await;
        }
    })
    .await;
}

#[corymb::test]
async fn joins_of_what_has_ended() {
    let ended = Job::new(None);
    ended.cancel();
    beside(async move |turn| {
        while turn.is_awaited() {
            ended.join().await;
        }
    })
    .await;
}

/// The ticks of a timeout's own timer are no operations of its body.
#[test]
fn a_timeout_around_what_is_always_ready_expires_in_time() {
    let runtime = TestRuntime::new();
    runtime.run(async {
        let (sender, receiver) = channel::bounded(1);
        let endless = async {
            loop {
                sender.send(()).await.unwrap();
                receiver.recv().await.unwrap();
                busy(Duration::from_millis(1));
            }
        };
        with_timeout(Duration::from_millis(100), endless).await.unwrap_err();
    });
    // Two operations to a millisecond: the time counts from the end of the first poll, after 64 of
    // them, and is looked at every 64.
    assert_eq!(runtime.elapsed(), Duration::from_millis(192));
}

/// A socket that is always ready, on the one worker of a runtime.
#[test]
fn bytes_and_connections_that_are_there() {
    let runtime = Runtime::builder().parallelism(1).build().unwrap();
    let all = runtime.detached(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let peers: Vec<_> = (0..100)
            .map(|_| {
                let mut peer = std::net::TcpStream::connect(address).unwrap();
                peer.write_all(&[7; 1_000]).unwrap();
                peer
            })
            .collect();
        beside(async move |turn| {
            let mut streams: Vec<TcpStream> = Vec::new();
            while turn.is_awaited() {
                if streams.len() < peers.len() {
                    streams.push(listener.accept().await.unwrap().0);
                } else {
                    assert_eq!(streams[0].read(&mut [0]).await.unwrap(), 1);
                    streams[0].readable().await.unwrap();
                }
            }
        })
        .await;
    });
    runtime.run_blocking(all);
}
