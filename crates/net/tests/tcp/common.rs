//! A test executor: the test's future on its own thread, the reactor on another one.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use corymb_dispatchers::reactor::{self, Reactor};
use corymb_net::{TcpListener, TcpStream};
use futures::executor::block_on;

/// Runs `test` with a reactor of each mode, and checks that it leaves nothing behind.
pub(crate) fn run(test: impl AsyncFn(Arc<Reactor>)) {
    for reactor in [Reactor::new().unwrap(), Reactor::one_shot().unwrap()] {
        let reactor = Arc::new(reactor);
        let _driver = Driver::start(&reactor);
        let _entered = reactor::enter(Arc::clone(&reactor));
        block_on(test(Arc::clone(&reactor)));
        let left = reactor.statistics();
        assert_eq!((left.sources, left.waiting), (0, 0), "the test left something behind");
    }
}

/// A thread that waits on the reactor until this is dropped.
struct Driver {
    reactor: Arc<Reactor>,
    stop: Arc<Mutex<bool>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Driver {
    fn start(reactor: &Arc<Reactor>) -> Self {
        let stop = Arc::new(Mutex::new(false));
        let thread = thread::spawn({
            let (reactor, stop) = (Arc::clone(reactor), Arc::clone(&stop));
            move || {
                let mut wakers = Vec::new();
                while !*stop.lock().unwrap() {
                    reactor.wait(None, &mut wakers).unwrap();
                    wakers.drain(..).for_each(Waker::wake);
                }
            }
        });
        Self { reactor: Arc::clone(reactor), stop, thread: Some(thread) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        *self.stop.lock().unwrap() = true;
        self.reactor.notify();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A listener at a port of its own, with its address.
pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The two ends of a connection.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listen().await;
    let (near, far) = futures::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Polls once, with a waker that wakes nobody.
pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
