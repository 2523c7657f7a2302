//! What the peers are measured by.

use super::peers::Peer;

/// A workload, by the name that all peers know it by.
#[derive(Debug, PartialEq)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What its time is counted for.
    pub(crate) unit: &'static str,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// In the benchmark `peers`.
    Peers,
    /// In the benchmark `sync`, by another name.
    Sync(&'static str),
    /// Tasks that sleep, all at once: `program` says who measures them, and in what size.
    Sleepers { program: &'static str, scale: f64, who: Who },
    /// A server of echoes, with so many connections.
    Echo(&'static str),
}

/// Who has a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Who {
    All,
    Corymb,
    /// Those with a heap that can be collected.
    Jvm,
}

const fn peers(name: &'static str, unit: &'static str) -> Workload {
    Workload { name, unit, kind: Kind::Peers }
}

const fn sync(name: &'static str, unit: &'static str, theirs: &'static str) -> Workload {
    Workload { name, unit, kind: Kind::Sync(theirs) }
}

const fn sleepers(name: &'static str, scale: f64) -> Workload {
    let kind = Kind::Sleepers { program: "million_sleepers", scale, who: Who::All };
    Workload { name, unit: "CPU ns a task", kind }
}

const fn bare(name: &'static str, scale: f64) -> Workload {
    let kind = Kind::Sleepers { program: "million_sleepers_bare", scale, who: Who::Corymb };
    Workload { name, unit: "CPU ns a task", kind }
}

const HEAP: Kind = Kind::Sleepers { program: "million_sleepers", scale: 1.0, who: Who::Jvm };

/// In the order in which they are run. The sleepers come first, for their time is known.
pub(crate) const ALL: &[Workload] = &[
    sleepers("sleepers_1000", 0.001),
    sleepers("sleepers_10000", 0.01),
    sleepers("sleepers_100000", 0.1),
    bare("sleepers_bare_1000", 0.001),
    bare("sleepers_bare_10000", 0.01),
    bare("sleepers_bare_100000", 0.1),
    sleepers("million_sleepers", 1.0),
    bare("million_sleepers_bare", 1.0),
    Workload { name: "million_sleepers_heap", unit: "CPU ns a task", kind: HEAP },
    peers("spawn_join", "ns a task"),
    peers("spawn_burst", "ns a task"),
    peers("yield_many", "ns a yield"),
    peers("yield_one", "ns a yield"),
    peers("ping_pong", "ns a round trip"),
    peers("skynet", "ns a task"),
    peers("scope", "ns a scope of 10"),
    peers("scope_vec", "ns for 10 tasks"),
    peers("cancel_tree", "ns a task"),
    sync("channel_spsc", "ns a message", "spsc_128"),
    sync("channel_mpsc", "ns a message", "mpsc_128"),
    sync("channel_mpmc", "ns a message", "mpmc_128"),
    sync("mutex", "ns a pass", "mutex"),
    sync("mutex_yield", "ns a pass", "mutex_yield"),
    sync("semaphore", "ns a pass", "semaphore"),
    sync("semaphore_yield", "ns a pass", "semaphore_yield"),
    peers("timeout_ready", "ns a timeout"),
    peers("timeout_yield", "ns a timeout"),
    peers("timeout_wake", "ns a timeout"),
    peers("timers_churn", "CPU ns a sleep"),
    peers("hop", "ns a round trip"),
    peers("hop_in_place", "ns a round trip"),
    Workload { name: "tcp_echo_100", unit: "ns a request", kind: Kind::Echo("100") },
    Workload { name: "tcp_echo_1000", unit: "ns a request", kind: Kind::Echo("1000") },
];

/// Those that are run with other numbers of workers too.
pub(crate) const SCALING: [&str; 4] = ["spawn_burst", "yield_many", "skynet", "channel_mpsc"];

pub(crate) fn named(name: &str) -> Result<&'static Workload, String> {
    ALL.iter().find(|workload| workload.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|workload| workload.name).collect();
        format!("unknown workload {name}; there are {}", names.join(", "))
    })
}

impl Workload {
    /// Whether `peer` is asked at all.
    pub(crate) fn concerns(&self, peer: Peer) -> bool {
        match self.kind {
            Kind::Sleepers { who: Who::Corymb, .. } => peer == Peer::Corymb,
            Kind::Sleepers { who: Who::Jvm, .. } => peer.on_jvm(),
            _ => true,
        }
    }

    /// Whether its time is of interest, and not only its memory.
    pub(crate) fn has_time(&self) -> bool {
        !matches!(self.kind, Kind::Sleepers { scale, .. } if scale < 1.0)
    }

    /// What is not comparable where it is, with the reason.
    pub(crate) fn apart(&self, peer: Peer) -> Option<&'static str> {
        match (peer, self.kind) {
            (Peer::May, Kind::Sync(_)) if self.name.starts_with("channel") => {
                Some("its channels have no bound")
            }
            _ => None,
        }
    }
}
