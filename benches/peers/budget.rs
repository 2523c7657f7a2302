//! The rows of the table: what is compared with what, and what it may cost.

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

const fn row(name: &'static str, measure: Measure, budgets: &'static [Budget]) -> Row {
    beside(name, name, measure, budgets)
}

const fn beside(
    ours: &'static str,
    theirs: &'static str,
    measure: Measure,
    budgets: &'static [Budget],
) -> Row {
    Row { ours, theirs, measure, budgets }
}

/// What a trip to the pool for blocking work and back may cost.
const HOP: &[Budget] = &[Budget::AtMost(100.0), Budget::Ratio(0.05)];

/// All rows. Those that share the peers' workload follow each other.
pub(crate) const ROWS: &[Row] = &[
    beside("launch_batch", "spawn_join", TIME, &[Budget::Ratio(0.4)]),
    row("spawn_join", TIME, &[Budget::Ratio(0.6)]),
    row("spawn_burst", TIME, &[]),
    row("yield_many", TIME, &[Budget::Ratio(0.6)]),
    row("yield_one", TIME, &[Budget::Ratio(0.6)]),
    row("ping_pong", TIME, &[Budget::Ratio(0.8)]),
    row("skynet", TIME, &[Budget::Ratio(0.8)]),
    row("scope", TIME, &[Budget::Ratio(0.5)]),
    row("scope_vec", TIME, &[]),
    row("scope_empty", TIME, &[Budget::Ratio(2.0)]),
    row("scoped_value", TIME, &[Budget::Ratio(1.0)]),
    row("cancel_scope", TIME, &[Budget::Ratio(0.4)]),
    row("cancel_tree", TIME, &[Budget::Ratio(0.4)]),
    row("timeout_ready", TIME, &[Budget::AtMost(5.0)]),
    row("timeout_yield", TIME, &[Budget::Ratio(0.6)]),
    row("timeout_wake", TIME, &[]),
    row("hop", TIME, HOP),
    beside("hop_blocking", "hop", TIME, HOP),
    row("hop_in_place", TIME, &[Budget::Ratio(0.05)]),
    row("hop_same", TIME, &[Budget::AtMost(10.0)]),
    row("timers_churn", CPU, &[Budget::Ratio(1.0)]),
    row("timers_churn", LATE, &[Budget::AtMost(150.0)]),
    beside("million_sleepers_bare", "million_sleepers", BYTES, &[Budget::AtMost(132.0)]),
    row("million_sleepers", BYTES, &[Budget::AtMost(168.0)]),
    row("tcp_echo_100", RATE, &[]),
    row("tcp_echo_100", P50, &[]),
    row("tcp_echo_100", P99, &[]),
    row("tcp_echo_100", SERVER, &[]),
    row("tcp_echo_1000", RATE, &[]),
    row("tcp_echo_1000", P50, &[]),
    row("tcp_echo_1000", P99, &[]),
    row("tcp_echo_1000", SERVER, &[]),
];
