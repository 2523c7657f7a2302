//! What a program of the corpus has to show.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::Mutex;
use corymb::testing::{Counterexample, Explorer, FaultKind};

/// For so many seeds the fault is looked for, in so many schedules, and found for all but one.
const SEEDS: u64 = 10;
const SCHEDULES: u64 = 10_000;
/// What is right is run for so many seeds, in so many schedules each.
const TWIN_SEEDS: u64 = 3;
const TWIN_SCHEDULES: u64 = 667;
/// More polls than any of the programs needs.
const POLLS: usize = 200;
/// How many other operations there are, in each of three coroutines.
const ENTRIES: usize = 14;

type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A program with a fault, and without it.
pub(crate) struct Bug {
    pub(crate) name: &'static str,
    kind: FaultKind,
    says: &'static str,
    make: fn(bool) -> Body,
    found: OnceLock<Vec<Option<Box<Counterexample>>>>,
}

/// Makes the list of all programs from their modules, and a test of each.
macro_rules! corpus {
    ($($name:ident: $kind:ident, $says:literal;)*) => {
        static CORPUS: [$crate::harness::Bug; [$(stringify!($name)),*].len()] = [$(
            $crate::harness::Bug::new(
                stringify!($name),
                corymb::testing::FaultKind::$kind,
                $says,
                |fixed| Box::pin($name::run(fixed)),
            )
        ),*];

        mod bug {
            $(#[test]
            fn $name() {
                let bug = $crate::CORPUS.iter().find(|bug| bug.name == stringify!($name));
                bug.expect("it is listed").check();
            })*
        }
    };
}
pub(crate) use corpus;

/// Runs `program` beside, and after, what has nothing to do with it.
async fn in_company(program: impl Future<Output = ()> + Send + 'static) {
    scope(async |s| {
        let log = Arc::new(Mutex::new(0));
        for _ in 0..2 {
            s.launch(write(Arc::clone(&log)));
        }
        write(log).await;
        program.await;
    })
    .await;
}

async fn write(log: Arc<Mutex<usize>>) {
    for _ in 0..ENTRIES {
        *log.lock().await += 1;
    }
}

impl Bug {
    pub(crate) const fn new(
        name: &'static str,
        kind: FaultKind,
        says: &'static str,
        make: fn(bool) -> Body,
    ) -> Self {
        Self { name, kind, says, make, found: OnceLock::new() }
    }

    /// Runs the program with its fault, and beside others. Always from here: the texts of faults
    /// name the place.
    fn find(&self, explorer: Explorer) -> Option<Box<Counterexample>> {
        limited(explorer).check(|| in_company((self.make)(false))).err()
    }

    /// What is found for each seed.
    fn found(&self) -> &[Option<Box<Counterexample>>] {
        let explorer = Explorer::new().schedules(SCHEDULES);
        let search = |seed| self.find(explorer.clone().seed(seed));
        self.found.get_or_init(|| (0..SEEDS).map(search).collect())
    }

    /// The fault is found, is the one that is meant, and comes again; the correction has none.
    pub(crate) fn check(&self) {
        let misses = self.found().iter().filter(|found| found.is_none()).count();
        assert!(misses <= 1, "not found for {misses} of {SEEDS} seeds");
        for found in self.found().iter().flatten() {
            let (fault, schedule) = (found.fault(), found.schedule());
            assert!(fault.kind() == self.kind && fault.to_string().contains(self.says), "{found}");
            let again = self.find(Explorer::new().replay(schedule.clone()));
            let again = again.expect("it fails again");
            assert_eq!(again.fault(), fault);
            assert!(again.schedule() == schedule, "{schedule} gave {}", again.schedule());
        }
        for seed in 0..TWIN_SEEDS {
            let explorer = limited(Explorer::new().schedules(TWIN_SCHEDULES).seed(seed));
            let explored = explorer.run(|| (self.make)(true));
            assert_eq!(explored.schedules(), TWIN_SCHEDULES, "the time was up");
        }
    }
}

fn limited(explorer: Explorer) -> Explorer {
    explorer.time_limit(Duration::from_secs(30)).poll_limit(POLLS)
}

/// What is shown has at most a quarter of the switches of what was found, by the median.
#[test]
fn schedules_are_made_short() {
    println!("{:22} {:40} switches, found>shown", "fault", "schedules until found, per seed");
    let mut ratios = Vec::new();
    for bug in &crate::CORPUS {
        let column = |text: fn(&Counterexample) -> String| {
            let texts = bug.found().iter().map(|found| found.as_deref().map_or("-".into(), text));
            texts.collect::<Vec<_>>().join(" ")
        };
        let numbers = column(|found| found.number().to_string());
        let switches = column(|found| format!("{}>{}", found.switches().0, found.switches().1));
        println!("{:22} {numbers:40} {switches}", bug.name);
        let switches = bug.found().iter().flatten().map(|found| found.switches());
        ratios.extend(switches.map(|(found, shown)| shown as f64 / found as f64));
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("the median of shown / found is {median:.3}");
    assert!(median <= 0.25, "{median} of the switches are left");
}
