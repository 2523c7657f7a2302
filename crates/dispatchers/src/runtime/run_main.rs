//! A runtime whose main loop the calling thread serves.

use std::sync::Arc;

use corymb_core::{Dispatch, JoinError};

use super::shared::lock;
use super::{Runtime, Shared};
use crate::home::Serving;

impl Runtime {
    /// Runs `future` as a coroutine on the workers, while this thread serves
    /// [`Dispatcher::Main`](corymb_core::Dispatcher::Main): what `#[corymb::main]` does, for a
    /// runtime of one's own.
    ///
    /// When it has returned there is no main loop any more: what is given to it then is cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use corymb::prelude::*;
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// let main = runtime.run_main(async {
    ///     corymb::with_context(Dispatcher::Main, async { thread::current().id() }).await
    /// });
    /// assert_eq!(main, thread::current().id());
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// With a panic of the future; if the runtime has shut down or does so meanwhile; and if another
    /// thread is in a `run_main` of this runtime.
    #[track_caller]
    pub fn run_main<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let _serving = Serving::enter();
        let _main = self.shared.serve_main();
        let main = self.detached(future).outcome();
        match self.run_blocking(main) {
            Ok(value) => value,
            Err(JoinError::Panicked(panic)) => panic.resume(),
            Err(error) => panic!("the main coroutine was {error}"),
        }
    }

    /// As [`run_main`](Self::run_main), with the future on this thread, as by
    /// [`run_blocking`](Self::run_blocking): what `#[corymb::main(local)]` does.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    /// use std::thread;
    /// use corymb::prelude::*;
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// let shared = Rc::new(1);
    /// let main = runtime.run_main_local(async {
    ///     assert_eq!(*shared, 1);
    ///     spawn_on(Dispatcher::Main, async { thread::current().id() }).await
    /// });
    /// assert_eq!(main, thread::current().id());
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As [`run_main`](Self::run_main).
    #[track_caller]
    pub fn run_main_local<F: Future>(&self, future: F) -> F::Output {
        let _serving = Serving::enter();
        let _main = self.shared.serve_main();
        self.run_blocking(future)
    }
}

impl Shared {
    /// Makes the loop of this thread the runtime's main loop, until the guard is dropped; none if a
    /// `run_main` further out on this thread has done so.
    #[track_caller]
    fn serve_main(&self) -> Option<Serving> {
        let mut main = lock(&self.main);
        if let Some(open) = main.as_ref().filter(|old| old.is_open()) {
            let is_here = open.is_here();
            drop(main);
            assert!(
                is_here,
                "run_main was called while another thread is in it: a runtime has one main loop, \
                 so use run_blocking here"
            );
            return None;
        }
        let (serving, own) = Serving::main();
        *main = Some(Arc::new(own));
        Some(serving)
    }
}
