//! Who is measured.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Peer {
    Corymb,
    Tokio,
    TokioCt,
    Smol,
    Threads,
    May,
    Go,
    Kotlin,
    Java,
}

impl Peer {
    pub(crate) const ALL: &[Self] = &[
        Self::Corymb,
        Self::Tokio,
        Self::TokioCt,
        Self::Smol,
        Self::Threads,
        Self::May,
        Self::Go,
        Self::Kotlin,
        Self::Java,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Corymb => "corymb",
            Self::Tokio => "tokio",
            Self::TokioCt => "tokio-ct",
            Self::Smol => "smol",
            Self::Threads => "threads",
            Self::May => "may",
            Self::Go => "go",
            Self::Kotlin => "kotlin",
            Self::Java => "java",
        }
    }

    /// Whether it is in the benchmarks, which cargo builds, and not in a program of its own.
    pub(crate) const fn in_benches(self) -> bool {
        matches!(self, Self::Corymb | Self::Tokio | Self::TokioCt | Self::Smol | Self::Threads)
    }

    pub(crate) const fn on_jvm(self) -> bool {
        matches!(self, Self::Kotlin | Self::Java)
    }

    /// Whether it can be told how many threads to use.
    pub(crate) const fn has_workers(self) -> bool {
        !matches!(self, Self::TokioCt | Self::Threads)
    }

    pub(crate) const fn by_cargo(self) -> &'static str {
        if self.in_benches() { ": cargo builds it" } else { "" }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|peer| peer.name() == name);
        known.copied().ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|peer| peer.name()).collect();
            format!("unknown peer {name}; there are {}", names.join(", "))
        })
    }
}
