//! The reactor against a real poller, driven by hand.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Direction, Reactor, Registered, current, enter};

/// Two ends of a connection, non-blocking.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    (near, far)
}

const fn assert_send_sync<T: Send + Sync>() {}
const _: () = assert_send_sync::<Reactor>();
const _: () = assert_send_sync::<Registered<TcpStream>>();

/// Runs `test` in both modes.
fn in_both_modes(test: impl Fn(&Arc<Reactor>)) {
    test(&Arc::new(Reactor::new().unwrap()));
    test(&Arc::new(Reactor::one_shot().unwrap()));
}

fn read(socket: &TcpStream) -> io::Result<u8> {
    let mut byte = [0];
    let mut socket = socket;
    match socket.read(&mut byte)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(byte[0]),
    }
}

fn poll_read(socket: &Registered<TcpStream>) -> Poll<io::Result<u8>> {
    socket.poll_io(&mut Context::from_waker(Waker::noop()), Direction::Read, read)
}

/// Waits until somebody is to be woken.
fn drive(reactor: &Reactor) -> usize {
    let mut wakers = Vec::new();
    while wakers.is_empty() {
        reactor.wait(None, &mut wakers).unwrap();
    }
    wakers.len()
}

/// Lets the driver see what has happened so far.
fn turn(reactor: &Reactor) -> usize {
    let mut wakers = Vec::new();
    reactor.wait(Some(Duration::ZERO), &mut wakers).unwrap();
    wakers.len()
}

#[test]
fn a_reader_is_woken_by_data_again_and_again() {
    in_both_modes(|reactor| {
        let (near, mut far) = pair();
        let near = reactor.register(near).unwrap();
        for byte in 0..3 {
            assert!(poll_read(&near).is_pending());
            far.write_all(&[byte]).unwrap();
            assert_eq!(drive(reactor), 1);
            assert!(matches!(poll_read(&near), Poll::Ready(Ok(read)) if read == byte));
        }
    });
}

#[test]
fn a_direction_that_stays_idle_keeps_its_waiter() {
    in_both_modes(|reactor| {
        let (near, mut far) = pair();
        let near = reactor.register(near).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let full = |mut socket: &TcpStream| -> io::Result<()> {
            loop {
                _ = socket.write(&[0; 65_536])?;
            }
        };
        assert!(poll_read(&near).is_pending());
        assert!(near.poll_io(&mut cx, Direction::Write, full).is_pending());
        while turn(reactor) > 0 {
            assert!(poll_read(&near).is_pending());
            assert!(near.poll_io(&mut cx, Direction::Write, full).is_pending());
        }
        assert_eq!(reactor.statistics().waiting, 2);
        // Data for the reader; the writer, whose peer reads nothing, still has its waker, here
        // or in the hands of the driver.
        far.write_all(&[7]).unwrap();
        while reactor.statistics().waiting == 2 {
            drive(reactor);
        }
        assert!(matches!(poll_read(&near), Poll::Ready(Ok(7))));
        assert!(near.poll_io(&mut cx, Direction::Write, full).is_pending());
        // Room for the writer: it hears of it.
        far.set_nonblocking(false).unwrap();
        let mut drained = vec![0; 65_536];
        let mut wakers = Vec::new();
        while wakers.is_empty() {
            _ = far.read(&mut drained).unwrap();
            reactor.wait(Some(Duration::ZERO), &mut wakers).unwrap();
        }
    });
}

#[test]
fn an_idle_source_causes_no_events() {
    in_both_modes(|reactor| {
        let (near, mut far) = pair();
        let near = reactor.register(near).unwrap();
        far.write_all(&[1]).unwrap();
        turn(reactor);
        // Readable and writable, and nobody reads: nothing is reported twice.
        for _ in 0..3 {
            let mut wakers = Vec::new();
            assert_eq!(reactor.wait(Some(Duration::ZERO), &mut wakers).unwrap(), 0);
        }
        assert!(matches!(poll_read(&near), Poll::Ready(Ok(1))));
    });
}

#[test]
fn every_waiter_is_woken_and_a_dropped_one_leaves_nothing() {
    in_both_modes(|reactor| {
        let (near, mut far) = pair();
        let near = reactor.register(near).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut waiters: Vec<_> = (0..3).map(|_| near.waiter(Direction::Read)).collect();
        for waiter in &mut waiters {
            assert!(waiter.poll_io(&mut cx, read).is_pending());
        }
        assert_eq!(reactor.statistics().waiting, 3);
        waiters.pop();
        assert_eq!(reactor.statistics().waiting, 2);
        far.write_all(&[1]).unwrap();
        assert_eq!(drive(reactor), 2);
        assert!(waiters[0].poll_io(&mut cx, read).is_ready());
        assert!(waiters[1].poll_io(&mut cx, read).is_pending());
        drop(waiters);
        assert_eq!(reactor.statistics().waiting, 0);
    });
}

/// A driver holds events of a source whose key is about to be used again: it must not be.
#[test]
fn a_key_is_not_used_again_before_the_next_wait() {
    in_both_modes(|reactor| {
        let (near, _far) = pair();
        let near = reactor.register(near).unwrap();
        let key = near.source().key;
        let io = near.into_inner();
        assert_eq!(reactor.statistics().sources, 0);
        let again = reactor.register(io).unwrap();
        assert_ne!(again.source().key, key, "an event of the former owner may be on its way");
        turn(reactor);
        let (other, _far) = pair();
        let other = reactor.register(other).unwrap();
        assert_eq!(other.source().key, key, "keys of deleted sources are freed");
        assert_eq!(reactor.statistics().sources, 2);
    });
}

#[test]
fn only_one_thread_waits() {
    let reactor = Reactor::new().unwrap();
    let driving = reactor.batch.lock();
    let error = reactor.wait(None, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    drop(driving);
    assert_eq!(reactor.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap(), 0);
}

#[test]
fn closing_fails_what_waits_and_what_comes() {
    in_both_modes(|reactor| {
        let (near, far) = pair();
        let near = reactor.register(near).unwrap();
        assert!(poll_read(&near).is_pending());
        reactor.close();
        assert_eq!(reactor.statistics().waiting, 0);
        for error in [
            match poll_read(&near) {
                Poll::Ready(result) => result.unwrap_err(),
                Poll::Pending => panic!("waits on a closed reactor"),
            },
            near.try_io(Direction::Read, read).unwrap_err(),
            reactor.register(far).unwrap_err(),
        ] {
            assert!(error.to_string().contains("has shut down"), "{error}");
        }
    });
}

#[test]
fn trying_clears_and_the_next_wait_waits() {
    in_both_modes(|reactor| {
        let (near, mut far) = pair();
        let near = reactor.register(near).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut ready = near.waiter(Direction::Read);
        assert!(ready.poll_ready(&mut cx).is_ready(), "unknown: worth a try");
        let error = near.try_io(Direction::Read, read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        turn(reactor);
        // Registration may have reported the source as writable, never as readable.
        assert!(ready.poll_ready(&mut cx).is_pending());
        far.write_all(&[1]).unwrap();
        drive(reactor);
        assert!(ready.poll_ready(&mut cx).is_ready());
        assert_eq!(near.try_io(Direction::Read, read).unwrap(), 1);
    });
}

#[test]
fn entering_nests() {
    let (outer, inner): (Arc<_>, Arc<_>) =
        (Reactor::new().unwrap().into(), Reactor::new().unwrap().into());
    let is = |reactor: &Arc<Reactor>| Arc::ptr_eq(&current().unwrap(), reactor);
    let entered = enter(Arc::clone(&outer));
    assert!(is(&outer));
    let nested = enter(Arc::clone(&inner));
    assert!(is(&inner));
    drop(nested);
    assert!(is(&outer));
    drop(entered);
    assert!(!is(&outer), "outside, the global runtime's serves");
}
