//! One direction of a connection: bytes on their way.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use corymb_core::internal::prim::{Mutex, MutexGuard};
use corymb_core::time::{Instant, Sleep, now, sleep_until};

/// What goes on with the network between two hosts.
pub(super) trait Link: Send + Sync {
    /// How long a segment that is sent now is on its way.
    fn latency(&self) -> Duration;
    /// Since when nothing gets through; none if it does.
    fn cut_since(&self) -> Option<Instant>;
}

impl dyn Link {
    /// Whether what was due at that time has come.
    fn has_come(&self, due: Instant) -> bool {
        due <= now() && self.cut_since().is_none_or(|cut| due <= cut)
    }
}

/// One with no latency, that is never cut.
pub(super) struct Direct;

impl Link for Direct {
    fn latency(&self) -> Duration {
        Duration::ZERO
    }

    fn cut_since(&self) -> Option<Instant> {
        None
    }
}

/// The state that both ends share.
pub(super) struct Pipe {
    link: Arc<dyn Link>,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order in which they were sent, and arrive.
    segments: VecDeque<Segment>,
    /// How many bytes are in there.
    len: usize,
    /// The writer is gone, or has closed its end.
    closed: bool,
    /// When the writer gets to know that the reader is gone.
    unread: Option<Instant>,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Segment {
    due: Instant,
    /// Empty: the end.
    bytes: VecDeque<u8>,
}

impl Pipe {
    pub(super) fn new(link: Arc<dyn Link>, capacity: usize) -> Arc<Self> {
        Arc::new(Self { link, capacity, state: Mutex::new(State::default()) })
    }

    /// Takes bytes that have arrived; none at the end. `timer` is the reader's, for those that are
    /// on their way.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        timer: &mut Option<Pin<Box<Sleep>>>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let due = {
                let mut state = self.state.lock();
                if state.reset {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                let due = state.segments.front().map(|segment| segment.due);
                if due.is_some_and(|due| self.link.has_come(due)) {
                    let (read, writer) = state.take(buffer);
                    drop(state);
                    writer.into_iter().for_each(Waker::wake);
                    return Poll::Ready(Ok(read));
                }
                // What comes, or is cut or healed, wakes it as well as the timer.
                let old = state.reader.replace(cx.waker().clone());
                drop(state);
                drop(old);
                due
            };
            ready!(self.poll_until(cx, timer, due));
        }
    }

    /// Waits for what is due then, if it is on its way.
    fn poll_until(
        &self,
        cx: &mut Context<'_>,
        timer: &mut Option<Pin<Box<Sleep>>>,
        due: Option<Instant>,
    ) -> Poll<()> {
        let Some(due) = due.filter(|_| self.link.cut_since().is_none()) else {
            return Poll::Pending;
        };
        if timer.as_ref().is_none_or(|timer| timer.deadline() != Some(due)) {
            *timer = Some(Box::pin(sleep_until(due)));
        }
        timer.as_mut().expect("set just now").as_mut().poll(cx)
    }

    /// Sends as many of `bytes` as there is room for. `timer` is the writer's, for the news that
    /// nobody reads any more.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        timer: &mut Option<Pin<Box<Sleep>>>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let news = {
                let mut state = self.state.lock();
                self.check_open(&state)?;
                let room = self.capacity - state.len;
                if room > 0 || bytes.is_empty() {
                    let sent = &bytes[..bytes.len().min(room)];
                    if !sent.is_empty() {
                        self.send(state, sent);
                    }
                    return Poll::Ready(Ok(sent.len()));
                }
                let old = state.writer.replace(cx.waker().clone());
                let news = state.unread;
                drop(state);
                drop(old);
                news
            };
            ready!(self.poll_until(cx, timer, news));
        }
    }

    fn check_open(&self, state: &State) -> io::Result<()> {
        if state.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if state.closed || state.unread.is_some_and(|news| self.link.has_come(news)) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    /// Gives the time at which it comes.
    fn send(&self, mut state: MutexGuard<'_, State>, bytes: &[u8]) -> Instant {
        let last = state.segments.back().map(|segment| segment.due);
        // Latencies differ, and the order of a connection stays.
        let due = last.into_iter().chain([now() + self.link.latency()]).max();
        let due = due.expect("there is one");
        state.len += bytes.len();
        state.segments.push_back(Segment { due, bytes: bytes.iter().copied().collect() });
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        due
    }

    /// Ends it, behind what was sent; gives the time at which the end comes, if this is it.
    pub(super) fn close(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        let is_first = !std::mem::replace(&mut state.closed, true);
        is_first.then(|| self.send(state, &[]))
    }

    /// Nobody reads any more, of which the writer gets to know at the time of `news`, or else after
    /// a latency.
    pub(super) fn stop_reading(&self, news: Option<Instant>) {
        let news = news.unwrap_or_else(|| now() + self.link.latency());
        self.end(|state| {
            state.unread = Some(news);
            state.segments.clear();
            state.len = 0;
        });
    }

    /// The connection is lost.
    pub(super) fn reset(&self) {
        self.end(|state| state.reset = true);
    }

    /// The link has been cut or healed: whoever waits looks again.
    pub(super) fn look_again(&self) {
        self.end(|_| ());
    }

    fn end(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl State {
    /// Takes what fits of the first segment, and who waits for room.
    fn take(&mut self, buffer: &mut [u8]) -> (usize, Option<Waker>) {
        let Some(first) = self.segments.front_mut() else { return (0, None) };
        let read = first.bytes.len().min(buffer.len());
        for (to, byte) in buffer.iter_mut().zip(first.bytes.drain(..read)) {
            *to = byte;
        }
        // The end stays, for whoever reads again.
        if read > 0 && first.bytes.is_empty() {
            self.segments.pop_front();
        }
        self.len -= read;
        (read, self.writer.take())
    }
}
