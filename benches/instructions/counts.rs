//! The counts on record.

use std::fmt;

use corymb_harness::measure::RUSTC;

pub(crate) const FILE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/counts.txt");

/// A compiler, and the instructions of a round of each path.
pub(crate) struct Counts {
    pub(crate) compiler: String,
    paths: Vec<(String, u32)>,
}

impl Counts {
    /// None yet.
    pub(crate) fn of_this_compiler() -> Self {
        Self { compiler: format!("rustc {RUSTC}"), paths: Vec::new() }
    }

    /// Those of `counts.txt`: the compiler, then a path and its count in each line.
    pub(crate) fn recorded() -> Self {
        let mut lines = include_str!("counts.txt").lines();
        let compiler = lines.next().unwrap_or_default().to_owned();
        let path = |line: &str| {
            let (name, count) = line.split_once(' ').expect("a name and a count");
            (name.to_owned(), count.parse().expect("a count"))
        };
        Self { compiler, paths: lines.map(path).collect() }
    }

    pub(crate) fn get(&self, path: &str) -> Option<u32> {
        self.paths.iter().find(|(name, _)| name == path).map(|&(_, count)| count)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    pub(crate) fn add(&mut self, path: &str, count: f64) {
        self.paths.push((path.to_owned(), count.round() as u32));
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.compiler)?;
        self.paths.iter().try_for_each(|(name, count)| writeln!(f, "{name} {count}"))
    }
}
