//! The rows of the table: what is compared with what, and what it may cost.

use corymb_harness::{Budget, Measure, Row};

const TIME: Measure = Measure::TIME;
const CPU: Measure = Measure { unit: "ns CPU", ..TIME };
const LATE: Measure = Measure { field: "mean_late_us", unit: "us late", ..TIME };
const BYTES: Measure = Measure { field: "bytes_per_task", unit: "bytes", ..TIME };
const RATE: Measure = Measure { field: "ops_per_s", unit: "1/s", higher_is_better: true };
const P50: Measure = Measure { field: "p50_us", unit: "us p50", ..TIME };
const P99: Measure = Measure { field: "p99_us", unit: "us p99", ..TIME };
const SERVER: Measure = Measure { field: "server_cpu_ns_per_op", unit: "ns CPU", ..TIME };

/// What a trip to the pool for blocking work and back may cost.
const HOP: &[Budget] = &[Budget::AtMost(100.0), Budget::Ratio(0.05)];

/// All rows. Those that share the peers' workload follow each other.
pub(crate) const ROWS: &[Row] = &[
    Row::beside("launch_batch", "spawn_join", TIME, &[Budget::Ratio(0.4)]),
    Row::of("spawn_join", TIME, &[Budget::Ratio(0.6)]),
    Row::of("spawn_burst", TIME, &[]),
    Row::of("yield_many", TIME, &[Budget::Ratio(0.6)]),
    Row::of("yield_one", TIME, &[Budget::Ratio(0.6)]),
    Row::of("ping_pong", TIME, &[Budget::Ratio(0.8)]),
    Row::of("skynet", TIME, &[Budget::Ratio(0.8)]),
    Row::of("scope", TIME, &[Budget::Ratio(0.5)]),
    Row::of("scope_vec", TIME, &[]),
    Row::of("scope_empty", TIME, &[Budget::Ratio(2.0)]),
    Row::of("scoped_value", TIME, &[Budget::Ratio(1.0)]),
    Row::of("cancel_scope", TIME, &[Budget::Ratio(0.4)]),
    Row::of("cancel_tree", TIME, &[Budget::Ratio(0.4)]),
    Row::of("timeout_ready", TIME, &[Budget::AtMost(5.0)]),
    Row::of("timeout_yield", TIME, &[Budget::Ratio(0.6)]),
    Row::of("timeout_wake", TIME, &[]),
    Row::of("hop", TIME, HOP),
    Row::beside("hop_blocking", "hop", TIME, HOP),
    Row::of("hop_in_place", TIME, &[Budget::Ratio(0.05)]),
    Row::of("hop_same", TIME, &[Budget::AtMost(10.0)]),
    Row::of("timers_churn", CPU, &[Budget::Ratio(1.0)]),
    Row::of("timers_churn", LATE, &[Budget::AtMost(150.0)]),
    Row::beside("million_sleepers_bare", "million_sleepers", BYTES, &[Budget::AtMost(132.0)]),
    Row::of("million_sleepers", BYTES, &[Budget::AtMost(168.0)]),
    Row::of("tcp_echo_100", RATE, &[]),
    Row::of("tcp_echo_100", P50, &[]),
    Row::of("tcp_echo_100", P99, &[]),
    Row::of("tcp_echo_100", SERVER, &[]),
    Row::of("tcp_echo_1000", RATE, &[]),
    Row::of("tcp_echo_1000", P50, &[]),
    Row::of("tcp_echo_1000", P99, &[]),
    Row::of("tcp_echo_1000", SERVER, &[]),
];
