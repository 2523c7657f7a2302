//! What the program says at its end.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::tally::Outcome;

/// The numbers of a run.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) requests: u64,
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) timed_out: u64,
    pub(crate) hung_up: u64,
    pub(crate) interrupted: u64,
    /// Ends that the lines of the requests do not explain.
    pub(crate) unexpected: u64,
    /// Requests whose client went away, as the gateway saw it.
    pub(crate) gone: u64,
    pub(crate) lines: u64,
    pub(crate) refused_lines: u64,
    /// Calls to backends.
    pub(crate) children: u64,
    pub(crate) cancelled: u64,
    /// Coroutines of the runtime that had not ended when everything should have.
    pub(crate) alive: u64,
    pub(crate) backends: Vec<BackendSummary>,
    pub(crate) p50_us: Option<u64>,
    pub(crate) p90_us: Option<u64>,
    pub(crate) p99_us: Option<u64>,
    pub(crate) rss_1000_kb: Option<u64>,
    pub(crate) rss_end_kb: Option<u64>,
    pub(crate) elapsed: Duration,
}

/// The numbers of a built-in backend.
#[derive(Debug)]
pub(crate) struct BackendSummary {
    pub(crate) name: &'static str,
    pub(crate) requests: u64,
    pub(crate) closed_early: u64,
}

impl Summary {
    /// Sets the requests by what became of them.
    pub(crate) fn set_tally(&mut self, tally: &crate::tally::Tally) {
        self.requests = tally.started.get();
        self.ok = tally.get(Outcome::Ok);
        self.failed = tally.get(Outcome::Failed);
        self.timed_out = tally.get(Outcome::TimedOut);
        self.hung_up = tally.get(Outcome::HungUp);
        self.interrupted = tally.interrupted();
    }

    /// Connections that the gateway closed before it had the answer.
    fn closed_early(&self) -> u64 {
        self.backends.iter().map(|backend| backend.closed_early).sum()
    }

    pub(crate) fn json(&self) -> Value {
        let backends = self.backends.iter().map(|backend| {
            let numbers =
                json!({ "requests": backend.requests, "closed_early": backend.closed_early });
            (backend.name.to_owned(), numbers)
        });
        json!({
            "requests": self.requests,
            "ok": self.ok,
            "failed": self.failed,
            "timed_out": self.timed_out,
            "hung_up": self.hung_up,
            "interrupted": self.interrupted,
            "unexpected": self.unexpected,
            "gone": self.gone,
            "lines": self.lines,
            "refused_lines": self.refused_lines,
            "children": self.children,
            "cancelled": self.cancelled,
            "alive": self.alive,
            "closed_early": self.closed_early(),
            "backends": Value::Object(backends.collect()),
            "p50_us": self.p50_us,
            "p90_us": self.p90_us,
            "p99_us": self.p99_us,
            "rss_1000_kb": self.rss_1000_kb,
            "rss_end_kb": self.rss_end_kb,
            "elapsed_ms": self.elapsed.as_secs_f64() * 1000.0,
        })
    }

    /// What is wrong with the run of a load that nobody disturbed, if anything is.
    pub(crate) fn complaint(&self, planned: u64) -> Option<String> {
        let sum = self.ok + self.failed + self.timed_out + self.hung_up + self.interrupted;
        if planned == 0 {
            Some("there was no request to send".to_owned())
        } else if self.refused_lines > 0 {
            Some(format!("{} lines are malformed", self.refused_lines))
        } else if self.requests != planned || sum != planned {
            Some(format!("{planned} requests were to end, {sum} of {} did", self.requests))
        } else if self.interrupted > 0 || self.unexpected > 0 {
            let wrong = self.interrupted + self.unexpected;
            Some(format!("{wrong} requests did not end as their lines say"))
        } else if self.alive > 0 {
            Some(format!("{} coroutines are still alive", self.alive))
        } else {
            None
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = self.requests as f64 / seconds.max(0.001);
        writeln!(f, "requests   {} in {seconds:.2} s, {rate:.0} a second", self.requests)?;
        writeln!(
            f,
            "outcomes   {} ok, {} failed, {} timed out, {} hung up, {} interrupted",
            self.ok, self.failed, self.timed_out, self.hung_up, self.interrupted
        )?;
        if self.unexpected > 0 {
            writeln!(f, "           {} of them not as their lines say", self.unexpected)?;
        }
        if let (Some(p50), Some(p90), Some(p99)) = (self.p50_us, self.p90_us, self.p99_us) {
            let (p50, p90, p99) = (Millis(p50), Millis(p90), Millis(p99));
            writeln!(f, "latency    p50 {p50}, p90 {p90}, p99 {p99} (those that were ok)")?;
        }
        for backend in &self.backends {
            let BackendSummary { name, requests, closed_early } = backend;
            writeln!(f, "backend    {name}: {requests} requests, {closed_early} closed early")?;
        }
        writeln!(
            f,
            "children   {} launched, {} cancelled, {} alive",
            self.children, self.cancelled, self.alive
        )?;
        write!(f, "lines      {} read, {} refused", self.lines, self.refused_lines)?;
        if let (Some(warm), Some(end)) = (self.rss_1000_kb, self.rss_end_kb) {
            write!(f, "\nmemory     {warm} KiB after 1000 requests, {end} KiB at the end")?;
        }
        Ok(())
    }
}

/// Microseconds, shown as milliseconds.
struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} ms", self.0 / 1000, self.0 % 1000 / 10)
    }
}
