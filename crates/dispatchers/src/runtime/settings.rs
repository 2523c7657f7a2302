//! The numbers that a runtime keeps to: from the builder, else from the environment, else the
//! defaults.

use std::ffi::OsString;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use super::BuildError;
use crate::pool::Limits;

/// More threads than any system gives.
const MAX_THREADS: u64 = 32_768;
const MAX_MILLIS: u64 = 86_400_000;
const DEFAULT_MAX_POOL_SIZE: usize = 512;
const LEAST_IO_PARALLELISM: usize = 64;

/// What the builder was told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settings {
    pub(super) parallelism: Option<usize>,
    pub(super) max_pool_size: Option<usize>,
    pub(super) min_runnable: Option<usize>,
    pub(super) io_parallelism: Option<usize>,
    pub(super) keep_alive: Option<Duration>,
    pub(super) blocked_threshold: Option<Duration>,
}

impl Settings {
    /// All numbers, checked. `environment` is asked for variables.
    pub(super) fn resolve(
        self,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Limits, BuildError> {
        let number = |knob: Knob, set: Option<usize>, range, default| {
            let set = set.map(|it| (it as u64, it.to_string()));
            let value = knob.choose(set, &environment, &range)?;
            Ok(value.map_or(default, |it| usize::try_from(it).unwrap_or(usize::MAX)))
        };
        let time = |knob: Knob, set: Option<Duration>, range, default| {
            let millis = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
            let set = set.map(|it| (millis(it), format!("{it:?}")));
            let value = knob.choose(set, &environment, &range)?;
            Ok::<_, BuildError>(value.map_or(default, Duration::from_millis))
        };
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let parallelism = number(PARALLELISM, self.parallelism, 1..=MAX_THREADS / 2, cores)?;
        let least = parallelism as u64 + 1;
        let default = DEFAULT_MAX_POOL_SIZE.max(parallelism + 1);
        let max_pool_size =
            number(MAX_POOL_SIZE, self.max_pool_size, least..=MAX_THREADS, default)?;
        let all = 0..=max_pool_size as u64;
        let min_runnable = number(MIN_RUNNABLE, self.min_runnable, all, parallelism)?;
        let default = LEAST_IO_PARALLELISM.max(cores);
        let io_parallelism = number(IO_PARALLELISM, self.io_parallelism, 1..=MAX_THREADS, default)?;
        let ten_seconds = Duration::from_secs(10);
        Ok(Limits {
            parallelism,
            max_pool_size,
            min_runnable,
            io_parallelism,
            keep_alive: time(KEEP_ALIVE, self.keep_alive, 0..=MAX_MILLIS, ten_seconds)?,
            blocked_threshold: time(
                BLOCKED_THRESHOLD,
                self.blocked_threshold,
                1..=MAX_MILLIS,
                Duration::from_millis(20),
            )?,
        })
    }
}

/// A setting, by its two names.
#[derive(Clone, Copy)]
struct Knob {
    method: &'static str,
    variable: &'static str,
    unit: &'static str,
}

const fn knob(method: &'static str, variable: &'static str, unit: &'static str) -> Knob {
    Knob { method, variable, unit }
}

const PARALLELISM: Knob = knob("parallelism", "CORYMB_PARALLELISM", "");
const MAX_POOL_SIZE: Knob =
    knob("max_pool_size", "CORYMB_MAX_POOL_SIZE", " (the least is parallelism + 1)");
const MIN_RUNNABLE: Knob =
    knob("min_runnable", "CORYMB_MIN_RUNNABLE", " (the most is max_pool_size)");
const IO_PARALLELISM: Knob = knob("io_parallelism", "CORYMB_IO_PARALLELISM", "");
const KEEP_ALIVE: Knob = knob("keep_alive", "CORYMB_KEEP_ALIVE_MS", " milliseconds");
const BLOCKED_THRESHOLD: Knob =
    knob("blocked_threshold", "CORYMB_BLOCKED_THRESHOLD_MS", " milliseconds");

/// All variables that set something.
pub(super) const VARIABLES: [&str; 6] = [
    PARALLELISM.variable,
    MAX_POOL_SIZE.variable,
    MIN_RUNNABLE.variable,
    IO_PARALLELISM.variable,
    KEEP_ALIVE.variable,
    BLOCKED_THRESHOLD.variable,
];

/// Less than that is not enough for the worker itself, and for the report of a panic.
const LEAST_STACK: usize = 64 * 1024;
/// More than any machine has.
const MOST_STACK: u64 = 1 << 40;

/// Checks the stack size of the threads.
pub(super) fn check_stack_size(bytes: usize) -> Result<(), BuildError> {
    if bytes >= LEAST_STACK && bytes as u64 <= MOST_STACK {
        return Ok(());
    }
    Err(BuildError::Setting {
        name: String::from("stack_size(..)"),
        value: bytes.to_string(),
        allowed: format!("a number of bytes from {LEAST_STACK} to {MOST_STACK}"),
    })
}

impl Knob {
    /// What was `set`, which is a number and the text of what was given, else what the environment
    /// says. A variable that is empty says nothing.
    fn choose(
        self,
        set: Option<(u64, String)>,
        environment: impl Fn(&str) -> Option<OsString>,
        range: &RangeInclusive<u64>,
    ) -> Result<Option<u64>, BuildError> {
        let (name, value, text) = match set {
            Some((value, text)) => (format!("{}(..)", self.method), Some(value), text),
            None => {
                let Some(raw) = environment(self.variable) else { return Ok(None) };
                let text = raw.to_string_lossy().into_owned();
                if text.trim().is_empty() {
                    return Ok(None);
                }
                (self.variable.to_owned(), text.trim().parse().ok(), format!("`{text}`"))
            }
        };
        match value {
            Some(value) if range.contains(&value) => Ok(Some(value)),
            _ => {
                let (least, most) = (range.start(), range.end());
                let allowed = format!("a number from {least} to {most}{}", self.unit);
                Err(BuildError::Setting { name, value: text, allowed })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(settings: Settings, variables: &[(&str, &str)]) -> Result<Limits, BuildError> {
        settings.resolve(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    fn error(settings: Settings, variables: &[(&str, &str)]) -> String {
        resolve(settings, variables).unwrap_err().to_string()
    }

    #[test]
    fn defaults_hold_where_nothing_is_set() {
        let limits = resolve(Settings::default(), &[]).unwrap();
        assert_eq!(limits.min_runnable, limits.parallelism);
        assert!(limits.io_parallelism >= 64);
        assert!(limits.max_pool_size > limits.parallelism);
        assert_eq!(limits.keep_alive, Duration::from_secs(10));
        assert_eq!(limits.blocked_threshold, Duration::from_millis(20));
    }

    #[test]
    fn variables_count_and_the_builder_wins() {
        let variables = [("CORYMB_PARALLELISM", "3"), ("CORYMB_KEEP_ALIVE_MS", " 5 ")];
        let limits = resolve(Settings::default(), &variables).unwrap();
        assert_eq!((limits.parallelism, limits.keep_alive), (3, Duration::from_millis(5)));
        let set = Settings { parallelism: Some(4), ..Settings::default() };
        assert_eq!(resolve(set, &variables).unwrap().parallelism, 4);
        // Not even looked at, as it has no effect.
        let bad = [("CORYMB_PARALLELISM", "many")];
        assert_eq!(resolve(set, &bad).unwrap().parallelism, 4);
    }

    #[test]
    fn an_empty_variable_sets_nothing() {
        let none = resolve(Settings::default(), &[]).unwrap();
        for variable in VARIABLES {
            for empty in ["", " "] {
                let limits = resolve(Settings::default(), &[(variable, empty)]).unwrap();
                assert_eq!(format!("{limits:?}"), format!("{none:?}"));
            }
        }
    }

    #[test]
    fn a_duration_is_shown_as_it_was_given() {
        let week = Duration::from_secs(7 * 86_400);
        let message = error(Settings { keep_alive: Some(week), ..Settings::default() }, &[]);
        let allowed = "give a number from 0 to 86400000 milliseconds";
        assert!(message.starts_with(&format!("keep_alive(..) is 604800s: {allowed}")), "{message}");
    }

    #[test]
    fn a_stack_has_to_be_large_enough() {
        assert!(check_stack_size(LEAST_STACK).is_ok());
        for bytes in [0, 1, LEAST_STACK - 1, usize::MAX] {
            let message = check_stack_size(bytes).unwrap_err().to_string();
            assert!(message.starts_with(&format!("stack_size(..) is {bytes}: give")), "{message}");
            assert!(message.contains("bytes from 65536 to"), "{message}");
        }
    }

    #[test]
    fn each_variable_is_named_with_what_it_held_and_what_is_allowed() {
        for variable in [
            "CORYMB_PARALLELISM",
            "CORYMB_MAX_POOL_SIZE",
            "CORYMB_MIN_RUNNABLE",
            "CORYMB_IO_PARALLELISM",
            "CORYMB_KEEP_ALIVE_MS",
            "CORYMB_BLOCKED_THRESHOLD_MS",
        ] {
            for value in ["many", "-1", "1 2", "99999999999", "1e3"] {
                let message = error(Settings::default(), &[(variable, value)]);
                assert!(message.contains(variable), "{message}");
                assert!(message.contains(&format!("`{value}`")), "{message}");
                assert!(message.contains("a number from"), "{message}");
            }
        }
    }

    #[test]
    fn each_method_is_named_too() {
        let default = Settings::default;
        let huge = Some(usize::MAX);
        let long = Some(Duration::MAX);
        for (name, settings) in [
            ("parallelism(..)", Settings { parallelism: Some(0), ..default() }),
            ("max_pool_size(..)", Settings { max_pool_size: Some(1), ..default() }),
            ("min_runnable(..)", Settings { min_runnable: huge, ..default() }),
            ("io_parallelism(..)", Settings { io_parallelism: Some(0), ..default() }),
            ("keep_alive(..)", Settings { keep_alive: long, ..default() }),
            (
                "blocked_threshold(..)",
                Settings { blocked_threshold: Some(Duration::ZERO), ..default() },
            ),
        ] {
            let message = error(settings, &[]);
            assert!(message.starts_with(name), "{message}");
        }
    }
}
