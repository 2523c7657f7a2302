//! Accepting and connecting.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use crate::common::{listen, run};
use corymb_net::{AddressesError, TcpListener, TcpStream, lookup_host};
use futures::executor::{LocalPool, ThreadPool};
use futures::task::{LocalSpawnExt, SpawnExt};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};

#[test]
fn many_waiters_on_one_listener_get_one_connection_each() {
    run(async |reactor| {
        let (listener, address) = listen().await;
        let accepted = RefCell::new(HashSet::new());
        let waiters = futures::future::join_all((0..10).map(|_| async {
            let (stream, peer) = listener.accept().await.unwrap();
            assert!(accepted.borrow_mut().insert(peer));
            stream
        }));
        let clients = async {
            // Polled after the waiters, which all wait by now.
            assert_eq!(reactor.statistics().waiting, 10);
            let mut clients = Vec::new();
            for _ in 0..10 {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            clients
        };
        let (streams, clients) = futures::join!(waiters, clients);
        assert_eq!(streams.len(), 10);
        let expected: HashSet<_> = clients.iter().map(|c| c.local_addr().unwrap()).collect();
        assert_eq!(accepted.take(), expected);
    });
}

#[test]
fn acceptors_on_many_threads_share_a_listener() {
    const ACCEPTORS: usize = 4;
    const EACH: usize = 50;
    run(async |_| {
        let (listener, address) = listen().await;
        let listener = Arc::new(listener);
        let pool = ThreadPool::builder().pool_size(ACCEPTORS).create().unwrap();
        let acceptors: Vec<_> = (0..ACCEPTORS)
            .map(|_| {
                let listener = Arc::clone(&listener);
                let accept = async move {
                    for _ in 0..EACH {
                        let (stream, _) = listener.accept().await.unwrap();
                        let (mut reader, mut writer) = stream.into_split();
                        futures::io::copy(&mut reader, &mut writer).await.unwrap();
                    }
                };
                pool.spawn_with_handle(accept).unwrap()
            })
            .collect();
        let clients = (0..ACCEPTORS * EACH).map(|index| async move {
            let client = TcpStream::connect(address).await.unwrap();
            let sent = index.to_ne_bytes();
            (&client).write_all(&sent).await.unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut received = Vec::new();
            (&client).read_to_end(&mut received).await.unwrap();
            assert_eq!(received, sent);
        });
        futures::join!(futures::future::join_all(acceptors), futures::future::join_all(clients));
    });
}

#[test]
fn connections_come_as_a_stream() {
    run(async |_| {
        let (listener, address) = listen().await;
        let mut incoming = listener.incoming();
        for _ in 0..5 {
            let (client, accepted) = futures::join!(TcpStream::connect(address), incoming.next());
            let (_, peer) = accepted.unwrap().unwrap();
            assert_eq!(peer, client.unwrap().local_addr().unwrap());
        }
    });
}

#[test]
fn a_listener_serves_connections_concurrently() {
    run(async |_| {
        let (listener, address) = listen().await;
        // On a thread without a reactor: its sockets have theirs already.
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut pool = LocalPool::new();
                let spawner = pool.spawner();
                pool.run_until(async {
                    for _ in 0..20 {
                        let (stream, _) = listener.accept().await.unwrap();
                        spawner
                            .spawn_local(async move {
                                let (reader, mut writer) = stream.into_split();
                                futures::io::copy(reader, &mut writer).await.unwrap();
                            })
                            .unwrap();
                    }
                });
                pool.run();
            });
            let mut clients: Vec<_> =
                (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
            // The last to come is served first: nobody waits for another.
            while let Some(mut client) = clients.pop() {
                client.write_all(b"x").unwrap();
                client.read_exact(&mut [0]).unwrap();
            }
        });
    });
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    run(async |_| {
        let (_listener, address) = listen().await;
        let error = TcpListener::bind(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    });
}

#[test]
fn a_port_is_free_again_at_once() {
    run(async |_| {
        let (listener, address) = listen().await;
        let (client, server) = futures::join!(TcpStream::connect(address), listener.accept());
        // Closed by the server first, whose side then lingers in TIME_WAIT.
        drop(server.unwrap());
        drop(client.unwrap());
        drop(listener);
        TcpListener::bind(address).await.unwrap();
    });
}

#[test]
fn a_listener_to_the_standard_library_and_back() {
    run(async |_| {
        let (listener, address) = listen().await;
        let client = TcpStream::connect(address).await.unwrap();
        let std = listener.into_std().unwrap();
        // It blocks, and has kept its queue.
        let (first, _) = std.accept().unwrap();
        assert_eq!(first.peer_addr().unwrap(), client.local_addr().unwrap());
        let listener = TcpListener::from_std(std).unwrap();
        assert!(listener.accept().now_or_never().is_none());
        listener.set_ttl(17).unwrap();
        assert_eq!(listener.ttl().unwrap(), 17);
    });
}

/// An address at which nobody listens, for as long as the listener is kept: its port is taken by
/// a socket that is bound only.
fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn a_refused_connection_is_an_error_that_names_the_address() {
    run(async |_| {
        let (_bound, address) = refusing();
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    });
}

#[test]
fn connecting_tries_every_address() {
    run(async |_| {
        let ((_first, refused), (_second, also)) = (refusing(), refusing());
        let (listener, address) = listen().await;
        let connected = TcpStream::connect([refused, address, also]).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap(), address);
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, connected.local_addr().unwrap());

        let error = TcpStream::connect([refused, also]).await.unwrap_err();
        let inner = error.get_ref().unwrap().downcast_ref::<AddressesError>().unwrap();
        let tried: Vec<_> = inner.attempts().iter().map(|(address, _)| *address).collect();
        assert_eq!(tried, [refused, also]);
        let none: [SocketAddr; 0] = [];
        let error = TcpStream::connect(none).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot connect to: no address was given");
    });
}

#[test]
fn addresses_are_not_looked_up() {
    // At once, without a runtime: no thread was asked.
    let literal = |found: Option<io::Result<Vec<SocketAddr>>>| found.unwrap().unwrap();
    let expected: Vec<SocketAddr> = vec!["127.0.0.1:80".parse().unwrap()];
    assert_eq!(literal(lookup_host("127.0.0.1:80").now_or_never()), expected);
    assert_eq!(literal(lookup_host(("127.0.0.1", 80)).now_or_never()), expected);
    assert_eq!(literal(lookup_host(("127.0.0.1".to_owned(), 80)).now_or_never()), expected);
    assert_eq!(literal(lookup_host(&expected).now_or_never()), expected);
    let six = literal(lookup_host("[::1]:80".to_owned()).now_or_never());
    assert!(six[0].is_ipv6());
    for wrong in ["localhost", "localhost:", "localhost:http", "", "127.0.0.1:70000"] {
        let error = lookup_host(wrong).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{wrong}");
    }
}

#[test]
fn a_host_name_is_looked_up_and_connected_to() {
    run(async |_| {
        let (listener, address) = listen().await;
        let (connected, accepted) =
            futures::join!(TcpStream::connect(("localhost", address.port())), listener.accept());
        assert_eq!(connected.unwrap().local_addr().unwrap(), accepted.unwrap().1);
        lookup_host("no-such-host.invalid:80").await.unwrap_err();
    });
}

#[test]
fn without_a_runtime_the_global_one_serves() {
    futures::executor::block_on(async {
        let (listener, address) = listen().await;
        let (connected, accepted) = futures::join!(TcpStream::connect(address), listener.accept());
        assert_eq!(connected.unwrap().local_addr().unwrap(), accepted.unwrap().1);
    });
}

/// Descriptors are a matter of the whole process, so this test has one of its own.
#[cfg(unix)]
#[test]
fn out_of_descriptors_is_reported_and_does_not_spin() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "listener::out_of_descriptors"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[cfg(unix)]
#[test]
#[ignore = "it exhausts the descriptors of the process: run by the test above in a process of its own"]
fn out_of_descriptors() {
    use std::fs::File;
    use std::time::{Duration, Instant};

    use rustix::io::Errno;
    use rustix::process::{Resource, getrlimit, setrlimit};

    run(async |_| {
        let (listener, address) = listen().await;
        let client = TcpStream::connect(address).await.unwrap();
        // What the listener waits by needs descriptors of its own.
        let _timers = corymb_dispatchers::Runtime::global();
        let before = getrlimit(Resource::Nofile);
        let mut lower = before;
        lower.current = Some(64);
        setrlimit(Resource::Nofile, lower).unwrap();
        let mut hoard = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            hoard.push(file);
        }

        let begin = Instant::now();
        let mut delays = Vec::new();
        for _ in 0..4 {
            let error = listener.accept().await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
            delays.push(begin.elapsed());
        }
        // Four attempts in a loop that does not wait took 5 + 10 + 20 ms at least.
        assert!(delays[3] >= Duration::from_millis(35), "{delays:?}");

        // One that is dropped while it holds off takes no place, and no connection.
        assert!(listener.accept().now_or_never().is_none());
        drop(hoard);
        setrlimit(Resource::Nofile, before).unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert!(begin.elapsed() >= Duration::from_millis(75), "the delay of the last failure");
    });
}
