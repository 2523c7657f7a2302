//! Variables of the environment that look like settings, and are none.

use std::env;
use std::sync::Once;

use super::report_to_stderr;
use super::settings::VARIABLES;

const PREFIX: &str = "CORYMB_";
/// Those that other crates of corymb look at.
const ELSEWHERE: [&str; 1] = ["CORYMB_SEED"];

/// Writes a line for each variable that nobody looks at, once in a process.
pub(super) fn warn_of_unknown() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (name, _) in env::vars_os() {
            if let Some(warning) = name.to_str().and_then(warning) {
                report_to_stderr(&warning);
            }
        }
    });
}

/// What is wrong with a variable of this name, if anything.
fn warning(name: &str) -> Option<String> {
    let known = || VARIABLES.into_iter().chain(ELSEWHERE);
    if !name.starts_with(PREFIX) || known().any(|it| it == name) {
        return None;
    }
    let nearest = known().min_by_key(|it| distance(it, name))?;
    Some(format!(
        "nothing is set by the environment variable {name}, which is unknown: is {nearest} meant?"
    ))
}

/// How many letters have to be put in, taken out or changed to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn unknown_variables_are_named_with_the_nearest_known_one() {
        for (name, nearest) in [
            ("CORYMB_PARALELISM", "CORYMB_PARALLELISM"),
            ("CORYMB_IO_PARALELLISM", "CORYMB_IO_PARALLELISM"),
            ("CORYMB_KEEP_ALIVE", "CORYMB_KEEP_ALIVE_MS"),
            ("CORYMB_SEEDS", "CORYMB_SEED"),
        ] {
            let warning = warning(name).unwrap();
            assert!(warning.contains(&format!("variable {name},")), "{warning}");
            assert!(warning.ends_with(&format!("is {nearest} meant?")), "{warning}");
        }
    }

    #[test]
    fn known_and_foreign_ones_are_left_alone() {
        for name in VARIABLES.into_iter().chain(["CORYMB_SEED", "PATH", "CORYMB", ""]) {
            assert_eq!(warning(name), None);
        }
    }

    #[test]
    fn distances() {
        assert_eq!(["", "a", "ab", "xay"].map(|it| distance(it, "a")), [1, 0, 1, 2]);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
