//! The table of the measurements.

use std::fmt;

use corymb_harness::Line;

use crate::PEERS;
use crate::goals::{ROWS, Row};

pub(crate) struct Table<'a>(pub(crate) &'a [Line]);

impl Table<'_> {
    fn line(&self, peer: &str, row: &Row) -> Option<&Line> {
        self.0.iter().find(|line| line.peer == peer && line.workload == row.workload)
    }

    fn value(&self, peer: &str, row: &Row, field: &str) -> Option<f64> {
        self.line(peer, row)?.result.as_ref().ok()?.get(field)
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ours, theirs] = PEERS;
        let [workload, number] = ["workload", "number"];
        writeln!(f, "{workload:<18} {number:<12} {ours:>10} {theirs:>10} foreign  goal")?;
        for row in ROWS {
            let Some(value) = self.value(ours, row, row.field) else { continue };
            write!(f, "{:<18} {:<12} {:>10}", row.workload, row.what, shown(value))?;
            let other = self.value(theirs, row, row.field).map_or("-".to_owned(), shown);
            let foreign = PEERS.iter().filter_map(|peer| self.value(peer, row, "foreign_cpu"));
            write!(f, " {other:>10} {:>7.2}", foreign.fold(0.0, f64::max))?;
            match &row.goal {
                Some(goal) if goal.holds(value) => writeln!(f, "  {goal}: holds")?,
                Some(goal) => writeln!(f, "  {goal}: MISSED")?,
                None => writeln!(f)?,
            }
        }
        for peer in PEERS {
            if let Some(line) = self.0.iter().find(|line| line.peer == peer) {
                writeln!(f, "{peer}: {}", line.version)?;
            }
        }
        f.write_str(
            "foreign: the share of the machine that others took; above 0.1 the row is disturbed.",
        )
    }
}

/// Three or four significant digits.
fn shown(value: f64) -> String {
    let digits = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}
