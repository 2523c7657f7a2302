//! Numbers about a runtime.

use std::fmt;

use super::Shared;

/// Numbers about a runtime; see [`Runtime::metrics`](super::Runtime::metrics). As text they are a
/// few lines.
///
/// # Examples
///
/// ```
/// let runtime = corymb::Runtime::builder().parallelism(2).build()?;
/// let metrics = runtime.metrics();
/// assert_eq!((metrics.parallelism, metrics.alive, metrics.polls), (2, 0, 0));
/// println!("{metrics}");
/// # Ok::<(), corymb::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// How many coroutines of `Dispatcher::Default` run at once at most.
    pub parallelism: usize,
    /// How many coroutines of `Dispatcher::Io` are polled at once at most: what was set, or what
    /// [`max_pool_size`](Self::max_pool_size) leaves beside the parallelism if that is less.
    pub io_parallelism: usize,
    /// How many threads there are at most, without the watchdog and those in a nested
    /// `run_blocking`.
    pub max_pool_size: usize,
    /// Coroutines that have not ended.
    pub alive: usize,
    /// Workers that sleep.
    pub sleeping: usize,
    /// Coroutines that are ready and wait for a worker.
    pub queued: usize,
    /// Polls of coroutines on processors since the start; those of coroutines that run as IO are not
    /// counted, and a poll of a view's coroutines counts as one.
    pub polls: u64,
    /// Batches that workers have taken from each other.
    pub steals: u64,
    /// How often a worker went to sleep.
    pub parks: u64,
    /// Timers that are armed.
    pub timers: usize,
    /// Sockets that are registered.
    pub sources: usize,
    /// Threads of the pool, without the watchdog.
    pub threads: usize,
    /// Threads that run coroutines which compute, or look for some.
    pub working: usize,
    /// Threads that have nothing to do, and end after a while.
    pub spare: usize,
    /// How many coroutines may compute at once at present: the parallelism, and those that make up
    /// for polls that block.
    pub permits: usize,
    /// Permits whose thread does IO, or blocks in a nested `run_blocking`, meanwhile.
    pub lent: usize,
    /// Permits that make up for polls that block.
    pub compensated: usize,
    /// Coroutines that are being polled as IO.
    pub io_running: usize,
    /// Coroutines that are ready and wait for one of those to end its poll, or to leave IO.
    pub io_queued: usize,
    /// Polls since the start that were seen to hold a worker for longer than
    /// [`blocked_threshold`](super::Builder::blocked_threshold).
    pub blocked_polls: u64,
    /// Polls since the start of coroutines launched where others have blocked twice: they do not
    /// hold a worker, and however long they take, they are not among
    /// [`blocked_polls`](Self::blocked_polls).
    pub known_polls: u64,
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parallelism, io_parallelism, max_pool_size, .. } = self;
        let Self { permits, lent, compensated, .. } = self;
        writeln!(
            f,
            "parallelism {parallelism}: {permits} permits, {lent} lent, {compensated} compensated"
        )?;
        let Self { threads, working, sleeping, spare, .. } = self;
        writeln!(
            f,
            "threads {threads} of {max_pool_size}: {working} working, {sleeping} sleeping, \
             {spare} spare"
        )?;
        let Self { alive, queued, timers, sources, .. } = self;
        writeln!(f, "coroutines {alive}: {queued} queued; {timers} timers, {sources} sources")?;
        let Self { io_running, io_queued, .. } = self;
        writeln!(f, "io_parallelism {io_parallelism}: {io_running} running, {io_queued} queued")?;
        let Self { polls, blocked_polls, known_polls, steals, parks, .. } = self;
        write!(
            f,
            "polls {polls}: {blocked_polls} long, {known_polls} known to block; \
             {steals} steals, {parks} parks"
        )
    }
}

impl Shared {
    pub(super) fn metrics(&self) -> Metrics {
        let statistics = self.pool.statistics();
        Metrics {
            parallelism: self.pool.parallelism(),
            io_parallelism: self.pool.io_parallelism(),
            max_pool_size: self.pool.max_pool_size(),
            alive: self.try_root().map_or(0, |root| root.coroutines()),
            sleeping: statistics.sleeping,
            queued: statistics.queued,
            polls: statistics.polls,
            steals: statistics.steals,
            parks: statistics.parks,
            timers: statistics.timers,
            sources: statistics.sources,
            threads: statistics.threads,
            working: statistics.working,
            spare: statistics.spare,
            permits: statistics.in_service,
            lent: statistics.lent,
            compensated: statistics.compensated,
            io_running: statistics.io_in_use,
            io_queued: statistics.io_queued,
            blocked_polls: statistics.blocked_polls,
            known_polls: statistics.known_polls,
        }
    }
}
