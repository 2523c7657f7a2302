//! The gateway: one request from a client becomes one to each backend, in parallel.
//!
//! The tree of a request, in which each kind of end is a cancellation from another place:
//!
//! ```text
//! connection             shutdown: cancelled with the server, when the grace is over
//! └─ unless(closed)      the client goes away
//!    └─ with_timeout     the deadline passes
//!       └─ try_scope     a backend fails
//!          ├─ users
//!          ├─ orders
//!          └─ stats
//! ```
//!
//! Whichever it is, the calls end, and their connections are closed, before the rest goes on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use corymb::net::{TcpListener, TcpStream};
use corymb::prelude::*;
use serde_json::{Map, Value, json};

use crate::args::Remote;
use crate::http::{self, Head, HttpError};
use crate::serve::{Server, serve, unless};
use crate::tally::{Children, Outcome, Tally};

/// The gateway and what it counts.
#[derive(Debug)]
pub(crate) struct Gateway {
    backends: Arc<[Remote]>,
    deadline: Duration,
    pub(crate) tally: Tally,
    /// The calls to the backends.
    pub(crate) children: Arc<Children>,
}

/// A backend that gave no proper answer.
#[derive(Debug)]
struct BackendError {
    backend: String,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Status(u16),
    Http(HttpError),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Http(error) => error.fmt(f),
        }
    }
}

impl From<HttpError> for Reason {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

/// What the client gets.
struct Reply {
    status: u16,
    body: Value,
    outcome: Outcome,
}

impl Gateway {
    pub(crate) fn new(backends: Vec<Remote>, deadline: Duration) -> Arc<Self> {
        Arc::new(Self {
            backends: backends.into(),
            deadline,
            tally: Tally::default(),
            children: Arc::default(),
        })
    }

    /// Starts to serve in `s`; gives the address too, for the port may be of the system's choice.
    pub(crate) fn start(
        self: &Arc<Self>,
        s: &TryScope<io::Error>,
        listener: TcpListener,
    ) -> io::Result<(SocketAddr, Server)> {
        let address = listener.local_addr()?;
        let this = Arc::clone(self);
        let server = Server::start(s, "gateway", |closing| {
            serve(listener, closing, move |stream| Arc::clone(&this).connection(stream))
        });
        Ok((address, server))
    }

    /// Serves one connection, which is one request.
    async fn connection(self: Arc<Self>, stream: TcpStream) {
        // A client that does not get to its request is given up at the deadline.
        let request = match with_timeout(self.deadline, http::read_request(&stream)).await {
            Ok(Ok(request)) => request,
            Ok(Err(HttpError::Malformed(what))) => return self.refuse(&stream, &what).await,
            Ok(Err(_)) | Err(_) => return,
        };
        self.tally.started.add();
        let answered = unless(http::closed(&stream), self.answer(&stream, &request)).await;
        self.tally.end(answered.unwrap_or(Outcome::HungUp));
    }

    /// Answers what is no request. To close while the client still sends would reset the
    /// connection, and the answer with it.
    async fn refuse(&self, stream: &TcpStream, what: &str) {
        let reply = Reply::refusal(400, what).body.to_string();
        if http::respond(stream, 400, reply.as_bytes()).await.is_ok() {
            let _closed_in_time = with_timeout(self.deadline, http::closed(stream)).await;
        }
    }

    async fn answer(&self, stream: &TcpStream, request: &Head) -> Outcome {
        let reply = self.reply(request).await;
        match http::respond(stream, reply.status, reply.body.to_string().as_bytes()).await {
            Ok(()) => reply.outcome,
            Err(_) => Outcome::HungUp,
        }
    }

    /// Makes the answer to a request.
    async fn reply(&self, request: &Head) -> Reply {
        if request.method != "GET" {
            return Reply::refusal(405, "only GET");
        }
        let Some(user) = request.path.strip_prefix("/user/").and_then(|id| id.parse().ok()) else {
            return Reply::refusal(404, "there is /user/ID");
        };
        let target = match request.query.as_str() {
            "" => request.path.clone(),
            query => format!("{}?{query}", request.path),
        };
        let gathered = with_timeout(self.deadline, self.gather(&target)).await;
        match gathered {
            Ok(Ok(answers)) => Reply::gathered(user, answers),
            Ok(Err(error)) => Reply::bad_gateway(&error),
            Err(_) => Reply::timed_out(self.deadline),
        }
    }

    /// Asks all backends at once. The first that fails cancels the calls to the others.
    async fn gather(&self, target: &str) -> Result<Map<String, Value>, BackendError> {
        try_scope(async |s| {
            let calls: Vec<_> = (0..self.backends.len())
                .map(|which| s.spawn(self.children.track(self.call(which, target))))
                .collect();
            let mut answers = Map::new();
            for (backend, call) in self.backends.iter().zip(calls) {
                answers.insert(backend.name.clone(), call.await);
            }
            Ok(answers)
        })
        .await
    }

    /// A call to one backend, which owns what it needs.
    fn call(
        &self,
        which: usize,
        target: &str,
    ) -> impl Future<Output = Result<Value, BackendError>> + use<> {
        let backends = Arc::clone(&self.backends);
        let target = format!("{}{target}", backends[which].prefix);
        async move {
            let backend = &backends[which];
            let answer = ask(backend, &target).await;
            answer.map_err(|reason| BackendError { backend: backend.name.clone(), reason })
        }
    }
}

async fn ask(backend: &Remote, target: &str) -> Result<Value, Reason> {
    let answer = http::get(&backend.authority, target).await?;
    match answer.status {
        200 => Ok(answer.json()?),
        status => Err(Reason::Status(status)),
    }
}

impl Reply {
    fn gathered(user: u64, mut answers: Map<String, Value>) -> Self {
        answers.insert("user".to_owned(), user.into());
        Self { status: 200, body: answers.into(), outcome: Outcome::Ok }
    }

    fn bad_gateway(error: &BackendError) -> Self {
        let body = json!({
            "error": "bad gateway",
            "backend": error.backend,
            "reason": error.reason.to_string(),
        });
        Self { status: 502, body, outcome: Outcome::Failed }
    }

    fn timed_out(deadline: Duration) -> Self {
        let reason = format!("the backends did not answer within {deadline:?}");
        let body = json!({ "error": "gateway timeout", "reason": reason });
        Self { status: 504, body, outcome: Outcome::TimedOut }
    }

    fn refusal(status: u16, reason: &str) -> Self {
        let body = json!({ "error": "bad request", "reason": reason });
        Self { status, body, outcome: Outcome::Failed }
    }
}
