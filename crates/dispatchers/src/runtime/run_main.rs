//! A runtime whose main loop the calling thread serves.

use std::panic::Location;
use std::sync::Arc;

use corymb_core::internal::{refused_by_shutdown, scope_of, unwind_cancelled};
use corymb_core::{Cancelled, Dispatch, JoinError, Panic, is_cancelled, soft_shield};

use super::shared::lock;
use super::{Runtime, Shared, uncancelled};
use crate::home::Serving;

impl Runtime {
    /// Runs `future` as a coroutine on the workers, while this thread serves
    /// [`Dispatcher::Main`](corymb_core::Dispatcher::Main): what `#[corymb::main]` does, for a
    /// runtime of one's own.
    ///
    /// When it has returned there is no main loop any more: what is given to it then is cancelled.
    /// It returns when the future has: if that goes on behind a shield in a shutdown, that is later.
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
    /// With a panic of the future; if the runtime has shut down, or does so before the future has
    /// returned; and if another thread is in a `run_main` of this runtime.
    #[track_caller]
    pub fn run_main<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self.try_run_main(future, |_| ()) {
            Ok(value) => value,
            Err(_) if is_cancelled() => unwind_cancelled(),
            Err(cancelled) => panic!("the main coroutine was {cancelled}"),
        }
    }

    /// As [`run_main`](Self::run_main), with an error if the future did not return. `tell` hears of
    /// a panic that began in another coroutine.
    #[track_caller]
    pub(crate) fn try_run_main<F>(
        &self,
        future: F,
        tell: impl FnOnce(&Panic),
    ) -> Result<F::Output, Cancelled>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let _serving = Serving::enter();
        let _main = self.shared.serve_main();
        let root = self.shared.try_root().ok_or_else(refused_by_shutdown)?;
        let main = scope_of(&root).spawn(future).outcome();
        // In a shutdown the main loop is there for as long as the future goes on.
        match self.try_run_blocking(soft_shield(main))? {
            Ok(value) => Ok(value),
            Err(JoinError::Cancelled(cancelled)) => Err(cancelled),
            Err(JoinError::Panicked(panic)) => {
                if panic.who().launched_at() != Location::caller() {
                    tell(&panic);
                }
                panic.resume()
            }
            Err(error) => panic!("the main coroutine: {error}"),
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
        uncancelled(self.try_run_main_local(future))
    }

    /// As [`run_main_local`](Self::run_main_local), with an error if the future did not return.
    #[track_caller]
    pub(crate) fn try_run_main_local<F: Future>(&self, future: F) -> Result<F::Output, Cancelled> {
        let _serving = Serving::enter();
        let _main = self.shared.serve_main();
        self.try_run_blocking(future)
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
