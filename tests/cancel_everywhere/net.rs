//! Connections: those of the system, and those in memory.
//!
//! What the system does is not in the hands of an explorer, so its sockets are in the plain schedule
//! alone. A scenario with them waits for what the system does at once: for what is sent or connected
//! over loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use corymb::net::{TcpListener, TcpStream, lookup_host};
use corymb::prelude::*;
use corymb::sync::Mutex;
use corymb::testing::{CancelEverywhere, FaultKind, SimNet, SimStream, duplex};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};

use super::{Count, Log, SECOND, bears};

const MS: Duration = Duration::from_millis(1);
/// How often a scenario is tried that has suspended once more, or less, in one run than in another.
const TRIES: usize = 20;

/// As [`bears`], for what the system has a hand in.
#[track_caller]
fn bears_outside<F, C>(name: &str, mut make: impl FnMut(Scope) -> (F, C))
where
    F: Future<Output: Send> + Send + 'static,
    C: FnOnce(Option<F::Output>),
{
    for settings in [CancelEverywhere::new(), CancelEverywhere::new().dropping()] {
        let mut tries = (0..TRIES).map(|_| settings.clone().check(&mut make));
        let whole = tries.find(|tried| match tried {
            Ok(all) => all.suspensions() > 0,
            Err(failure) => failure.fault().kind() != FaultKind::Diverged,
        });
        if let Err(failure) = whole.unwrap_or_else(|| panic!("{name} is never the same")) {
            panic!("{name}: {failure}");
        }
    }
}

/// The ends of a connection; this one, once more for whoever looks at it in the end, and the other.
fn connected() -> (StdStream, StdStream, StdStream) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let near = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    near.set_nonblocking(true).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near.try_clone().unwrap(), near, far)
}

/// Asserts that a byte which comes is taken by `read`, that says how many it has taken, or is there
/// for the next.
#[track_caller]
fn leaves_what_it_does_not_give<F>(name: &str, read: impl Fn(TcpStream) -> F)
where
    F: Future<Output = usize> + Send + 'static,
{
    bears_outside(name, |beside| {
        let (near, mut left, mut far) = connected();
        let sent = Arc::new(AtomicBool::new(false));
        let sends = Arc::clone(&sent);
        beside.launch(async move {
            sleep(MS).await;
            far.write_all(b"x").unwrap();
            sends.store(true, SeqCst);
            std::future::pending::<()>().await; // and leaves it open
        });
        (read(TcpStream::from_std(near).unwrap()), move |taken: Option<usize>| {
            let left = left.read(&mut [0; 8]).unwrap_or(0);
            assert_eq!(taken.unwrap_or(0) + left, usize::from(sent.load(SeqCst)));
        })
    });
}

#[test]
fn reads_take_what_they_give() {
    leaves_what_it_does_not_give("TcpStream::read", async |it: TcpStream| {
        it.read(&mut [0; 8]).await.unwrap()
    });
    leaves_what_it_does_not_give("AsyncRead for TcpStream", async |mut it: TcpStream| {
        AsyncReadExt::read(&mut it, &mut [0; 8]).await.unwrap()
    });
    leaves_what_it_does_not_give("TcpStream::peek", async |it: TcpStream| {
        assert_eq!(it.peek(&mut [0; 8]).await.unwrap(), 1);
        0
    });
    leaves_what_it_does_not_give("TcpStream::readable", async |it: TcpStream| {
        // What it has not looked for may be there, as far as it knows.
        let there = it.peek(&mut [0; 8]).now_or_never();
        it.readable().await.unwrap();
        there.map_or(0, |it| it.unwrap() - 1)
    });
    leaves_what_it_does_not_give("ReadHalf::read", async |mut it: TcpStream| {
        TcpStream::split(&mut it).0.read(&mut [0; 8]).await.unwrap()
    });
    leaves_what_it_does_not_give("ReadHalf::peek", async |mut it: TcpStream| {
        TcpStream::split(&mut it).0.peek(&mut [0; 8]).await.unwrap() - 1
    });
    leaves_what_it_does_not_give("OwnedReadHalf::read", async |it: TcpStream| {
        it.into_split().0.read(&mut [0; 8]).await.unwrap()
    });
    leaves_what_it_does_not_give("OwnedReadHalf::peek", async |it: TcpStream| {
        it.into_split().0.peek(&mut [0; 8]).await.unwrap() - 1
    });
}

/// Asserts that what `write` says it has written comes, and nothing else.
#[track_caller]
fn sends_what_it_says<F>(name: &str, write: impl Fn(TcpStream) -> F)
where
    F: Future<Output = usize> + Send + 'static,
{
    bears_outside(name, |beside| {
        let (near, mut full, mut far) = connected();
        let mut sent = 0;
        while let Ok(written) = full.write(&[0; 65_536]) {
            sent += written;
        }
        let (received, mut reader) = (Log::default(), far.try_clone().unwrap());
        let takes = received.clone();
        reader.set_nonblocking(true).unwrap();
        beside.launch(async move {
            loop {
                sleep(MS).await;
                while let Ok(read @ 1..) = reader.read(&mut [0; 65_536]) {
                    takes.push(read as u64);
                }
            }
        });
        (write(TcpStream::from_std(near).unwrap()), move |written: Option<usize>| {
            // The end, whoever else has it open.
            full.shutdown(Shutdown::Write).unwrap();
            far.set_nonblocking(false).unwrap();
            let rest = std::io::copy(&mut far, &mut std::io::sink()).unwrap();
            let all = received.get().iter().sum::<u64>() + rest;
            assert_eq!(all, (sent + written.unwrap_or(0)) as u64);
        })
    });
}

#[test]
fn writes_send_what_they_say() {
    sends_what_it_says("TcpStream::write", async |it: TcpStream| it.write(&[1; 8]).await.unwrap());
    sends_what_it_says("AsyncWrite for TcpStream", async |mut it: TcpStream| {
        AsyncWriteExt::write(&mut it, &[1; 8]).await.unwrap()
    });
    sends_what_it_says("TcpStream::writable", async |it: TcpStream| {
        let mut written = 0;
        while let Some(more) = it.write(&[1; 8]).now_or_never() {
            written += more.unwrap();
        }
        it.writable().await.unwrap();
        written
    });
    sends_what_it_says("WriteHalf::write", async |mut it: TcpStream| {
        TcpStream::split(&mut it).1.write(&[1; 8]).await.unwrap()
    });
    sends_what_it_says("OwnedWriteHalf::write", async |it: TcpStream| {
        let (_read, mut write) = it.into_split();
        write.write(&[1; 8]).await.unwrap()
    });
}

/// A listener, and once more for whoever looks at it in the end.
fn listening() -> (StdListener, StdListener, SocketAddr) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener.try_clone().unwrap(), listener, address)
}

#[test]
fn connections_are_accepted_or_left() {
    /// What `accept` gives, the number of its connections, and those left are the ones there were.
    fn leaves_the_others<F>(name: &str, accept: impl Fn(TcpListener) -> F)
    where
        F: Future<Output = usize> + Send + 'static,
    {
        bears_outside(name, |beside| {
            let (listener, left, address) = listening();
            let connected = Count::default();
            let connects = connected.clone();
            beside.launch(async move {
                sleep(MS).await;
                let _open = StdStream::connect(address).unwrap();
                connects.add();
                std::future::pending::<()>().await;
            });
            let accepted = accept(TcpListener::from_std(listener).unwrap());
            (accepted, move |accepted: Option<usize>| {
                let left = std::iter::from_fn(|| left.accept().ok()).count();
                assert_eq!(accepted.unwrap_or(0) + left, connected.get());
            })
        });
    }
    leaves_the_others("TcpListener::accept", async |it: TcpListener| {
        it.accept().await.unwrap();
        1
    });
    leaves_the_others("TcpListener::incoming", async |it: TcpListener| {
        it.incoming().next().await.unwrap().unwrap();
        1
    });
}

/// How often they suspend is the affair of the thread that looks the name up, so they are given up
/// after one poll, by which they may even be done.
#[test]
fn who_gives_up_on_a_name_leaves_nothing() {
    /// Gives up what came of a poll; what it has connected is closed then.
    fn is_closed<T>(name: &str, polled: Option<T>, listener: &StdListener) {
        drop(polled);
        for (mut connection, _) in std::iter::from_fn(|| listener.accept().ok()) {
            connection.set_nonblocking(true).unwrap();
            assert_eq!(connection.read(&mut [0]).unwrap(), 0, "{name}: it is still open");
        }
    }
    run_blocking(async {
        let (_, left, address) = listening();
        is_closed("lookup_host", lookup_host(("localhost", 80)).now_or_never(), &left);
        is_closed("TcpListener::bind", TcpListener::bind(("localhost", 0)).now_or_never(), &left);
        let connect = TcpStream::connect(("localhost", address.port()));
        is_closed("TcpStream::connect", connect.now_or_never(), &left);
    });
}

#[test]
fn connections_in_memory_are_made_whole() {
    bears("SimHost::connect", |beside| {
        let net = SimNet::new().latency(SECOND..=SECOND);
        let mut listener = net.host("server").listen(80).unwrap();
        let accepted = Count::default();
        let accepts = accepted.clone();
        beside.launch(async move {
            while listener.accept().await.is_ok() {
                accepts.add();
            }
        });
        let scenario = async move { net.host("client").connect("server", 80).await.unwrap() };
        (scenario, move |made: Option<SimStream>| assert_eq!(accepted.get(), made.iter().count()))
    });
    bears("SimListener::accept", |beside| {
        let net = SimNet::new().latency(SECOND..=SECOND);
        let listener = Arc::new(Mutex::new(net.host("server").listen(80).unwrap()));
        beside.launch(async move {
            let _first = net.host("client").connect("server", 80).await.unwrap();
            let _second = net.host("client").connect("server", 80).await.unwrap();
            std::future::pending::<()>().await;
        });
        let next = Arc::clone(&listener);
        let accepted = Count::default();
        let accepts = accepted.clone();
        beside.launch(async move {
            loop {
                next.lock().await.accept().await.unwrap();
                accepts.add();
            }
        });
        let scenario = async move { listener.lock().await.accept().await.unwrap().1 };
        (scenario, move |from: Option<String>| {
            assert_eq!(accepted.get() + from.iter().count(), 2);
        })
    });
}

#[test]
fn streams_in_memory_keep_what_is_sent() {
    /// Bytes are read two at most by the scenario, the others by another one.
    async fn take(stream: Arc<Mutex<SimStream>>, log: Log, times: usize) {
        for _ in 0..times {
            let (mut stream, mut byte) = (stream.lock().await, [0]);
            let Ok(1) = stream.read(&mut byte).await else { break };
            log.push(byte[0].into());
        }
    }
    bears("AsyncRead for SimStream", |beside| {
        let (mut near, far) = duplex(2);
        let (far, log) = (Arc::new(Mutex::new(far)), Log::default());
        beside.launch(async move {
            for byte in 1..=3 {
                sleep(SECOND).await;
                near.write_all(&[byte]).await.unwrap();
            }
        });
        beside.launch(take(Arc::clone(&far), log.clone(), 9));
        (take(far, log.clone(), 2), move |_| assert_eq!(log.get(), [1, 2, 3]))
    });
    bears("AsyncWrite for SimStream", |beside| {
        let (near, far) = duplex(1);
        let (near, log) = (Arc::new(Mutex::new(near)), Log::default());
        let last = Arc::clone(&near);
        beside.launch(async move {
            sleep(2 * SECOND).await;
            last.lock().await.write_all(&[9]).await.unwrap();
        });
        let (far, received) = (Arc::new(Mutex::new(far)), log.clone());
        beside.launch(async move {
            sleep(SECOND).await;
            take(far, received, 9).await;
        });
        let scenario = async move {
            for byte in 1..=3 {
                assert_eq!(near.lock().await.write(&[byte]).await.unwrap(), 1);
            }
        };
        (scenario, move |done: Option<()>| {
            let log = log.get();
            let (last, sent) = log.split_last().unwrap();
            assert_eq!(*last, 9, "the stream is stuck");
            assert!([1, 2, 3].starts_with(sent) && (done.is_none() || sent.len() == 3), "{log:?}");
        })
    });
}

/// The functions that give futures, by the sources.
#[test]
fn none_is_left_out() {
    let here = include_str!("net.rs");
    let mut seen = 0;
    for source in [
        include_str!("../../crates/net/src/addr.rs"),
        include_str!("../../crates/net/src/tcp/listener.rs"),
        include_str!("../../crates/net/src/tcp/split.rs"),
        include_str!("../../crates/net/src/tcp/stream.rs"),
        include_str!("../../crates/testing/src/sim/net.rs"),
    ] {
        let functions = |what| source.split(what).skip(1);
        for function in functions("pub fn ").chain(functions("pub async fn ")) {
            let (head, _) = function.split_once('{').expect("it has a body");
            let (name, rest) = head.split_once('(').expect("it has arguments");
            let suspends = ["impl Future", "Accept<", "Incoming<", "(SimStream", "<SimStream"];
            if suspends.iter().any(|it| rest.contains(it))
                && name.chars().all(char::is_alphanumeric)
            {
                assert!(here.contains(&format!("{name}\"")), "{name}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 12, "{seen} were found");
}
