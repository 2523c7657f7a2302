//! What runs the tasks of a scenario.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;

use corymb::Runtime;
use corymb::testing::TestRuntime;
use futures::FutureExt;
use futures::future::{BoxFuture, RemoteHandle, poll_fn};

/// An executor; [`spawn`](Self::spawn) is called in what `block_on` runs, or in a task.
pub(crate) trait Executor: Send + Sync + 'static {
    /// Whether the end of a task's poll has it let go of offers that it did not take.
    const LETS_GO: bool = false;

    fn new() -> Self;
    fn spawn(&self, task: BoxFuture<'static, ()>);
    fn block_on(&self, task: BoxFuture<'static, ()>);
}

/// Spawns where a scenario runs.
#[derive(Clone)]
pub(crate) struct Tasks(Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>);

impl Tasks {
    /// Starts a task; dropped, the handle drops the task.
    pub(crate) fn spawn<F>(&self, task: F) -> RemoteHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (task, handle) = task.remote_handle();
        (self.0)(task.boxed());
        handle
    }
}

/// Runs `scenario` as the main task of an executor.
pub(crate) fn run<E: Executor, F>(scenario: impl FnOnce(Tasks) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let executor = Arc::new(E::new());
    let spawner = Arc::clone(&executor);
    let tasks = Tasks(Arc::new(move |task| spawner.spawn(task)));
    executor.block_on(scenario(tasks).boxed());
}

/// Goes to the end of the queue, whichever executor that is.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls `future` once.
pub(crate) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// corymb's pool.
pub(crate) struct Pool(Runtime);

impl Executor for Pool {
    const LETS_GO: bool = true;

    fn new() -> Self {
        Self(Runtime::builder().parallelism(2).build().expect("the runtime starts"))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.launch_detached(task);
    }

    fn block_on(&self, task: BoxFuture<'static, ()>) {
        self.0.run_blocking(task);
    }
}

/// corymb's runtime for tests.
pub(crate) struct Virtual;

impl Executor for Virtual {
    const LETS_GO: bool = true;

    fn new() -> Self {
        Self
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        corymb::launch_detached(task);
    }

    fn block_on(&self, task: BoxFuture<'static, ()>) {
        TestRuntime::new().run(task);
    }
}

/// tokio, with two workers.
pub(crate) struct Tokio(tokio::runtime::Runtime);

impl Executor for Tokio {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Self(builder.worker_threads(2).build().expect("the runtime starts"))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn block_on(&self, task: BoxFuture<'static, ()>) {
        self.0.block_on(task);
    }
}

/// tokio, on one thread.
pub(crate) struct TokioLocal(tokio::runtime::Runtime);

impl Executor for TokioLocal {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        Self(builder.build().expect("the runtime starts"))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn block_on(&self, task: BoxFuture<'static, ()>) {
        self.0.block_on(task);
    }
}

/// smol's executor, which two threads run.
pub(crate) struct Smol(Arc<smol::Executor<'static>>);

impl Executor for Smol {
    fn new() -> Self {
        Self(Arc::new(smol::Executor::new()))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task).detach();
    }

    fn block_on(&self, task: BoxFuture<'static, ()>) {
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        thread::scope(|s| {
            s.spawn(|| smol::block_on(self.0.run(stopped.recv())));
            let _stop = stop;
            smol::block_on(self.0.run(task));
        });
    }
}

/// A thread for each task.
pub(crate) struct Threads;

impl Executor for Threads {
    fn new() -> Self {
        Self
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        thread::spawn(|| futures::executor::block_on(task));
    }

    fn block_on(&self, task: BoxFuture<'static, ()>) {
        futures::executor::block_on(task);
    }
}
