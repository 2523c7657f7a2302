//! A network of hosts with names.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::RangeInclusive;
use std::panic::Location;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use corymb_core::hooks::{self, Choice, RuntimeHooks};
use corymb_core::internal::prim::Mutex;
use corymb_core::time::{Instant, now, sleep};

use super::pipe::{Link, Pipe};
use super::stream::{SimStream, noted, poll_io};

/// How many bytes may be on their way in a direction of a connection.
const CAPACITY: usize = 64 * 1024;
/// How many latencies are told apart.
const STEPS: u32 = 8;

/// A network in memory: hosts with names, connections between them that take time, get lost, and are
/// cut off from each other.
///
/// How long something is on its way is a choice of the runtime, as which coroutine is next: an
/// [`Explorer`](crate::Explorer) tries one way and another, so that what goes over one connection
/// overtakes what goes over another. Within a connection the order stays. Code under test takes
/// streams of any type (`AsyncRead + AsyncWrite` of futures), and gets those.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::testing::{SimNet, TestRuntime, elapsed};
/// use futures::{AsyncReadExt, AsyncWriteExt};
///
/// TestRuntime::new().run(scope(async |s| {
///     let net = SimNet::new().latency(Duration::from_millis(5)..=Duration::from_millis(5));
///     let mut listener = net.host("server").listen(80).unwrap();
///     s.launch(async move {
///         let (mut stream, from) = listener.accept().await.unwrap();
///         assert_eq!(from, "client");
///         stream.write_all(b"hello").await.unwrap();
///     });
///     let mut stream = net.host("client").connect("server", 80).await.unwrap();
///     let mut text = String::new();
///     stream.read_to_string(&mut text).await.unwrap();
///     assert_eq!(text, "hello");
///     assert_eq!(elapsed(), Duration::from_millis(15)); // there, back, and the text
/// }));
/// ```
#[derive(Clone)]
pub struct SimNet(Arc<Shared>);

struct Shared {
    latency: RangeInclusive<Duration>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listeners: HashMap<(Arc<str>, u16), Weak<Backlog>>,
    /// Pairs of hosts between which nothing gets through, in the order of their names, and since
    /// when.
    cuts: HashMap<Pair, Instant>,
    connections: Vec<(Pair, Weak<Pipe>)>,
    /// Of those who wait for a cut to be healed.
    wakers: Vec<Waker>,
}

type Pair = (Arc<str>, Arc<str>);

fn pair(a: &Arc<str>, b: &Arc<str>) -> Pair {
    let (a, b) = (Arc::clone(a), Arc::clone(b));
    if a <= b { (a, b) } else { (b, a) }
}

/// The network between two hosts.
struct Between {
    net: Arc<Shared>,
    pair: Pair,
}

impl Link for Between {
    fn latency(&self) -> Duration {
        let (least, most) = (*self.net.latency.start(), *self.net.latency.end());
        if least == most {
            return least;
        }
        // An end may be dropped where there is no runtime any more.
        let choose = |runtime: &dyn RuntimeHooks| runtime.choose(Choice::Latency, STEPS as usize);
        let step = hooks::try_with(choose).unwrap_or(0);
        let step = u32::try_from(step).expect("below STEPS");
        least + (most - least) * step / (STEPS - 1)
    }

    fn cut_since(&self) -> Option<Instant> {
        self.net.state.lock().cuts.get(&self.pair).copied()
    }
}

impl Default for SimNet {
    fn default() -> Self {
        Self::new()
    }
}

impl SimNet {
    /// One in which nothing takes time.
    pub fn new() -> Self {
        Self::with(Duration::ZERO..=Duration::ZERO)
    }

    fn with(latency: RangeInclusive<Duration>) -> Self {
        Self(Arc::new(Shared { latency, state: Mutex::new(State::default()) }))
    }

    /// As new, where each piece that is sent is on its way for a time in this range.
    ///
    /// # Panics
    ///
    /// If the range is empty.
    #[must_use = "it is another one"]
    pub fn latency(self, latency: RangeInclusive<Duration>) -> Self {
        assert!(!latency.is_empty(), "`latency({latency:?})`: the range is empty; turn it round");
        Self::with(latency)
    }

    /// The host of that name.
    pub fn host(&self, name: &str) -> SimHost {
        SimHost { net: Arc::clone(&self.0), name: name.into() }
    }

    /// Lets nothing through between two hosts, in either direction: what is on its way waits, and so
    /// does who connects. What has come already can be read.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use corymb::prelude::*;
    /// use corymb::testing::{SimNet, TestRuntime};
    ///
    /// TestRuntime::new().run(async {
    ///     let net = SimNet::new();
    ///     let _listener = net.host("server").listen(80).unwrap();
    ///     let client = net.host("client");
    ///     net.cut("client", "server");
    ///     let connected = with_timeout(Duration::from_secs(5), client.connect("server", 80)).await;
    ///     assert!(connected.is_err());
    ///     net.heal("client", "server");
    ///     assert!(client.connect("server", 80).await.is_ok());
    /// });
    /// ```
    pub fn cut(&self, a: &str, b: &str) {
        let pair = pair(&a.into(), &b.into());
        let since = now();
        let cut = |state: &mut State| _ = *state.cuts.entry(pair.clone()).or_insert(since);
        self.change(&pair, cut, Pipe::look_again);
    }

    /// Ends a [`cut`](Self::cut).
    pub fn heal(&self, a: &str, b: &str) {
        let pair = pair(&a.into(), &b.into());
        let heal = |state: &mut State| _ = state.cuts.remove(&pair);
        self.change(&pair, heal, Pipe::look_again);
    }

    /// Loses all connections between two hosts: reads and writes fail at both ends, and what was on
    /// its way is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use corymb::testing::{SimNet, TestRuntime};
    /// use futures::AsyncReadExt;
    ///
    /// TestRuntime::new().run(async {
    ///     let net = SimNet::new();
    ///     let _listener = net.host("server").listen(80).unwrap();
    ///     let mut stream = net.host("client").connect("server", 80).await.unwrap();
    ///     net.reset("server", "client");
    ///     let error = stream.read(&mut [0]).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    /// });
    /// ```
    pub fn reset(&self, a: &str, b: &str) {
        let pair = pair(&a.into(), &b.into());
        self.change(&pair, |_| (), Pipe::reset);
    }

    /// Changes the network, and then all connections between two hosts.
    fn change(&self, of: &Pair, f: impl FnOnce(&mut State), then: impl Fn(&Pipe)) {
        let mut state = self.0.state.lock();
        f(&mut state);
        state.connections.retain(|(_, pipe)| pipe.strong_count() > 0);
        let pipes = state.connections.iter().filter(|(pair, _)| pair == of);
        let pipes: Vec<_> = pipes.filter_map(|(_, pipe)| pipe.upgrade()).collect();
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        pipes.iter().for_each(|pipe| then(pipe));
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// A host of a [`SimNet`].
#[derive(Clone)]
pub struct SimHost {
    net: Arc<Shared>,
    name: Arc<str>,
}

impl SimHost {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Accepts connections at a port, until the listener is dropped.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if there is a listener at that port.
    pub fn listen(&self, port: u16) -> io::Result<SimListener> {
        let mut state = self.net.state.lock();
        let place = state.listeners.entry((Arc::clone(&self.name), port)).or_default();
        if place.strong_count() > 0 {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let backlog = Arc::<Backlog>::default();
        *place = Arc::downgrade(&backlog);
        Ok(SimListener { backlog })
    }

    /// Connects to a port of another host: two latencies later, unless a cut is in the way.
    ///
    /// # Errors
    ///
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if nobody listens there.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has connected nothing.
    #[track_caller]
    pub fn connect(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<SimStream>> + use<> {
        let (near, host) = (self.clone(), host.into());
        near.connect_from(host, port, Location::caller())
    }

    async fn connect_from(
        self,
        host: Arc<str>,
        port: u16,
        place: &'static Location<'static>,
    ) -> io::Result<SimStream> {
        let link = Between { net: Arc::clone(&self.net), pair: pair(&self.name, &host) };
        for _ in 0..2 {
            self.pass(&link, place).await;
            let mut way = pin!(sleep(link.latency()));
            poll_fn(|cx| noted(place, way.as_mut().poll(cx))).await;
        }
        self.pass(&link, place).await;
        let pair = link.pair.clone();
        let link: Arc<dyn Link> = Arc::new(link);
        let (near, far) = SimStream::pair(&link, CAPACITY, place);
        let mut state = self.net.state.lock();
        let backlog = state.listeners.get(&(host, port)).and_then(Weak::upgrade);
        let backlog = backlog.ok_or(io::ErrorKind::ConnectionRefused)?;
        let pipes = near.pipes().map(|pipe| (pair.clone(), Arc::downgrade(&pipe)));
        state.connections.extend(pipes);
        drop(state);
        backlog.push(far, Arc::clone(&self.name));
        Ok(near)
    }

    /// Waits until the link is not cut.
    async fn pass(&self, link: &Between, place: &'static Location<'static>) {
        poll_fn(|cx| {
            let mut state = self.net.state.lock();
            if !state.cuts.contains_key(&link.pair) {
                return Poll::Ready(());
            }
            state.wakers.push(cx.waker().clone());
            drop(state);
            noted(place, Poll::Pending)
        })
        .await;
    }
}

/// Connections that nobody has accepted yet.
#[derive(Default)]
struct Backlog(Mutex<Arrived>);

#[derive(Default)]
struct Arrived {
    streams: VecDeque<(SimStream, Arc<str>)>,
    waker: Option<Waker>,
}

impl Backlog {
    fn push(&self, stream: SimStream, from: Arc<str>) {
        let mut arrived = self.0.lock();
        arrived.streams.push_back((stream, from));
        let waker = arrived.waker.take();
        drop(arrived);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Accepts connections to a port of a [`SimHost`].
///
/// Dropped, it refuses further ones, and closes those that it has not accepted.
pub struct SimListener {
    backlog: Arc<Backlog>,
}

impl SimListener {
    /// Waits for a connection; gives it with the name of the host that it comes from.
    ///
    /// # Errors
    ///
    /// None so far.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has accepted nothing.
    #[track_caller]
    pub fn accept(&mut self) -> impl Future<Output = io::Result<(SimStream, String)>> {
        let place = Location::caller();
        async move {
            let accepted = poll_fn(|cx| poll_io(cx, place, |cx| self.poll_accept(cx))).await;
            let (stream, from) = accepted;
            Ok((stream.at(place), from.as_ref().into()))
        }
    }

    fn poll_accept(&self, cx: &Context<'_>) -> Poll<(SimStream, Arc<str>)> {
        let mut arrived = self.backlog.0.lock();
        if let Some(first) = arrived.streams.pop_front() {
            return Poll::Ready(first);
        }
        let old = arrived.waker.replace(cx.waker().clone());
        drop(arrived);
        drop(old);
        Poll::Pending
    }
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").field("latency", &self.0.latency).finish_non_exhaustive()
    }
}

impl fmt::Debug for SimHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimHost").field(&self.name).finish()
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimListener").finish_non_exhaustive()
    }
}
