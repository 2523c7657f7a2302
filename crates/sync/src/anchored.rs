//! A monitor that stays in its place while what has it is moved, and that is made when it is first
//! needed: so what has it can be made in a constant, and is itself an allocation only once it is
//! used.

use std::ops::Deref;
use std::sync::OnceLock;

use crate::monitor::{Monitor, State};

/// Declares a function that is `const`, but under loom, whose types are made at run time.
macro_rules! constant {
    ($(#[$attribute:meta])* $visible:vis fn $($rest:tt)*) => {
        $(#[$attribute])*
        #[cfg(not(loom))]
        $visible const fn $($rest)*

        $(#[$attribute])*
        #[cfg(loom)]
        $visible fn $($rest)*
    };
}
pub(crate) use constant;

/// A state that says how it begins.
pub(crate) trait Begin: State {
    /// What has to be known for that.
    type Seed;

    fn begin(seed: &Self::Seed) -> Monitor<Self>;
}

/// The monitor, once there is one.
pub(crate) struct Anchored<S: Begin> {
    monitor: OnceLock<Box<Monitor<S>>>,
    seed: S::Seed,
}

impl<S: Begin> Anchored<S> {
    #[cfg(not(loom))]
    pub(crate) const fn new(seed: S::Seed) -> Self {
        Self { monitor: OnceLock::new(), seed }
    }

    /// With the monitor made: what a thread of a model makes, loom takes for its alone, and this
    /// lock is none that it sees.
    #[cfg(loom)]
    pub(crate) fn new(seed: S::Seed) -> Self {
        Self { monitor: OnceLock::from(Box::new(S::begin(&seed))), seed }
    }
}

impl<S: Begin> Deref for Anchored<S> {
    type Target = Monitor<S>;

    #[inline]
    fn deref(&self) -> &Monitor<S> {
        self.monitor.get_or_init(|| Box::new(S::begin(&self.seed)))
    }
}
