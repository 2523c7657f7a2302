//! What a shutdown tells.

use std::fmt;

use corymb_core::Who;
use corymb_core::internal::Unfinished;

/// What [`Runtime::shutdown`] could not end.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use corymb::Runtime;
///
/// let runtime = Runtime::new()?;
/// let (tell, told) = mpsc::channel();
/// let (release, released) = mpsc::channel::<()>();
/// drop(runtime.detached(async move {
///     tell.send(()).unwrap();
///     released.recv().unwrap(); // blocks, so that it cannot be cancelled
/// }));
/// told.recv().unwrap();
/// let report = runtime.shutdown(Duration::ZERO);
/// assert!(!report.is_empty());
/// assert_eq!(report.unfinished().len(), 1);
/// release.send(()).unwrap();
/// # Ok::<(), corymb::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it tells what did not end"]
pub struct ShutdownReport {
    ended: bool,
    forced: Vec<Who>,
    pub(super) unfinished: Vec<Who>,
    /// What each of them was doing.
    pub(super) doing: Vec<Doing>,
}

/// What was seen of a coroutine last.
#[derive(Clone, Debug)]
pub(super) struct Doing(Option<String>);

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |doing| write!(f, ", {doing}"))
    }
}

impl ShutdownReport {
    pub(super) fn new(ended: bool, forced: Vec<Unfinished>, unfinished: Vec<Unfinished>) -> Self {
        let forced = forced.into_iter().map(|it| it.who).collect();
        let (unfinished, doing) =
            unfinished.into_iter().map(|it| (it.who, Doing(it.doing))).unzip();
        Self { ended, forced, unfinished, doing }
    }

    /// Whether everything has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// drop(runtime.detached(std::future::pending::<()>()));
    /// assert!(runtime.shutdown(Duration::from_secs(1)).is_empty()); // it could be cancelled
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.ended
    }

    /// The coroutines that went on behind a [`soft_shield`](corymb_core::soft_shield) until the grace
    /// was over, and were dropped then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use corymb::soft_shield;
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// let (tell, told) = mpsc::channel();
    /// drop(runtime.detached(soft_shield(async move {
    ///     tell.send(()).unwrap();
    ///     std::future::pending::<()>().await;
    /// })));
    /// told.recv().unwrap();
    /// let report = runtime.shutdown(Duration::from_millis(10));
    /// assert!(report.is_empty() && report.forced().len() == 1, "{report}");
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn forced(&self) -> &[Who] {
        &self.forced
    }

    /// The coroutines that had not ended; the body of a `run_blocking` is none. One that has never
    /// suspended is in no list: for it stands the scope that it was launched into.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use corymb::prelude::*;
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// let (tell, told) = mpsc::channel();
    /// let (release, released) = mpsc::channel::<()>();
    /// runtime.launch_detached(scope(async move |s| {
    ///     s.coroutine().name("stubborn").launch(async move {
    ///         tell.send(()).unwrap();
    ///         released.recv().unwrap(); // blocks, so that it cannot be cancelled
    ///     });
    /// }));
    /// told.recv().unwrap();
    /// let report = runtime.shutdown(Duration::ZERO);
    /// assert!(report.unfinished().iter().any(|who| who.name() == Some("stubborn")));
    /// release.send(()).unwrap();
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn unfinished(&self) -> &[Who] {
        &self.unfinished
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            f.write_str("everything has ended")?;
        }
        if let forced @ 1.. = self.forced.len() {
            let comma = if self.is_empty() { ", " } else { "" };
            write!(f, "{comma}{forced} coroutines by force, after the grace:")?;
            self.forced.iter().try_for_each(|who| write!(f, "\n  {who}"))?;
        }
        if self.is_empty() {
            return Ok(());
        }
        if !self.forced.is_empty() {
            f.write_str("\n")?;
        }
        let unfinished = self.unfinished.len();
        write!(
            f,
            "{unfinished} coroutines did not end (threads in run_blocking are not counted):"
        )?;
        let mut all = self.unfinished.iter().zip(&self.doing);
        all.try_for_each(|(who, doing)| write!(f, "\n  {who}{doing}"))
    }
}
