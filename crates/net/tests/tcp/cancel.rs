//! Futures that are dropped while they wait, and the end of the runtime.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{listen, pair, poll_once, run};
use corymb_net::{TcpListener, TcpStream, lookup_host};
use futures::StreamExt;

/// A waker that knows how many hold it.
struct Held;

impl Wake for Held {
    fn wake(self: Arc<Self>) {}
}

/// Polls `future` with a waker of its own, drops it, and checks that the waker is gone.
fn drop_pending<F: Future>(future: F) {
    let held = Arc::new(Held);
    let waker = Waker::from(Arc::clone(&held));
    {
        let future = pin!(future);
        assert!(future.poll(&mut Context::from_waker(&waker)).is_pending());
    }
    drop(waker);
    // The driver may be about to wake it, for an event that came late.
    let begin = Instant::now();
    while Arc::strong_count(&held) > 1 {
        assert!(begin.elapsed() < Duration::from_secs(10), "a waker was left behind");
        thread::yield_now();
    }
}

#[test]
fn a_cancelled_read_loses_nothing() {
    run(async |reactor| {
        let (near, far) = pair().await;
        let mut buffer = [0; 64];
        let mut received = Vec::new();
        for round in 0..100_u8 {
            // Dropped before the data, after its first poll.
            drop_pending(far.read(&mut buffer));
            assert_eq!(reactor.statistics().waiting, 0);
            // Dropped with the data under way, or there: unpolled, so nothing was taken.
            let unpolled = far.read(&mut buffer);
            near.write(&[round; 3]).await.unwrap();
            drop(unpolled);
            // Dropped after every poll: one that gave nothing has taken nothing.
            let mut count = 0;
            while count < 3 {
                let polled = poll_once(pin!(far.read(&mut buffer[count..])));
                match polled {
                    Poll::Ready(read) => count += read.unwrap(),
                    Poll::Pending => far.readable().await.unwrap(),
                }
            }
            received.extend_from_slice(&buffer[..count]);
        }
        let expected: Vec<u8> = (0..100_u8).flat_map(|round| [round; 3]).collect();
        assert_eq!(received, expected);
    });
}

#[test]
fn a_cancelled_write_has_written_nothing() {
    run(async |_| {
        let (near, far) = pair().await;
        let mut sent = 0;
        while let Ok(written) = near.try_write(&[7; 65_536]) {
            sent += written;
        }
        // There may be room again once the peer's system has taken what is under way: then the
        // write is not pending, and tells how much it has written.
        for _ in 0..10 {
            if let Poll::Ready(written) = poll_once(pin!(near.write(&[7; 65_536]))) {
                sent += written.unwrap();
            }
        }
        drop(near);
        let mut received = 0;
        let mut buffer = vec![0; 65_536];
        loop {
            match far.read(&mut buffer).await.unwrap() {
                0 => break,
                read => received += read,
            }
        }
        assert_eq!(received, sent);
    });
}

#[test]
fn a_cancelled_accept_loses_nothing() {
    run(async |reactor| {
        let (listener, address) = listen().await;
        for _ in 0..20 {
            drop_pending(listener.accept());
            drop_pending(async { listener.incoming().next().await });
            assert_eq!(reactor.statistics().waiting, 0);
            let unpolled = listener.accept();
            // Established by the system, in its queue.
            let clients = [
                TcpStream::connect(address).await.unwrap(),
                TcpStream::connect(address).await.unwrap(),
            ];
            drop(unpolled);
            for client in clients {
                // Dropped after every poll: one that gave no connection has taken none.
                let (_, peer) = loop {
                    match poll_once(pin!(listener.accept())) {
                        Poll::Ready(accepted) => break accepted.unwrap(),
                        Poll::Pending => thread::yield_now(),
                    }
                };
                assert_eq!(peer, client.local_addr().unwrap());
            }
        }
    });
}

#[test]
fn a_cancelled_connect_leaves_nothing() {
    run(async |reactor| {
        let (listener, address) = listen().await;
        drop(TcpStream::connect(address));
        assert_eq!(reactor.statistics().sources, 1);
        // Over loopback it may be there at once, or not.
        drop(poll_once(pin!(TcpStream::connect(address))));
        assert_eq!(reactor.statistics().sources, 1);
        drop(listener);
    });
}

#[test]
fn a_cancelled_lookup_leaves_nothing() {
    run(async |_| {
        // More than there are helper threads: some are dropped before they begin.
        let mut lookups: Vec<_> = (0..50).map(|_| Box::pin(lookup_host("localhost:1"))).collect();
        for lookup in &mut lookups {
            drop(poll_once(lookup.as_mut()));
        }
        drop(lookups);
        let found = lookup_host(("localhost", 80)).await.unwrap();
        assert!(found.iter().all(|found| found.ip().is_loopback() && found.port() == 80));
        assert!(!found.is_empty());
    });
}

#[test]
fn closing_the_reactor_ends_every_wait() {
    run(async |reactor| {
        let (near, _far) = pair().await;
        let (listener, address) = listen().await;
        let mut buffer = [0; 8];
        // The peer reads nothing, so the writer waits sooner or later.
        let write = async {
            loop {
                if let Err(error) = near.write(&[0; 65_536]).await {
                    break error;
                }
            }
        };
        // Polled last in the first round, when all others wait.
        let close = async { reactor.close() };
        let (write, read, accept, next, ()) = futures::join!(
            write,
            near.read(&mut buffer),
            listener.accept(),
            async { listener.incoming().next().await.unwrap() },
            close,
        );
        let mut errors = vec![write, read.unwrap_err(), accept.unwrap_err(), next.unwrap_err()];
        errors.push(near.write(b"x").await.unwrap_err());
        errors.push(near.readable().await.unwrap_err());
        errors.push(near.try_read(&mut buffer).unwrap_err());
        errors.push(TcpListener::bind("127.0.0.1:0").await.unwrap_err());
        // At every address, so it is told for the one that there is.
        errors.push(TcpStream::connect(address).await.unwrap_err());
        for error in errors {
            assert!(error.to_string().contains("has shut down"), "{error}");
        }
    });
}
