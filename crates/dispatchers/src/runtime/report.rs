//! What a shutdown tells.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;

use corymb_core::Who;
use corymb_core::internal::Unfinished;

/// What did not end at once in a [`Runtime::shutdown`](super::Runtime::shutdown).
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
#[derive(Clone, Debug, Default)]
#[must_use = "it tells what did not end"]
pub struct ShutdownReport {
    pub(super) ended: bool,
    pub(super) drained: Vec<Who>,
    pub(super) forced: List,
    pub(super) unfinished: List,
}

/// Coroutines, and what each of them was seen to do last.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    who: Vec<Who>,
    doing: Vec<Doing>,
}

#[derive(Clone, Debug)]
pub(super) struct Doing(Option<String>);

impl List {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Who, &Doing)> {
        self.who.iter().zip(&self.doing)
    }
}

impl From<Vec<Unfinished>> for List {
    fn from(all: Vec<Unfinished>) -> Self {
        let (who, doing) = all.into_iter().map(|it| (it.who, Doing(it.doing))).unzip();
        Self { who, doing }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |doing| write!(f, ", {doing}"))
    }
}

impl ShutdownReport {
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

    /// Whether everything has ended by itself, and nothing had to be waited for behind a shield.
    pub(crate) fn tells_nothing(&self) -> bool {
        self.ended && self.drained.is_empty() && self.forced.who.is_empty()
    }

    /// The coroutines that went on behind a shield when they were cancelled, and came to their end
    /// within the grace, in the order in which they did. What they had launched is not among them.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use corymb::{cancelled, soft_shield};
    ///
    /// let runtime = corymb::Runtime::new()?;
    /// let (tell, told) = mpsc::channel();
    /// drop(runtime.detached(soft_shield(async move {
    ///     tell.send(()).unwrap();
    ///     cancelled().await; // and then the rest of what it does
    /// })));
    /// told.recv().unwrap();
    /// let report = runtime.shutdown(Duration::from_secs(60));
    /// assert!(report.is_empty() && report.drained().len() == 1, "{report}");
    /// # Ok::<(), corymb::BuildError>(())
    /// ```
    pub fn drained(&self) -> &[Who] {
        &self.drained
    }

    /// The coroutines that went on until the grace was over, and were dropped then: behind a
    /// [`soft_shield`](corymb_core::soft_shield), in another one's, or in a poll that took so long.
    /// Those that only waited for others are not among them: for their children, or, as a
    /// [service](corymb_core::Scope::service), for what they serve.
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
        &self.forced.who
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
        &self.unfinished.who
    }
}

/// One line says whether all has ended. Then come those that were drained, forced, and that did not
/// end, with the place where each was launched, and what it was seen to do last.
impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.ended {
            true => "everything has ended",
            false => "not everything has ended (threads in run_blocking are not listed)",
        })?;
        if !self.drained.is_empty() {
            write!(f, "\n{} drained, within the grace:", count(self.drained.len()))?;
            by_place(&self.drained).into_iter().try_for_each(|(place, all)| match *all {
                [who] => write!(f, "\n  {who}"),
                _ => write!(f, "\n  {} launched at {place}", all.len()),
            })?;
        }
        list(f, &self.forced, "forced, after the grace")?;
        list(f, &self.unfinished, "still there")
    }
}

fn list(f: &mut fmt::Formatter<'_>, list: &List, what: &str) -> fmt::Result {
    if list.who.is_empty() {
        return Ok(());
    }
    write!(f, "\n{} {what}:", count(list.who.len()))?;
    list.iter().try_for_each(|(who, doing)| write!(f, "\n  {who}{doing}"))
}

fn count(n: usize) -> String {
    if n == 1 { "1 coroutine".into() } else { format!("{n} coroutines") }
}

/// There may be many of one place.
fn by_place(all: &[Who]) -> BTreeMap<&'static Location<'static>, Vec<&Who>> {
    let mut places = BTreeMap::<_, Vec<_>>::new();
    for who in all {
        places.entry(who.launched_at()).or_default().push(who);
    }
    places
}
