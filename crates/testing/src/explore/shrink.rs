//! A shorter schedule with the same fault.

/// How many runs the search for it may take.
const RUNS: usize = 2_000;

/// Makes the decisions in `picks` as plain as can be: the first option as often as possible, and
/// the last of the others as early as possible. `fails` runs the program and says whether its fault
/// is still there.
///
/// Source: the minimizing delta debugging of Zeller and Hildebrandt, "Simplifying and Isolating
/// Failure-Inducing Input", IEEE TSE 2002, with decisions for input.
pub(super) fn shrink(mut picks: Vec<usize>, mut fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut runs = 0;
    let mut try_it = |candidate: &mut Vec<usize>| {
        while candidate.last() == Some(&0) {
            candidate.pop();
        }
        runs += 1;
        (runs <= RUNS).then(|| fails(candidate))
    };
    loop {
        let before = picks.clone();
        for pass in [Pass::Cut, Pass::Plain, Pass::Remove, Pass::Lower] {
            let mut size = pass.first_size(picks.len());
            while size > 0 {
                let mut at = 0;
                while at < picks.len() {
                    let Some(mut candidate) = pass.apply(&picks, at, size) else {
                        at += size;
                        continue;
                    };
                    match try_it(&mut candidate) {
                        Some(true) => picks = candidate,
                        Some(false) => at += size,
                        None => return picks,
                    }
                }
                size /= 2;
            }
        }
        if picks == before {
            return picks;
        }
    }
}

/// A way to make a schedule plainer.
#[derive(Clone, Copy)]
enum Pass {
    /// Nothing from `at` on.
    Cut,
    /// The first option from `at` on, `size` times.
    Plain,
    /// `size` decisions less.
    Remove,
    /// An earlier option, at `at`.
    Lower,
}

impl Pass {
    fn first_size(self, len: usize) -> usize {
        if matches!(self, Self::Lower) { 1 } else { len.next_power_of_two() }
    }

    /// Another list, if it would be plainer.
    fn apply(self, picks: &[usize], at: usize, size: usize) -> Option<Vec<usize>> {
        let end = (at + size).min(picks.len());
        let mut candidate = picks.to_vec();
        match self {
            Self::Cut => candidate.truncate(at),
            Self::Plain if picks[at..end].iter().all(|pick| *pick == 0) => return None,
            Self::Plain => candidate[at..end].fill(0),
            Self::Remove => drop(candidate.drain(at..end)),
            Self::Lower if picks[at] < 2 => return None,
            Self::Lower => candidate[at] = 1,
        }
        Some(candidate)
    }
}
