//! Where a job is in the tree, for failures.
//!
//! A path is made when a failure is, and only then. It is of bounded length: of a job far down the
//! tree it has the outermost and the innermost part, or the innermost alone.

use std::fmt;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::error::NameOf;
use crate::job::JobId;
use crate::node::{Kind, Node, state};

/// How far up is looked.
const WALK: usize = 128;
/// How many steps there are at most of the outer part, and of the inner part.
const OUTER: usize = 8;
const INNER: usize = 16;

/// Where a job is in the tree: the jobs that it is below, from the root, and itself.
///
/// As text it has the coroutines alone, each by its own name, or by file and line of its launch; the
/// number of a job is shown if the program has asked for it, by [`Job::id`](crate::Job::id), before.
///
/// # Examples
///
/// ```
/// use corymb::{JoinError, prelude::*};
///
/// let outcome = run_blocking(supervisor_scope(async |s| {
///     let server = s.coroutine().name("server").spawn(supervisor_scope(async |s| {
///         s.coroutine().name("reader").spawn(async { panic!("oh") }).outcome().await
///     }));
///     server.await
/// }));
/// let Err(JoinError::Panicked(panic)) = outcome else { unreachable!() };
/// let path = panic.who().path().unwrap();
/// assert_eq!(path.to_string(), "server/reader");
/// let names: Vec<_> = path.steps().filter_map(|step| step.name()).collect();
/// assert_eq!(names, ["server", "reader"]);
/// ```
#[derive(Clone)]
pub struct JobPath(Arc<Steps>);

struct Steps {
    /// From the root, or what is next to it.
    all: Vec<JobStep>,
    /// In front of which of them some are left out.
    gap: Option<usize>,
}

/// A job of a [`JobPath`].
#[derive(Clone, Debug)]
pub struct JobStep {
    kind: Kind,
    name: Option<Arc<str>>,
    id: Option<JobId>,
    launched_at: &'static Location<'static>,
}

impl JobPath {
    /// The path of `node`.
    ///
    /// # Safety
    ///
    /// `node` is no token, has not ended, and does not during the call; the caller holds no lock of
    /// a side.
    #[cold]
    pub(crate) unsafe fn of(node: &Node) -> Self {
        let mut line = vec![NonNull::from(node)];
        let mut at = node.parent;
        while let Some(above) = at.filter(|_| line.len() < WALK) {
            line.push(above);
            // SAFETY: an ancestor of a node that has not ended has not.
            at = unsafe { above.as_ref() }.parent;
        }
        let from_root = at.is_none();
        line.reverse();
        let left_out = line.len().saturating_sub(if from_root { OUTER + INNER } else { INNER });
        let outer = if from_root { OUTER.min(line.len()) } else { 0 };
        if left_out > 0 {
            line.drain(outer..outer + left_out);
        }
        let gap = (left_out > 0 || !from_root).then_some(outer);
        // SAFETY: as above.
        let all = line.iter().map(|node| JobStep::of(unsafe { node.as_ref() })).collect();
        Self(Arc::new(Steps { all, gap }))
    }

    /// The jobs from the outermost inwards: the root of the runtime, scopes and coroutines. The last
    /// one is the job itself.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = &JobStep> {
        self.0.all.iter()
    }

    /// Whether jobs in the middle, or the outermost ones, are left out.
    pub fn is_elided(&self) -> bool {
        self.0.gap.is_some()
    }

    /// Whether its text says more than the name of the job itself.
    pub(crate) fn is_telling(&self) -> bool {
        self.is_elided() || self.steps().filter(|step| step.is_shown()).count() > 1
    }
}

impl JobStep {
    fn of(node: &Node) -> Self {
        let own = node.state.load().has(state::OWN_CONTEXT) && node.kind() != Kind::Region;
        // SAFETY: the node owns the context.
        let name = own.then(|| unsafe { node.context() }.name_for(true)).flatten();
        let name = match name {
            Some(NameOf::Itself(name)) => Some(name),
            _ => None,
        };
        let id = node.side().and_then(|side| JobId::given(side.lock().rest()?.id));
        Self { kind: node.kind(), name, id, launched_at: node.site }
    }

    /// The name that it was given itself.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its number, if the program had asked for it.
    pub fn id(&self) -> Option<JobId> {
        self.id
    }

    /// Where it was launched or opened.
    pub fn launched_at(&self) -> &'static Location<'static> {
        self.launched_at
    }

    /// Whether it is a coroutine, and not a scope, a timeout or the root.
    pub fn is_coroutine(&self) -> bool {
        self.kind == Kind::Coroutine
    }

    fn is_shown(&self) -> bool {
        self.is_coroutine() || self.name.is_some()
    }
}

impl fmt::Display for JobStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name)?,
            None => {
                let file = self.launched_at.file();
                let file = file.rsplit(['/', '\\']).next().unwrap_or(file);
                write!(f, "{file}:{}", self.launched_at.line())?;
            }
        }
        self.id.map_or(Ok(()), |id| id.fmt(f))
    }
}

impl fmt::Display for JobPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (i, step) in self.steps().enumerate() {
            if self.0.gap == Some(i) {
                write!(f, "{between}...")?;
                between = "/";
            }
            if step.is_shown() {
                write!(f, "{between}{step}")?;
                between = "/";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for JobPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps()).finish()
    }
}
