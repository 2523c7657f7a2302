//! The rows of a table: what is compared with what, and what it may cost.

/// A row.
pub(crate) struct Row {
    /// The workload, by corymb's name for it.
    pub(crate) ours: &'static str,
    /// The workload that the peers run beside it.
    pub(crate) theirs: &'static str,
    pub(crate) measure: Measure,
    /// All of them are to hold.
    pub(crate) budgets: &'static [Budget],
}

impl Row {
    /// One of a workload that all run.
    pub(crate) const fn of(
        workload: &'static str,
        measure: Measure,
        budgets: &'static [Budget],
    ) -> Self {
        Self::beside(workload, workload, measure, budgets)
    }

    /// One of a workload that is corymb's own, beside another.
    pub(crate) const fn beside(
        ours: &'static str,
        theirs: &'static str,
        measure: Measure,
        budgets: &'static [Budget],
    ) -> Self {
        Self { ours, theirs, measure, budgets }
    }
}

/// A number of a line that is compared.
pub(crate) struct Measure {
    pub(crate) field: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) higher_is_better: bool,
}

impl Measure {
    /// The time of an operation.
    pub(crate) const TIME: Self = Self { field: "ns_per_op", unit: "ns", higher_is_better: false };
}

/// What corymb's number may be.
pub(crate) enum Budget {
    /// At most so much of what the first ratio compares it with.
    Ratio(f64),
    /// At most so much.
    AtMost(f64),
}
