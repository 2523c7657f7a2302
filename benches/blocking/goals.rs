//! The rows of the table, and what corymb's numbers are to be.

use std::fmt;

/// A row.
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    /// The number of a line that is shown.
    pub(crate) field: &'static str,
    pub(crate) what: &'static str,
    pub(crate) goal: Option<Goal>,
}

pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    pub(crate) fn holds(&self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= *least,
            Self::AtMost(most) => value <= *most,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::AtMost(most) => write!(f, "<= {most}"),
        }
    }
}

const fn row(
    workload: &'static str,
    field: &'static str,
    what: &'static str,
    goal: Option<Goal>,
) -> Row {
    Row { workload, field, what, goal }
}

pub(crate) const ROWS: &[Row] = &[
    row("io_blocking", "kept_percent", "% kept", Some(Goal::AtLeast(90.0))),
    row("io_blocking", "units_per_s", "units/s", None),
    row("io_blocking", "sections_per_s", "sections/s", None),
    row("wrong_blocking", "kept_percent", "% kept", Some(Goal::AtLeast(80.0))),
    row("wrong_blocking", "p99_late_ms", "ms late p99", Some(Goal::AtMost(30.0))),
    row("wrong_blocking", "mean_late_ms", "ms late", None),
    row("moves", "ns_per_op", "ns", None),
    row("moves", "bytes_per_task", "bytes", None),
    row("moves_and_wait", "ns_per_op", "ns", None),
    row("sections_and_hogs", "wall_ms", "ms", Some(Goal::AtMost(100.0))),
];
