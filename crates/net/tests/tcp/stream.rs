//! What a connection does with bytes, and how it ends.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::common::{listen, pair, run};
use corymb_net::TcpStream;
use futures::{AsyncReadExt, AsyncWriteExt};

#[test]
fn an_echo_gives_back_every_byte_in_order() {
    run(async |_| {
        let (mut near, far) = pair().await;
        // More than both buffers of the system hold.
        let sent: Vec<u8> = (0..8_000_000_u32).map(|i| (i % 251) as u8).collect();
        let echo = async {
            let mut from = &far;
            let mut to = &far;
            futures::io::copy(&mut from, &mut to).await.unwrap();
            to.close().await.unwrap();
        };
        let (mut reader, mut writer) = TcpStream::split(&mut near);
        let send = async {
            writer.write_all(&sent).await.unwrap();
            writer.close().await.unwrap();
        };
        let receive = async {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).await.unwrap();
            received
        };
        let ((), (), received) = futures::join!(echo, send, receive);
        assert!(received == sent, "the bytes differ");
    });
}

#[test]
fn buffers_are_gathered_and_scattered() {
    run(async |_| {
        let (mut near, mut far) = pair().await;
        let written = near
            .write_vectored(&[IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"two")])
            .await
            .unwrap();
        assert_eq!(written, 6);
        let (mut first, mut second) = ([0; 2], [0; 8]);
        let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(far.read_vectored(&mut buffers).await.unwrap(), 6);
        assert_eq!((&first, &second[..4]), (b"on", b"etwo".as_slice()));
    });
}

#[test]
fn an_empty_buffer_is_full_at_once() {
    run(async |_| {
        let (near, _far) = pair().await;
        assert_eq!(near.read(&mut []).await.unwrap(), 0);
        assert_eq!(near.peek(&mut []).await.unwrap(), 0);
        assert_eq!(near.write(&[]).await.unwrap(), 0);
    });
}

#[test]
fn peeking_takes_nothing() {
    run(async |_| {
        let (near, far) = pair().await;
        let mut buffer = [0; 8];
        let peek = far.peek(&mut buffer);
        let (peeked, written) = futures::join!(peek, near.write(b"abc"));
        assert_eq!((peeked.unwrap(), written.unwrap()), (3, 3));
        assert_eq!(far.read(&mut buffer).await.unwrap(), 3);
        assert_eq!(&buffer[..3], b"abc");
    });
}

#[test]
fn trying_never_waits_and_readable_does() {
    run(async |_| {
        let (near, far) = pair().await;
        let mut buffer = [0; 8];
        let error = far.try_read(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        let read = async {
            loop {
                far.readable().await.unwrap();
                match far.try_read(&mut buffer) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    result => break result.unwrap(),
                }
            }
        };
        let write = async {
            near.writable().await.unwrap();
            near.try_write(b"abc").unwrap()
        };
        assert_eq!(futures::join!(read, write), (3, 3));
        // Until there is no room; then the room that the peer makes is waited for.
        let mut filled = 0;
        while let Ok(written) = near.try_write(&[0; 65_536]) {
            filled += written;
        }
        let drain = async {
            let mut drained = vec![0; filled];
            (&far).read_exact(&mut drained).await.unwrap();
        };
        let (writable, ()) = futures::join!(near.writable(), drain);
        writable.unwrap();
    });
}

#[test]
fn shutting_down_ends_one_direction() {
    run(async |_| {
        let (near, far) = pair().await;
        near.write(b"last").await.unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(far.read(&mut buffer).await.unwrap(), 4);
        assert_eq!(far.read(&mut buffer).await.unwrap(), 0);
        assert_eq!(far.read(&mut buffer).await.unwrap(), 0, "the end is read again and again");
        assert!(near.write(b"more").await.is_err());
        // The other direction is open.
        far.write(b"answer").await.unwrap();
        assert_eq!(near.read(&mut buffer).await.unwrap(), 6);
    });
}

#[test]
fn the_end_of_the_peer_wakes_a_reader() {
    run(async |_| {
        let (near, far) = pair().await;
        let mut buffer = [0; 8];
        let (read, ()) = futures::join!(near.read(&mut buffer), async { drop(far) });
        assert_eq!(read.unwrap(), 0);
    });
}

#[test]
fn a_reset_by_the_peer_is_an_error() {
    run(async |_| {
        let (near, far) = pair().await;
        far.set_linger(Some(Duration::ZERO)).unwrap();
        let mut buffer = [0; 8];
        let (read, ()) = futures::join!(near.read(&mut buffer), async { drop(far) });
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn options_are_kept() {
    run(async |_| {
        let (near, far) = pair().await;
        for nodelay in [true, false] {
            near.set_nodelay(nodelay).unwrap();
            assert_eq!(near.nodelay().unwrap(), nodelay);
        }
        near.set_ttl(42).unwrap();
        assert_eq!(near.ttl().unwrap(), 42);
        near.set_linger(Some(Duration::from_secs(3))).unwrap();
        assert_eq!(near.linger().unwrap(), Some(Duration::from_secs(3)));
        near.set_linger(None).unwrap();
        assert_eq!(near.linger().unwrap(), None);
        assert_eq!(near.local_addr().unwrap(), far.peer_addr().unwrap());
        assert_eq!(near.peer_addr().unwrap(), far.local_addr().unwrap());
    });
}

#[test]
fn to_the_standard_library_and_back() {
    run(async |reactor| {
        let (near, far) = pair().await;
        let mut std = far.into_std().unwrap();
        assert_eq!(reactor.statistics().sources, 1);
        near.write(b"to").await.unwrap();
        // It blocks again: no `WouldBlock`, however the bytes travel.
        let mut buffer = [0; 2];
        std.read_exact(&mut buffer).unwrap();
        std.write_all(b"back").unwrap();
        let far = TcpStream::from_std(std).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(near.read(&mut buffer).await.unwrap(), 4);
        let (read, written) = futures::join!(far.read(&mut buffer), near.write(b"!"));
        assert_eq!((read.unwrap(), written.unwrap()), (1, 1));
    });
}

#[test]
fn a_new_socket_in_the_place_of_an_old_one_starts_afresh() {
    run(async |_| {
        let (listener, address) = listen().await;
        let mut buffer = [0; 8];
        // Each round closes sockets for which events are on their way, and opens others with
        // the same descriptors and keys.
        for round in 0..200_u8 {
            let (near, far) = futures::join!(TcpStream::connect(address), listener.accept());
            let (near, (far, _)) = (near.unwrap(), far.unwrap());
            assert!(far.try_read(&mut buffer).is_err(), "data of a former connection");
            let sent = [round];
            let (read, written) = futures::join!(far.read(&mut buffer), near.write(&sent));
            assert_eq!((read.unwrap(), written.unwrap()), (1, 1));
            assert_eq!(buffer[0], round);
            near.write(b"unread").await.unwrap();
        }
    });
}
