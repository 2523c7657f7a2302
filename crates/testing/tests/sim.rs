//! Connections and networks in memory.

use std::collections::HashSet;
use std::future::pending;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corymb::prelude::*;
use corymb::testing::{
    Explorer, SimNet, SimStream, TestRuntime, cancel_everywhere, duplex, elapsed, settle,
};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};

mod common;

use common::failure;

const MS: Duration = Duration::from_millis(1);

fn run<F>(body: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    TestRuntime::new().run(body);
}

#[test]
fn what_does_not_fit_waits_until_something_was_read() {
    run(scope(async |s| {
        let (mut near, mut far) = duplex(3);
        let writer = s.launch(async move { near.write_all(b"abcde").await.unwrap() });
        settle().await;
        assert!(writer.is_active());
        let mut bytes = [0; 2];
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ab");
        settle().await;
        assert!(writer.is_completed());
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"cde");
        assert_eq!(far.read(&mut bytes).await.unwrap(), 0, "the end stays");
    }));
}

#[test]
fn the_end_of_one_direction_leaves_the_other() {
    run(async {
        let (mut near, mut far) = duplex(8);
        near.close().await.unwrap();
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        far.write_all(b"back").await.unwrap();
        let mut bytes = [0; 4];
        near.read_exact(&mut bytes).await.unwrap();
        drop(near);
        assert_eq!(far.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_host_without_a_listener_refuses() {
    run(async {
        let net = SimNet::new().latency(MS..=MS);
        let client = net.host("client");
        let error = client.connect("server", 80).await.unwrap_err();
        assert_eq!((error.kind(), elapsed()), (ErrorKind::ConnectionRefused, 2 * MS));
        let server = net.host("server");
        let listener = server.listen(80).unwrap();
        assert_eq!(server.listen(80).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(listener);
        let again = server.listen(80).unwrap();
        let mut stream = client.connect("server", 80).await.unwrap();
        drop(again);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "nobody has accepted it");
    });
}

#[test]
fn what_is_on_its_way_waits_for_a_cut_to_be_healed() {
    run(scope(async |s| {
        let net = SimNet::new().latency(MS..=MS);
        let mut listener = net.host("server").listen(80).unwrap();
        let accepted = s.spawn(async move { listener.accept().await.unwrap().0 });
        let mut near = net.host("client").connect("server", 80).await.unwrap();
        let mut far = accepted.await;
        near.write_all(b"x").await.unwrap();
        net.cut("server", "client");
        let mut byte = [0];
        assert!(with_timeout(10 * MS, far.read(&mut byte)).await.is_err());
        assert!(with_timeout(10 * MS, net.host("client").connect("server", 81)).await.is_err());
        net.heal("client", "server");
        assert_eq!(far.read(&mut byte).await.unwrap(), 1);
        net.reset("client", "server");
        let gone = [near.read(&mut byte).await, far.write(b"y").await];
        assert!(
            gone.iter().all(|it| it.as_ref().unwrap_err().kind() == ErrorKind::ConnectionReset)
        );
    }));
}

/// Two connections: either message may be first, and within one the order stays.
#[test]
fn explored_latencies_overtake_each_other_but_not_within_a_connection() {
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let all = Arc::clone(&seen);
    Explorer::new().schedules(200).run(move || {
        let seen = Arc::clone(&seen);
        scope(async move |s| {
            let net = SimNet::new().latency(MS..=8 * MS);
            let mut listener = net.host("server").listen(80).unwrap();
            let order = Arc::new(Mutex::new(String::new()));
            let noted = Arc::clone(&order);
            let server = s.launch(scope(async move |s| {
                for _ in 0..2 {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let noted = Arc::clone(&noted);
                    s.launch(async move {
                        let mut byte = [0];
                        while stream.read(&mut byte).await.unwrap() > 0 {
                            noted.lock().unwrap().push(byte[0] as char);
                        }
                    });
                }
            }));
            for bytes in ["ab", "xy"] {
                let client = net.host("client");
                s.launch(async move {
                    let mut stream = client.connect("server", 80).await.unwrap();
                    for byte in bytes.bytes() {
                        stream.write_all(&[byte]).await.unwrap();
                    }
                });
            }
            server.join().await;
            let order = order.lock().unwrap().clone();
            let at = |byte| order.find(byte).unwrap();
            assert!(at('a') < at('b') && at('x') < at('y'), "{order}");
            seen.lock().unwrap().insert(order);
        })
    });
    let seen = all.lock().unwrap();
    assert_eq!(seen.len(), 6, "all orders have come: {seen:?}");
}

#[test]
fn an_accept_that_is_cancelled_leaves_the_connection() {
    cancel_everywhere(|beside| {
        let net = SimNet::new();
        let listener = Arc::new(futures::lock::Mutex::new(net.host("server").listen(80).unwrap()));
        beside.launch(async move {
            let mut stream = net.host("client").connect("server", 80).await.unwrap();
            drop(stream.read(&mut [0]).await);
        });
        let used = Arc::clone(&listener);
        let scenario = async move { used.lock().await.accept().await.unwrap().1 };
        (scenario, move |from: Option<String>| {
            let mut listener = listener.try_lock().expect("it was dropped");
            let left = listener.accept().now_or_never().map(|accepted| accepted.unwrap().1);
            assert_eq!(from.or(left).as_deref(), Some("client"));
        })
    });
}

/// Both ends of a connection over a link with that latency.
async fn connected(net: &SimNet) -> (SimStream, SimStream) {
    let mut listener = net.host("server").listen(80).unwrap();
    let near = net.host("client").connect("server", 80).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

#[test]
fn what_had_come_before_a_cut_can_be_read() {
    run(async {
        let net = SimNet::new().latency(MS..=MS);
        let (mut near, mut far) = connected(&net).await;
        near.write_all(b"x").await.unwrap();
        sleep(MS).await;
        near.write_all(b"y").await.unwrap();
        net.cut("server", "client");
        net.cut("server", "client");
        let mut byte = [0];
        assert_eq!(far.read(&mut byte).now_or_never().unwrap().unwrap(), 1);
        assert_eq!(&byte, b"x");
        assert!(with_timeout(10 * MS, far.read(&mut byte)).await.is_err(), "it was on its way");
        net.heal("server", "client");
        assert_eq!((far.read(&mut byte).await.unwrap(), &byte), (1, b"y"));
    });
}

#[test]
fn that_an_end_was_dropped_is_known_after_the_latency_and_not_through_a_cut() {
    run(scope(async |s| {
        let net = SimNet::new().latency(MS..=MS);
        let (mut near, far) = connected(&net).await;
        let begin = elapsed();
        net.cut("server", "client");
        drop(far);
        sleep(9 * MS).await;
        near.write_all(b"x").await.unwrap();
        net.heal("server", "client");
        assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);

        let (mut near, far) = connected(&net).await;
        drop(far);
        near.write_all(b"x").await.unwrap();
        // No room is left, so it waits for the news.
        let full = s.spawn(async move { near.write_all(&vec![0; 1 << 20]).await });
        assert_eq!(full.await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(elapsed() - begin, (9 + 2 + 1) * MS);
    }));
}

/// The line is that of the test, and not one in here.
#[test]
fn who_waits_for_the_network_says_so() {
    let message = failure(|| {
        run(scope(async |s| {
            let net = SimNet::new().latency(MS..=MS);
            let (near, mut far) = connected(&net).await;
            s.coroutine().name("reader").launch(async move { drop(far.read(&mut [0]).await) });
            let mut idle = net.host("idle").listen(80).unwrap();
            s.coroutine().name("acceptor").launch(async move { drop(idle.accept().await) });
            net.cut("client", "server");
            let connect = net.host("client").connect("server", 80);
            s.coroutine().name("connector").launch(async move { drop(connect.await) });
            pending::<()>().await;
            drop(near);
        }));
    });
    for name in ["reader", "acceptor", "connector"] {
        let line = message.lines().find(|line| line.contains(name)).unwrap_or(&message);
        let place = format!("waiting for input or output at {}", file!());
        assert!(line.contains(&place), "{message}");
    }
}
