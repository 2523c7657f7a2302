//! The line that a measurement prints.

use std::fmt;

use serde_json::{Map, Value};

use crate::measure::{count, median};

/// The numbers of a measurement, in the order in which they are printed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers(Vec<(String, f64)>);

impl Numbers {
    /// What every line has: `ns` has the time of an operation for each repetition.
    pub fn of(ops: usize, ns: Vec<f64>) -> Self {
        let low = ns.iter().copied().fold(f64::MAX, f64::min);
        let high = ns.iter().copied().fold(0.0, f64::max);
        let reps = ns.len();
        let mid = median(ns);
        let mut numbers = Self::default();
        numbers.add("n", count(ops));
        numbers.add("ns_per_op", mid);
        numbers.add("ns_min", low);
        numbers.add("ns_max", high);
        numbers.add("reps", count(reps));
        numbers.add("ops_per_s", (1e9 / mid).round());
        numbers
    }

    /// Adds one, or replaces the one of that name.
    pub fn add(&mut self, name: &str, value: f64) {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => *own = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// The one of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }
}

/// One measurement; printed, a line of JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Who was measured.
    pub peer: String,
    /// Which version of it.
    pub version: String,
    /// By what.
    pub workload: String,
    /// The numbers, or why there are none.
    pub result: Result<Numbers, Absent>,
}

/// Why there are no numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Absent {
    /// The peer has nothing for the workload.
    Skipped(String),
    /// It was tried.
    Failed(String),
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(why) => write!(f, "skipped: {why}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

impl Line {
    /// Reads a line: one flat object.
    pub fn parse(line: &str) -> Option<Self> {
        let fields: Map<String, Value> = serde_json::from_str(line.trim()).ok()?;
        let text = |name| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let result = match (text("skipped"), text("failed")) {
            (Some(why), _) => Err(Absent::Skipped(why)),
            (None, Some(why)) => Err(Absent::Failed(why)),
            (None, None) => {
                let number =
                    |(name, value): (&String, &Value)| Some((name.clone(), value.as_f64()?));
                let mut numbers: Vec<_> = fields.iter().filter_map(number).collect();
                numbers.sort_by_key(|(name, _)| line.find(&Quoted(name).to_string()));
                Ok(Numbers(numbers))
            }
        };
        Some(Self {
            peer: text("peer")?,
            version: text("version").unwrap_or_default(),
            workload: text("workload")?,
            result,
        })
    }

    /// Whether it was tried in vain.
    pub fn has_failed(&self) -> bool {
        matches!(self.result, Err(Absent::Failed(_)))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, version, workload, result } = self;
        let [peer, version, workload] = [peer, version, workload].map(|text| Quoted(text));
        write!(f, r#"{{"peer": {peer}, "version": {version}, "workload": {workload}"#)?;
        match result {
            Ok(numbers) => numbers.0.iter().try_for_each(|(name, value)| {
                let digits = if value.fract() == 0.0 { 0 } else { 2 };
                write!(f, r#", "{name}": {value:.digits$}"#)
            })?,
            Err(Absent::Skipped(why)) => write!(f, r#", "skipped": {}"#, Quoted(why))?,
            Err(Absent::Failed(why)) => write!(f, r#", "failed": {}"#, Quoted(why))?,
        }
        f.write_str("}")
    }
}

/// A string of JSON.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Value::from(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_printed() {
        let numbers = Numbers::of(1_000, vec![3.25, 1.5, 2.0]);
        let line = |result| Line {
            peer: "corymb".to_owned(),
            version: "corymb \"0\"".to_owned(),
            workload: "yield_one".to_owned(),
            result,
        };
        for line in [
            line(Ok(numbers)),
            line(Err(Absent::Skipped("it has \"none\"".to_owned()))),
            line(Err(Absent::Failed("exit status: 1".to_owned()))),
        ] {
            assert_eq!(Line::parse(&line.to_string()), Some(line));
        }
    }

    #[test]
    fn lines_of_other_programs_are_read() {
        let line = r#"{"n":5,"ns_per_op":7.5,"peer":"go","version":"Go 1","workload":"mutex"}"#;
        let line = Line::parse(line).expect("it is a line");
        assert_eq!((line.peer.as_str(), line.workload.as_str()), ("go", "mutex"));
        assert_eq!(line.result.expect("there are numbers").get("ns_per_op"), Some(7.5));
        assert_eq!(Line::parse("warning: {}"), None);
    }

    #[test]
    fn the_middle_and_the_extremes_of_the_repetitions_are_kept() {
        let numbers = Numbers::of(10, vec![4.0, 1.0, 3.0, 2.0]);
        let get = |name| numbers.get(name).expect("every line has it");
        assert_eq!(["ns_per_op", "ns_min", "ns_max", "reps"].map(get), [2.5, 1.0, 4.0, 4.0]);
    }
}
