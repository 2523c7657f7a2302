//! The three built-in backends: HTTP servers that answer for a user, and can be asked to be slow,
//! to fail, or to die.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use corymb::net::{TcpListener, TcpStream};
use corymb::prelude::*;
use serde_json::{Value, json};

use crate::args::Kill;
use crate::http;
use crate::requests::Knobs;
use crate::serve::{Server, serve, unless};
use crate::tally::Count;

/// The names of the backends.
pub(crate) const BUILT_IN: [&str; 3] = ["users", "orders", "stats"];

/// A backend in this process.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    /// Requests that came.
    pub(crate) requests: Count,
    /// Connections that the client closed before it had its answer.
    pub(crate) closed_early: Count,
    /// How many requests it lives to serve.
    life: Option<u64>,
}

impl Backend {
    /// Starts it in `s`, at a port of the system's choice.
    pub(crate) async fn start(
        s: &TryScope<io::Error>,
        name: &'static str,
        kill: Option<&Kill>,
    ) -> io::Result<(Arc<Self>, SocketAddr, Server)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let life = kill.filter(|kill| kill.name == name).map(|kill| kill.after);
        let (requests, closed_early) = Default::default();
        let backend = Arc::new(Self { name, requests, closed_early, life });
        let server = Server::start(s, name, |closing| Arc::clone(&backend).run(listener, closing));
        Ok((backend, address, server))
    }

    /// Serves until `closing` is cancelled, or until it is killed: all that it consists of, the
    /// listener and the connections, is inside of one scope, which is all there is to cancel.
    async fn run(self: Arc<Self>, listener: TcpListener, closing: Job) {
        let killed = cancel_scope(async |power| {
            serve(listener, closing, |stream| Arc::clone(&self).connection(stream, power.clone()))
                .await;
        });
        let _ended_or_killed = killed.await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, power: CancelScope) {
        let Ok(request) = http::read_request(&stream).await else {
            self.closed_early.add();
            return;
        };
        if self.life.is_some_and(|life| self.requests.get() >= life) {
            power.cancel();
            return;
        }
        let answered = unless(http::closed(&stream), self.answer(&stream, &request)).await;
        if !matches!(answered, Some(Ok(()))) {
            self.closed_early.add();
        }
    }

    async fn answer(&self, stream: &TcpStream, request: &http::Head) -> io::Result<()> {
        self.requests.add();
        let knobs = Knobs::of_query(&request.query);
        sleep(knobs.delay(self.name)).await;
        let user = request.path.strip_prefix("/user/").and_then(|id| id.parse().ok());
        let (status, body) = match user {
            _ if knobs.fails(self.name) => (500, json!({ "error": "asked to fail" }).to_string()),
            _ if knobs.garbles(self.name) => (200, "{ not JSON".to_owned()),
            None => (404, json!({ "error": "no such thing" }).to_string()),
            Some(user) => (200, self.record(user).to_string()),
        };
        http::respond(stream, status, body.as_bytes()).await
    }

    /// What it knows about a user.
    fn record(&self, user: u64) -> Value {
        match self.name {
            "users" => json!({ "id": user, "name": format!("user {user}") }),
            "orders" => json!([{ "order": user % 97, "items": user % 5 + 1 }]),
            _ => json!({ "visits": user % 365, "orders": 1 }),
        }
    }
}
