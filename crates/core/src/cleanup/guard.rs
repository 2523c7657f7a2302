//! Values with an asynchronous end.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

use super::{Cleanup, GRACE, Launch, Turn, erase, open_under};
use crate::current;
use crate::failure::{self, Failure};
use crate::job::{Job, Join};
use crate::node::{NodeRef, state, tree};

/// What has to be closed, and may have to suspend for that.
///
/// # Examples
///
/// ```
/// use corymb::{AsyncClose, AsyncGuard, prelude::*, sync::channel};
///
/// struct Connection(channel::Sender<&'static str>);
///
/// impl AsyncClose for Connection {
///     async fn close(self) {
///         self.0.send("good-bye").await.unwrap();
///     }
/// }
///
/// let (wire, sent) = channel::bounded(2);
/// run_blocking(scope(async |s| {
///     s.launch(async move {
///         let connection = AsyncGuard::new(Connection(wire));
///         connection.0.send("hello").await.unwrap();
///     }); // dropped there, and closed before the scope returns
/// }));
/// assert_eq!((sent.try_recv(), sent.try_recv()), (Ok("hello"), Ok("good-bye")));
/// ```
pub trait AsyncClose: Send + 'static {
    /// Closes it. It runs as a coroutine of its own, shielded.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A value that is closed at its end, wherever that is.
///
/// [`close`](Self::close) closes it and waits. Dropped unclosed, it is closed by the job that was
/// current when the guard was made, which waits for that before it ends; or, if that has ended, by
/// its nearest ancestor that has not, the runtime at last. It takes turns with the cleanups of
/// [`finally`](crate::finally) there, and is given half a minute, as they are. After a shutdown it is
/// dropped, and reported.
///
/// # Examples
///
/// See [`AsyncClose`].
pub struct AsyncGuard<T: AsyncClose> {
    value: Option<T>,
    site: &'static Location<'static>,
    /// The job that is to close it, and its ancestors.
    jobs: Vec<NodeRef>,
    turn: Turn,
}

impl<T: AsyncClose> AsyncGuard<T> {
    /// Guards `value` for the job that is current.
    #[track_caller]
    pub fn new(value: T) -> Self {
        let jobs = current::ancestry();
        // SAFETY: the code that asks runs in it.
        let turn = unsafe { Turn::register(jobs[0].as_ptr()) };
        Self { value: Some(value), site: Location::caller(), jobs, turn }
    }

    /// Closes the value, and waits for the end of that.
    ///
    /// A failure of it is one in the scope around the job that the guard belongs to; the code here
    /// goes on.
    ///
    /// # Cancel safety
    ///
    /// Once it was called the value is closed, also if this is dropped.
    #[track_caller]
    pub fn close(mut self) -> Join {
        let value = self.take();
        self.end(value).join()
    }

    /// Takes the value out, which is not closed then.
    pub fn into_inner(mut self) -> T {
        self.take()
    }

    fn take(&mut self) -> T {
        self.value.take().expect("it is there until the guard is gone")
    }

    fn end(&self, value: T) -> Job {
        let mut launch = erase(self.site, move || value.close());
        for job in &self.jobs {
            match self.open_closed(job, launch) {
                Ok(region) => return Job::from_node(region),
                Err(back) => launch = back,
            }
        }
        failure::guard_drop("guarded value", self.site, || drop(launch));
        let dropped = Failure::CleanupDropped { registered_at: self.site, grace: None };
        failure::report_in_context(&dropped);
        // The runtime's, which has ended.
        Job::from_node(self.jobs.last().expect("there is the runtime").clone())
    }

    /// Opens a region under `job` that has nothing to do but the cleanup; it comes back if the job
    /// has ended.
    fn open_closed(&self, job: &NodeRef, launch: Launch) -> Result<NodeRef, Launch> {
        let job = Job::from_node(job.clone());
        // A cancel has to find the way to the region.
        job.list();
        let cleanup = Cleanup { number: None, grace: GRACE, launch };
        let region = open_under(job.node(), None, self.site, Some(&self.turn), cleanup)
            .map_err(|cleanup| cleanup.launch)?;
        // Its failure is one of the owner.
        region.state.set(state::ABANDONED);
        tree::close_region(&region);
        Ok(region)
    }
}

impl<T: AsyncClose> Drop for AsyncGuard<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.end(value);
        }
    }
}

impl<T: AsyncClose> Deref for AsyncGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("it is there until the guard is gone")
    }
}

impl<T: AsyncClose> DerefMut for AsyncGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("it is there until the guard is gone")
    }
}

impl<T: AsyncClose + fmt::Debug> fmt::Debug for AsyncGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncGuard").field(&self.value).finish()
    }
}
