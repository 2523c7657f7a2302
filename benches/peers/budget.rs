//! The rows of the table: what is compared with what, and what it may cost.

/// A row.
pub(crate) struct Row {
    /// The workload, by corymb's name for it.
    pub(crate) ours: &'static str,
    /// The workload that the peers run beside it.
    pub(crate) theirs: &'static str,
    pub(crate) measure: Measure,
    pub(crate) budget: Option<Budget>,
}

/// A number of a line that is compared.
pub(crate) struct Measure {
    pub(crate) field: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) higher_is_better: bool,
}

/// What corymb's number may be.
pub(crate) enum Budget {
    /// At most so much of the better one of tokio and smol.
    Ratio(f64),
    /// At most so much.
    AtMost(f64),
}

const TIME: Measure = Measure { field: "ns_per_op", unit: "ns", higher_is_better: false };
const CPU: Measure = Measure { unit: "ns CPU", ..TIME };
const LATE: Measure = Measure { field: "mean_late_us", unit: "us late", ..TIME };
const BYTES: Measure = Measure { field: "bytes_per_task", unit: "bytes", ..TIME };
const RATE: Measure = Measure { field: "ops_per_s", unit: "1/s", higher_is_better: true };
const P50: Measure = Measure { field: "p50_us", unit: "us p50", ..TIME };
const P99: Measure = Measure { field: "p99_us", unit: "us p99", ..TIME };
const SERVER: Measure = Measure { field: "server_cpu_ns_per_op", unit: "ns CPU", ..TIME };

const fn row(name: &'static str, measure: Measure, budget: Option<Budget>) -> Row {
    beside(name, name, measure, budget)
}

const fn beside(
    ours: &'static str,
    theirs: &'static str,
    measure: Measure,
    budget: Option<Budget>,
) -> Row {
    Row { ours, theirs, measure, budget }
}

/// All rows. Those that share the peers' workload follow each other.
pub(crate) const ROWS: &[Row] = &[
    beside("launch_batch", "spawn_join", TIME, Some(Budget::Ratio(0.4))),
    row("spawn_join", TIME, Some(Budget::Ratio(0.6))),
    row("spawn_burst", TIME, None),
    row("yield_many", TIME, Some(Budget::Ratio(0.6))),
    row("yield_one", TIME, Some(Budget::Ratio(0.6))),
    row("ping_pong", TIME, Some(Budget::Ratio(0.8))),
    row("skynet", TIME, Some(Budget::Ratio(0.8))),
    row("scope", TIME, None),
    row("scope_vec", TIME, None),
    row("cancel_tree", TIME, Some(Budget::Ratio(0.4))),
    row("timeout_ready", TIME, Some(Budget::AtMost(5.0))),
    row("timeout_yield", TIME, Some(Budget::Ratio(0.6))),
    row("timeout_wake", TIME, None),
    row("timers_churn", CPU, Some(Budget::Ratio(1.0))),
    row("timers_churn", LATE, Some(Budget::AtMost(150.0))),
    beside("million_sleepers_bare", "million_sleepers", BYTES, Some(Budget::AtMost(132.0))),
    row("million_sleepers", BYTES, Some(Budget::AtMost(168.0))),
    row("tcp_echo_100", RATE, None),
    row("tcp_echo_100", P50, None),
    row("tcp_echo_100", P99, None),
    row("tcp_echo_100", SERVER, None),
    row("tcp_echo_1000", RATE, None),
    row("tcp_echo_1000", P50, None),
    row("tcp_echo_1000", P99, None),
    row("tcp_echo_1000", SERVER, None),
];
