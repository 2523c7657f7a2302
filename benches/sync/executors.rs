//! What runs the tasks: as many threads as it is told, or one for each task.

use std::future::pending;

use async_executor::Executor as Pool;
use corymb::Runtime;

use crate::workloads::Body;

pub(crate) trait Executor: 'static {
    fn start(workers: usize) -> Self;

    /// Runs `body` as a task on a worker; this thread only waits for it.
    fn on_worker(&self, body: Body) -> <Body as Future>::Output;

    /// Runs `tasks` and waits for all of them.
    fn all<F>(tasks: Vec<F>) -> impl Future<Output = ()> + Send
    where
        F: Future<Output = ()> + Send + 'static;

    fn yield_now() -> impl Future<Output = ()> + Send;
}

pub(crate) struct Corymb(Runtime);

impl Executor for Corymb {
    fn start(workers: usize) -> Self {
        Self(Runtime::builder().parallelism(workers).build().expect("the runtime starts"))
    }

    fn on_worker(&self, body: Body) -> <Body as Future>::Output {
        self.0.run_blocking(self.0.detached(body))
    }

    async fn all<F>(tasks: Vec<F>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        corymb::scope(async |s| {
            for task in tasks {
                s.launch(task);
            }
        })
        .await;
    }

    async fn yield_now() {
        corymb::yield_now().await;
    }
}

pub(crate) struct Tokio(tokio::runtime::Runtime);

impl Executor for Tokio {
    fn start(workers: usize) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Self(builder.worker_threads(workers).enable_all().build().expect("the runtime starts"))
    }

    fn on_worker(&self, body: Body) -> <Body as Future>::Output {
        self.0.block_on(async { tokio::spawn(body).await.expect("it does not panic") })
    }

    async fn all<F>(tasks: Vec<F>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handles: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
        for handle in handles {
            handle.await.expect("it does not panic");
        }
    }

    async fn yield_now() {
        tokio::task::yield_now().await;
    }
}

/// tokio on one thread, which has no coordination to pay for.
pub(crate) struct CurrentThread(Tokio);

impl Executor for CurrentThread {
    fn start(_: usize) -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        Self(Tokio(builder.enable_all().build().expect("the runtime starts")))
    }

    fn on_worker(&self, body: Body) -> <Body as Future>::Output {
        self.0.on_worker(body)
    }

    async fn all<F>(tasks: Vec<F>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Tokio::all(tasks).await;
    }

    async fn yield_now() {
        Tokio::yield_now().await;
    }
}

/// A thread for each task, which may block.
pub(crate) struct Threads;

impl Executor for Threads {
    fn start(_: usize) -> Self {
        Self
    }

    fn on_worker(&self, body: Body) -> <Body as Future>::Output {
        std::thread::spawn(|| smol::block_on(body)).join().expect("it does not panic")
    }

    async fn all<F>(tasks: Vec<F>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let threads: Vec<_> =
            tasks.into_iter().map(|task| std::thread::spawn(|| smol::block_on(task))).collect();
        for thread in threads {
            thread.join().expect("it does not panic");
        }
    }

    async fn yield_now() {
        std::thread::yield_now();
    }
}

pub(crate) struct Smol;

static EX: Pool<'static> = Pool::new();

impl Executor for Smol {
    fn start(workers: usize) -> Self {
        for _ in 0..workers {
            std::thread::spawn(|| async_io::block_on(EX.run(pending::<()>())));
        }
        Self
    }

    fn on_worker(&self, body: Body) -> <Body as Future>::Output {
        smol::block_on(EX.spawn(body))
    }

    async fn all<F>(tasks: Vec<F>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks: Vec<_> = tasks.into_iter().map(|task| EX.spawn(task)).collect();
        for task in tasks {
            task.await;
        }
    }

    async fn yield_now() {
        smol::future::yield_now().await;
    }
}
