//! Where a scenario is cancelled, as text.

use std::fmt;
use std::str::FromStr;

use crate::explore::Schedule;

/// What is done to the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Its job is cancelled.
    Cancel,
    /// Its coroutine drops it.
    Drop,
}

/// When, at a suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Right after the poll: the coroutine has begun to wait.
    Waiting,
    /// Right before its next poll: what it waited for may have come.
    Woken,
}

/// Where and how a scenario was cancelled: to be printed, kept, and run again.
///
/// [`CancelEverywhere::at`](crate::CancelEverywhere::at) and the environment variable
/// `CORYMB_CANCEL` take it.
///
/// # Examples
///
/// ```
/// use corymb::testing::CancelPoint;
///
/// let point: CancelPoint = "drop-3-woken@c1.n2-1".parse().unwrap();
/// assert_eq!(point.suspension(), 3);
/// assert_eq!(point.schedule().unwrap().decisions().len(), 1);
/// assert_eq!(point.to_string(), "drop-3-woken@c1.n2-1");
/// let point: CancelPoint = "cancel-1-waiting-seed7".parse().unwrap();
/// assert_eq!(point.seed(), Some(7));
/// assert!("drop-3".parse::<CancelPoint>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelPoint {
    act: Act,
    /// Counted from 1; 0 stands for none.
    suspension: usize,
    moment: Moment,
    /// What the plain schedule drew from, if it drew something.
    seed: Option<u64>,
    schedule: Option<Schedule>,
}

impl CancelPoint {
    pub(super) fn new(act: Act, suspension: usize, moment: Moment) -> Self {
        Self { act, suspension, moment, seed: None, schedule: None }
    }

    /// Nowhere.
    pub(super) fn none(act: Act) -> Self {
        Self::new(act, 0, Moment::Waiting)
    }

    pub(super) fn within(self, schedule: Schedule) -> Self {
        Self { schedule: Some(schedule), ..self }
    }

    pub(super) fn seeded(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    pub(super) fn without_schedule(self) -> Self {
        Self { schedule: None, ..self }
    }

    pub(super) fn act(&self) -> Act {
        self.act
    }

    pub(super) fn moment(&self) -> Moment {
        self.moment
    }

    /// Whether a run that is the same each time comes to it: who waits may be woken by nobody.
    pub(super) fn has_to_come(&self) -> bool {
        self.suspension > 0 && self.moment == Moment::Waiting
    }

    /// The number of the suspension, counted from 1 over all coroutines of the scenario; 0 if it
    /// was not cancelled.
    pub fn suspension(&self) -> usize {
        self.suspension
    }

    /// The seed that choices were drawn from, if there were any and the schedule was the plain one.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// The schedule, if it was an explored one.
    pub fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    /// In words.
    pub(super) fn describe(&self) -> impl fmt::Display {
        let Self { act, suspension, moment, .. } = *self;
        fmt::from_fn(move |f| {
            if suspension == 0 {
                return f.write_str("without a cancellation");
            }
            let act = match act {
                Act::Cancel => "cancelled",
                Act::Drop => "dropped",
            };
            let moment = match moment {
                Moment::Waiting => "as it began to wait",
                Moment::Woken => "after it was woken",
            };
            write!(f, "{act} at suspension {suspension} {moment}")
        })
    }
}

/// The acts and moments and their words.
const ACTS: [(&str, Act); 2] = [("cancel", Act::Cancel), ("drop", Act::Drop)];
const MOMENTS: [(&str, Moment); 2] = [("waiting", Moment::Waiting), ("woken", Moment::Woken)];

/// What stands before the seed.
const SEED: &str = "-seed";

fn word<T: PartialEq>(words: &[(&'static str, T)], of: &T) -> &'static str {
    words.iter().find(|it| it.1 == *of).map_or("?", |it| it.0)
}

fn meaning<T: Copy>(words: &[(&'static str, T)], of: &str) -> Option<T> {
    words.iter().find(|it| it.0 == of).map(|it| it.1)
}

impl fmt::Display for CancelPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (act, moment) = (word(&ACTS, &self.act), word(&MOMENTS, &self.moment));
        write!(f, "{act}-{}-{moment}", self.suspension)?;
        if let Some(seed) = self.seed {
            write!(f, "{SEED}{seed}")?;
        }
        match &self.schedule {
            Some(schedule) => write!(f, "@{schedule}"),
            None => Ok(()),
        }
    }
}

impl FromStr for CancelPoint {
    type Err = ParseCancelPointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (point, schedule) = match text.trim().split_once('@') {
            Some((point, schedule)) => (point, Some(schedule)),
            None => (text.trim(), None),
        };
        let wrong = |what: String| ParseCancelPointError { what };
        let it = parse(point).ok_or_else(|| wrong(format!("`{point}` says nothing")))?;
        match schedule.map(str::parse).transpose() {
            Ok(schedule) => Ok(Self { schedule, ..it }),
            Err(error) => Err(wrong(error.to_string())),
        }
    }
}

fn parse(point: &str) -> Option<CancelPoint> {
    let (act, rest) = point.split_once('-')?;
    let (suspension, rest) = rest.split_once('-')?;
    let (moment, seed) = match rest.split_once(SEED) {
        Some((moment, seed)) => (moment, Some(seed.parse().ok()?)),
        None => (rest, None),
    };
    let (act, moment) = (meaning(&ACTS, act)?, meaning(&MOMENTS, moment)?);
    Some(CancelPoint { seed, ..CancelPoint::new(act, suspension.parse().ok()?, moment) })
}

/// A text that is no [`CancelPoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseCancelPointError {
    what: String,
}

impl fmt::Display for ParseCancelPointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this is no point to cancel at: {}; take the whole text that a failure printed",
            self.what
        )
    }
}

impl std::error::Error for ParseCancelPointError {}
