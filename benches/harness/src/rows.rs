//! The rows of a table: what is compared with what, and what it may cost.

/// A row.
#[derive(Debug)]
pub struct Row {
    /// The workload, by corymb's name for it.
    pub ours: &'static str,
    /// The workload that the peers run beside it.
    pub theirs: &'static str,
    /// The number that is compared.
    pub measure: Measure,
    /// All of them are to hold.
    pub budgets: &'static [Budget],
}

impl Row {
    /// One of a workload that all run.
    pub const fn of(workload: &'static str, measure: Measure, budgets: &'static [Budget]) -> Self {
        Self::beside(workload, workload, measure, budgets)
    }

    /// One of a workload that is corymb's own, beside another.
    pub const fn beside(
        ours: &'static str,
        theirs: &'static str,
        measure: Measure,
        budgets: &'static [Budget],
    ) -> Self {
        Self { ours, theirs, measure, budgets }
    }
}

/// A number of a line that is compared.
#[derive(Debug)]
pub struct Measure {
    /// Its name in the line.
    pub field: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// Rates, and not times.
    pub higher_is_better: bool,
}

impl Measure {
    /// The time of an operation.
    pub const TIME: Self = Self { field: "ns_per_op", unit: "ns", higher_is_better: false };
}

/// What corymb's number may be.
#[derive(Debug)]
pub enum Budget {
    /// At most so much of what the first ratio compares it with.
    Ratio(f64),
    /// At most so much.
    AtMost(f64),
}
