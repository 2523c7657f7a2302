//! The load: clients that send the requests of a file to the gateway.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corymb::net::TcpStream;
use corymb::prelude::*;
use corymb::time::{interval, now};

use crate::args::Options;
use crate::console::{self, note};
use crate::http::{self, Answer, HttpError};
use crate::requests::Request;
use crate::tally::{Count, Histogram, Outcome, Tally, resident_kb};

/// How many unexpected ends are told; further ones are only counted.
const TOLD: u64 = 20;
/// When the memory is measured for the first time: it should not grow afterwards.
pub(crate) const WARM: u64 = 1000;

/// Requests to be sent, and what has become of them.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) requests: Vec<Request>,
    /// How many to send in all: the requests over and over.
    pub(crate) total: usize,
    pub(crate) concurrency: usize,
    /// The gateway's deadline, to know what to expect.
    pub(crate) deadline: Duration,
    pub(crate) verbose: bool,
    /// No more requests once it is cancelled.
    pub(crate) stop: Job,
    next: AtomicUsize,
    pub(crate) tally: Tally,
    /// Ends that the lines do not explain.
    pub(crate) unexpected: Count,
    /// Of the requests that were answered with 200.
    pub(crate) latency: Histogram,
    pub(crate) resident_warm: OnceLock<u64>,
}

/// How a request ended, in words.
enum End {
    Status(Answer),
    HungUp,
    Broken(HttpError),
}

impl Load {
    pub(crate) fn new(requests: Vec<Request>, options: &Options, stop: Job) -> Self {
        Self {
            total: options.amount.of(requests.len()),
            requests,
            concurrency: options.concurrency,
            deadline: options.deadline,
            verbose: options.verbose,
            stop,
            next: AtomicUsize::new(0),
            tally: Tally::default(),
            unexpected: Count::default(),
            latency: Histogram::new(),
            resident_warm: OnceLock::new(),
        }
    }

    /// Sends them all, `concurrency` at once.
    pub(crate) async fn run(self: Arc<Self>, gateway: SocketAddr) -> io::Result<()> {
        scope(async |s| {
            let ticker = s.launch(Arc::clone(&self).show_progress());
            scope(async |clients| {
                for _ in 0..self.concurrency.min(self.total) {
                    clients.launch(Arc::clone(&self).client(gateway));
                }
            })
            .await;
            ticker.cancel();
        })
        .await;
        console::end_progress();
        Ok(())
    }

    /// One after the other, until there are no more.
    async fn client(self: Arc<Self>, gateway: SocketAddr) {
        while let Some(request) = self.next() {
            self.tally.started.add();
            let begin = now();
            let end = send(request, gateway).await;
            self.count(request, &end, now() - begin);
        }
    }

    fn next(&self) -> Option<&Request> {
        if self.stop.is_cancelled() {
            return None;
        }
        // Ordering: Relaxed, each number is taken once, and nothing goes with it.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.total).then(|| &self.requests[number % self.requests.len()])
    }

    fn count(&self, request: &Request, end: &End, took: Duration) {
        if matches!(end, End::Broken(_)) && self.stop.is_cancelled() {
            return self.tell(request, &"interrupted");
        }
        let outcome = end.outcome();
        if outcome == Outcome::Ok {
            self.latency.record(took);
        }
        if self.tally.end(outcome) == WARM
            && let Some(resident) = resident_kb()
        {
            // It is set once: exactly one request is the thousandth.
            let _first = self.resident_warm.set(resident);
        }
        let news = outcome != request.expected(self.deadline) && self.is_news();
        if self.verbose || news {
            self.tell(request, end);
        }
    }

    /// Counts an unexpected end; true if it should be told.
    fn is_news(&self) -> bool {
        let number = self.unexpected.add();
        if number == TOLD + 1 {
            note(format_args!("further requests that do not end as expected are only counted"));
        }
        number <= TOLD
    }

    fn tell(&self, request: &Request, what: &dyn fmt::Display) {
        note(format_args!("line {} (user {}): {what}", request.line, request.user));
    }

    /// Says how far it is: a few times a second to a terminal, every few seconds to a file.
    #[expect(clippy::infinite_loop, reason = "a cancellation ends it")]
    async fn show_progress(self: Arc<Self>) {
        let period = if console::is_terminal() { 250 } else { 3000 };
        let mut ticks = interval(Duration::from_millis(period));
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let (ended, total) = (self.tally.ended(), self.total);
            let running = self.tally.started.get().saturating_sub(ended);
            let ok = self.tally.get(Outcome::Ok);
            console::progress(format_args!(
                "{ended} of {total} requests, {running} running, {ok} ok"
            ));
        }
    }
}

async fn send(request: &Request, gateway: SocketAddr) -> End {
    let sent = match request.hangup {
        None => get(request, gateway).await.map(End::Status),
        Some(patience) => hang_up(request, gateway, patience).await.map(|()| End::HungUp),
    };
    sent.unwrap_or_else(End::Broken)
}

async fn get(request: &Request, gateway: SocketAddr) -> Result<Answer, HttpError> {
    http::get(&gateway.to_string(), &request.target()).await
}

/// Sends the request, and goes away without the answer.
async fn hang_up(
    request: &Request,
    gateway: SocketAddr,
    patience: Duration,
) -> Result<(), HttpError> {
    let stream = TcpStream::connect(gateway).await?;
    http::send_request(&stream, &gateway.to_string(), &request.target()).await?;
    sleep(patience).await;
    Ok(())
}

impl End {
    fn outcome(&self) -> Outcome {
        match self {
            Self::HungUp => Outcome::HungUp,
            Self::Status(Answer { status: 200, .. }) => Outcome::Ok,
            Self::Status(Answer { status: 504, .. }) => Outcome::TimedOut,
            Self::Status(_) | Self::Broken(_) => Outcome::Failed,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp => f.write_str("hung up"),
            Self::Status(answer) => {
                write!(f, "{} {}", answer.status, String::from_utf8_lossy(&answer.body))
            }
            Self::Broken(error) => write!(f, "no answer from the gateway: {error}"),
        }
    }
}
