//! A test runtime beside other threads and sockets.

use std::future::pending;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use corymb::net::{TcpListener, TcpStream};
use corymb::prelude::*;
use corymb::sync::oneshot;
use corymb::testing::{TestRuntime, elapsed, external, hold_time, settle, take_failures};
use futures::{AsyncReadExt, AsyncWriteExt};

mod common;

use common::failure;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn time_that_is_held_waits_for_another_thread() {
    TestRuntime::new().run(scope(async |s| {
        let (sender, receiver) = oneshot::channel();
        let (begin, begun) = mpsc::channel();
        let hold = hold_time();
        let sleeper = s.launch(sleep(HOUR));
        thread::spawn(move || {
            begun.recv().unwrap();
            sender.send(42).unwrap();
            drop(hold);
        });
        yield_now().await;
        begin.send(()).unwrap();
        assert_eq!(receiver.await, Ok(42));
        assert_eq!(elapsed(), Duration::ZERO);
        sleeper.join().await;
        assert_eq!(elapsed(), HOUR);
    }));
}

#[test]
fn what_is_external_holds_the_time_until_it_is_done_or_dropped() {
    TestRuntime::new().run(scope(async |s| {
        let (sender, receiver) = oneshot::channel();
        let (begin, begun) = mpsc::channel();
        let sleeper = s.launch(sleep(HOUR));
        let answer = s.spawn(external(receiver));
        let answers = thread::spawn(move || {
            begun.recv().unwrap();
            sender.send(42).unwrap();
        });
        begin.send(()).unwrap();
        assert_eq!(answer.await, Ok(42));
        assert_eq!(elapsed(), Duration::ZERO);
        answers.join().unwrap();
        sleeper.join().await;
        assert_eq!(elapsed(), HOUR);

        let never = s.launch(external(pending::<()>()));
        yield_now().await;
        never.cancel_and_join().await;
        sleep(HOUR).await;
        assert_eq!(elapsed(), 2 * HOUR);
    }));
}

#[test]
fn a_wake_from_another_thread_with_no_hold_is_a_failure() {
    let failures = TestRuntime::new().run(scope(async |s| {
        let (sender, receiver) = oneshot::channel();
        let waiter = s.coroutine().name("waiter").spawn(receiver);
        settle().await;
        thread::spawn(move || sender.send(42).unwrap()).join().unwrap();
        assert_eq!(waiter.await, Ok(42));
        take_failures()
    }));
    let [failure] = &*failures else { panic!("{failures:?}") };
    assert!(failure.starts_with("coroutine `waiter`"), "{failure}");
    assert!(failure.contains("hold_time()"), "{failure}");
}

#[test]
fn a_run_that_takes_too_long_fails_with_the_tree() {
    let message = failure(|| {
        TestRuntime::builder().time_limit(Duration::from_millis(20)).build().run(async {
            let _held = hold_time();
            pending::<()>().await;
        });
    });
    assert!(message.starts_with("too long: it has taken 20ms of real time"), "{message}");
    assert!(message.contains("the time is held"), "{message}");
    assert!(message.contains("coroutine, active, "), "{message}");
}

#[test]
fn a_run_without_end_in_virtual_time_fails_too() {
    let message = failure(|| {
        TestRuntime::builder().time_limit(Duration::from_millis(20)).build().run(async {
            loop {
                sleep(HOUR).await;
            }
        });
    });
    assert!(message.starts_with("too long"), "{message}");
}

#[test]
fn sockets_work_beside_the_clock_of_the_test() {
    let echoed = TestRuntime::new().run(scope(async |s| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        s.launch(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"echo").await.unwrap();
        let mut bytes = [0; 4];
        with_timeout(HOUR, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
        assert!(elapsed() < HOUR, "the answer is there before the hour is over");
        bytes
    }));
    assert_eq!(&echoed, b"echo");
}

/// Who waits for a connection that never comes does not stop the time.
#[test]
fn time_goes_on_beside_an_idle_socket() {
    TestRuntime::new().run(scope(async |s| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = s.launch(async move { drop(listener.accept().await) });
        sleep(Duration::from_millis(5)).await;
        assert_eq!(elapsed(), Duration::from_millis(5));
        server.cancel();
    }));
}

/// Few rounds, but long ones.
#[test]
fn a_run_of_slow_polls_takes_too_long() {
    const LIMIT: Duration = Duration::from_millis(40);
    let message = failure(|| {
        TestRuntime::builder().time_limit(LIMIT).build().run(async {
            for _ in 0..100 {
                let began = Instant::now();
                while began.elapsed() < LIMIT / 10 {}
                yield_now().await;
            }
        });
    });
    assert!(message.starts_with("too long"), "{message}");
}

#[test]
fn a_deadlock_names_what_a_wait_for_another_thread_takes() {
    let message = failure(|| TestRuntime::new().run(pending::<()>()));
    assert!(message.contains("`external`") && message.contains("`hold_time()`"), "{message}");
}

/// A byte now and then is no reason to wait for ever.
#[test]
fn a_peer_that_trickles_does_not_stop_the_clock() {
    const PAUSE: Duration = Duration::from_millis(5);
    const LIMIT: Duration = Duration::from_millis(50);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PAUSE)).unwrap();
        // Nothing comes before the pause is over, but the end.
        while !matches!(stream.read(&mut [0]), Ok(0)) && stream.write_all(b".").is_ok() {}
    });
    TestRuntime::new().run(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        let endless = async { while stream.read(&mut [0; 16]).await.unwrap() > 0 {} };
        assert!(with_timeout(LIMIT, endless).await.is_err());
        assert!(elapsed() >= LIMIT);
    });
    peer.join().unwrap();
}
