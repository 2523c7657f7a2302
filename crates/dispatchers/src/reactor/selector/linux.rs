//! A wait of one system call, two if a timer has to be set.
//!
//! An eventfd and a timerfd of our own are registered with the poller's epoll, edge-triggered:
//! each write and each expiry is an edge, so neither is ever read. epoll's own timeouts would
//! count milliseconds, and be subject to the thread's timer slack.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use corymb_core::internal::prim::atomic::{AtomicBool, Ordering};
use polling::Poller;
use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::{Errno, retry_on_intr};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::{BATCH, Ready};

/// The key of our own two descriptors. No source has it: keys are indices of a table.
const INTERNAL: u64 = u64::MAX;

/// How much later than asked an armed timer may expire and still be left as it is. Callers turn
/// a fixed deadline into a timeout again and again, with a jitter of some clock readings; the
/// timer's own lateness is ten times this.
const SLACK: Duration = Duration::from_micros(2);

const READABLE: epoll::EventFlags = epoll::EventFlags::IN
    .union(epoll::EventFlags::PRI)
    .union(epoll::EventFlags::HUP)
    .union(epoll::EventFlags::ERR);
const WRITABLE: epoll::EventFlags =
    epoll::EventFlags::OUT.union(epoll::EventFlags::HUP).union(epoll::EventFlags::ERR);

/// What a wait needs beside the poller.
#[derive(Debug)]
pub(crate) struct Selector {
    /// Written to by `notify`.
    wake: OwnedFd,
    timer: OwnedFd,
    /// Whether `wake` was written to since the last wait ended: further writes are superfluous.
    notified: AtomicBool,
}

/// The events of one wait, and when the timer will expire: the driver's own.
pub(crate) struct Batch {
    events: Vec<epoll::Event>,
    /// When the timer expires, or expired.
    armed: Option<Instant>,
}

#[expect(clippy::non_send_fields_in_send_ty, reason = "the data of an event may be a pointer")]
// SAFETY: an event is not Send because its data may be a pointer; ours are numbers.
unsafe impl Send for Batch {}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { events: Vec::with_capacity(BATCH), armed: None }
    }

    /// The events that the last wait fetched.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Ready> {
        self.events.iter().filter_map(|event| {
            // The event is packed: its fields are copied, not referred to.
            let (key, flags) = ({ event.data }.u64(), { event.flags });
            (key != INTERNAL).then(|| Ready {
                key: usize::try_from(key).expect("the keys of sources are indices"),
                readable: flags.intersects(READABLE),
                writable: flags.intersects(WRITABLE),
            })
        })
    }
}

impl Selector {
    pub(crate) fn new(poller: &Poller) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        for internal in [&wake, &timer] {
            epoll::add(poller, internal, epoll::EventData::new_u64(INTERNAL), edges)?;
        }
        Ok(Self { wake, timer, notified: AtomicBool::new(false) })
    }

    /// Waits for events, a notification or the timeout, whichever comes first; it may also
    /// return early for no reason.
    pub(crate) fn wait(
        &self,
        poller: &Poller,
        batch: &mut Batch,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        batch.events.clear();
        let at_once = timeout == Some(Duration::ZERO);
        if !at_once {
            self.arm(&mut batch.armed, timeout)?;
        }
        let timeout = at_once.then_some(Timespec { tv_sec: 0, tv_nsec: 0 });
        let waited = retry_on_intr(|| {
            epoll::wait(poller, spare_capacity(&mut batch.events), timeout.as_ref())
        });
        // Ordering: AcqRel pairs with the swap in `notify`: a caller of that who found the mark
        // set, and did not write, has done so before this swap, which then makes visible what
        // the caller did before; one that finds it unset afterwards writes.
        self.notified.swap(false, Ordering::AcqRel);
        waited?;
        Ok(())
    }

    /// Ends the wait in progress, else the next one.
    pub(crate) fn notify(&self, _: &Poller) {
        // Ordering: AcqRel, see `wait`.
        if !self.notified.swap(true, Ordering::AcqRel) {
            // The counter would refuse this one only after 2^64 - 2 others.
            let written = retry_on_intr(|| rustix::io::write(&self.wake, &1_u64.to_ne_bytes()));
            debug_assert_eq!(written, Ok(size_of::<u64>()), "an eventfd takes eight bytes");
        }
    }

    /// Sees to it that the timer expires at the end of `timeout`, or before it: one that is set
    /// for an earlier time is left alone, since waking early once is cheaper than setting it
    /// before every wait.
    fn arm(&self, armed: &mut Option<Instant>, timeout: Option<Duration>) -> Result<(), Errno> {
        let Some(timeout) = timeout else { return Ok(()) };
        let now = Instant::now();
        // Further than the clock reaches is as good as never.
        let Some(deadline) = now.checked_add(timeout) else { return Ok(()) };
        if armed.is_some_and(|armed| now < armed && armed <= deadline + SLACK) {
            return Ok(());
        }
        let Ok(it_value) = Timespec::try_from(timeout) else { return Ok(()) };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval, it_value },
        )?;
        *armed = Some(deadline);
        Ok(())
    }
}
