//! The measurements, and the table of them.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use super::measure::median;
use super::{Budget, Line, Measure, Numbers, Row, Suite};

/// What was measured: for a peer and a workload, the numbers of each round.
#[derive(Default)]
pub(super) struct Results {
    numbers: BTreeMap<(String, String), Vec<Numbers>>,
    versions: BTreeMap<String, String>,
}

impl Results {
    pub(super) fn add(&mut self, line: Line) {
        let Ok(numbers) = line.result else { return };
        self.versions.insert(line.peer.clone(), line.version);
        self.numbers.entry((line.peer, line.workload)).or_default().push(numbers);
    }

    /// The values of all rounds; empty if there are none.
    fn values(&self, peer: &str, row: &Row, field: &str) -> Vec<f64> {
        let workload = if peer == "corymb" { row.ours } else { row.theirs };
        let numbers = self.numbers.get(&(peer.to_owned(), workload.to_owned()));
        numbers.into_iter().flatten().filter_map(|n| n.get(field)).collect()
    }

    fn value(&self, peer: &str, row: &Row) -> Option<f64> {
        let values = self.values(peer, row, row.measure.field);
        (!values.is_empty()).then(|| median(values))
    }

    /// How far the rounds are apart, as a part of their median, for the peer that is worst.
    fn spread(&self, peers: &[&str], row: &Row) -> Option<f64> {
        let of = |peer: &&str| {
            let mut values = self.values(peer, row, row.measure.field);
            values.sort_by(f64::total_cmp);
            let apart = values.last()? - values.first()?;
            (values.len() > 1).then(|| apart / median(values))
        };
        peers.iter().filter_map(of).max_by(f64::total_cmp)
    }

    /// The share of the machine that others took meanwhile, for the peer that is worst off.
    fn foreign(&self, peers: &[&str], row: &Row) -> Option<f64> {
        let of = |peer: &&str| {
            let shares = self.values(peer, row, "foreign_cpu");
            (!shares.is_empty()).then(|| median(shares))
        };
        peers.iter().filter_map(of).max_by(f64::total_cmp)
    }
}

/// The table of `rows`.
pub(super) struct Table<'a, S> {
    results: &'a Results,
    rows: &'a [&'a Row],
    suite: PhantomData<S>,
}

impl<S: Suite> fmt::Display for Table<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<22} {:<8}", "workload", "unit")?;
        S::PEERS.iter().try_for_each(|peer| write!(f, " {peer:>10}"))?;
        let [first, second] = S::RATIOS.map(|ratio| ratio.name);
        writeln!(f, " {first:>7} {second:>7} {:>7} {:>7}  budget", "spread", "foreign")?;
        self.rows.iter().try_for_each(|row| self.row(f, row))?;
        writeln!(f)?;
        let mut versions = self.results.versions.iter();
        versions.try_for_each(|(peer, version)| writeln!(f, "{peer}: {version}"))?;
        write!(
            f,
            "{}; lower is better.\n\
             spread: largest less smallest of a peer's rounds, of their median. \
             foreign: the share of the machine that\nothers took; above 0.1 the row is disturbed.",
            S::LEGEND
        )
    }
}

impl<'a, S: Suite> Table<'a, S> {
    pub(super) fn new(results: &'a Results, rows: &'a [&'a Row]) -> Self {
        Self { results, rows, suite: PhantomData }
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
        write!(f, "{:<22} {:<8}", row.ours, row.measure.unit)?;
        for peer in S::PEERS {
            write!(f, " {:>10}", Cell(self.results.value(peer, row), digits))?;
        }
        let corymb = self.results.value("corymb", row);
        let [ratio, other] =
            S::RATIOS.map(|to| relative(corymb, self.best(to.peers, row), &row.measure));
        let spread = self.results.spread(S::PEERS, row);
        let foreign = self.results.foreign(S::PEERS, row);
        write!(f, " {:>7} {:>7}", Cell(ratio, part), Cell(other, part))?;
        write!(f, " {:>7} {:>7}", Cell(spread, |_| 2), Cell(foreign, |_| 2))?;
        for (i, budget) in row.budgets.iter().enumerate() {
            let between = if i == 0 { "  " } else { ", " };
            write!(f, "{between}{}", Verdict { budget, corymb, ratio })?;
        }
        writeln!(f)
    }

    /// The number of the best one of `peers`.
    fn best(&self, peers: &[&str], row: &Row) -> Option<f64> {
        let all = peers.iter().filter_map(|peer| self.results.value(peer, row));
        all.reduce(if row.measure.higher_is_better { f64::max } else { f64::min })
    }
}

/// Lower is better, whatever is measured.
fn relative(corymb: Option<f64>, other: Option<f64>, measure: &Measure) -> Option<f64> {
    let (corymb, other) = corymb.zip(other)?;
    Some(if measure.higher_is_better { other / corymb } else { corymb / other })
}

/// How many decimals make three or four significant digits.
pub fn digits(value: f64) -> usize {
    match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    }
}

/// For ratios, of which some are very small.
fn part(ratio: f64) -> usize {
    if ratio < 0.1 { 4 } else { 2 }
}

/// A number with as many digits as the function says, or a dash.
struct Cell(Option<f64>, fn(f64) -> usize);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(Some(value), digits) => f.pad(&format!("{value:.0$}", digits(*value))),
            Self(None, _) => f.pad("-"),
        }
    }
}

/// A budget, and whether it holds.
struct Verdict<'a> {
    budget: &'a Budget,
    corymb: Option<f64>,
    ratio: Option<f64>,
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, value) = match self.budget {
            Budget::Ratio(limit) => (limit, self.ratio),
            Budget::AtMost(limit) => (limit, self.corymb),
        };
        match self.budget {
            Budget::Ratio(limit) => write!(f, "ratio <= {limit}")?,
            Budget::AtMost(limit) => write!(f, "<= {limit}")?,
        }
        match value {
            Some(value) if value <= *limit => f.write_str(": holds"),
            Some(_) => f.write_str(": MISSED"),
            None => Ok(()),
        }
    }
}
