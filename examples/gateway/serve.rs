//! Servers: what the gateway and the backends have in common.

use std::io;
use std::pin::pin;
use std::time::Duration;

use corymb::net::{TcpListener, TcpStream};
use corymb::prelude::*;
use futures::future::{Either, select};

use crate::console::note;

/// Runs `work`, unless `event` comes first: then `work` is cancelled, and awaited with all that
/// it has launched.
pub(crate) async fn unless<T>(
    event: impl Future<Output = ()>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let result = cancel_scope(async |inside| {
        let watch = async {
            event.await;
            inside.cancel();
            // The scope ends here, with `work`.
            std::future::pending().await
        };
        match select(pin!(work), pin!(watch)).await {
            Either::Left((output, _)) | Either::Right((output, _)) => output,
        }
    });
    result.await.ok()
}

/// A server that runs: a child of the scope in which it was started.
#[derive(Debug)]
pub(crate) struct Server {
    job: Job,
    closing: Job,
}

impl Server {
    /// Starts `serve`, which gets the token that tells it to accept no more. It fails no scope, but
    /// a scope that fails ends it.
    pub(crate) fn start<F>(
        s: &TryScope<io::Error>,
        name: &str,
        serve: impl FnOnce(Job) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let closing = Job::new(Some(&s.job()));
        let serve = serve(closing.clone());
        let job = s.coroutine().name(name).launch(async {
            serve.await;
            Ok(())
        });
        Self { job, closing }
    }

    /// Accepts no more; gives the open connections `grace`, or until `hurry` is cancelled, then
    /// cancels them.
    pub(crate) async fn shutdown(&self, grace: Duration, hurry: &Job) {
        self.closing.cancel();
        let patience = with_timeout(grace, self.job.join());
        let _in_time = unless(hurry.join(), patience).await;
        self.job.cancel_and_join().await;
    }
}

/// Accepts connections until `closing` is cancelled, and returns when all of them have ended.
///
/// Each connection is a child of one scope. It is a supervisor: what goes wrong in one of them is
/// no reason to end the others.
pub(crate) async fn serve<F>(listener: TcpListener, closing: Job, handle: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    supervisor_scope(async |connections| {
        // The listener is closed with the loop, before the connections.
        unless(closing.join(), accept(listener, connections, handle)).await;
    })
    .await;
}

#[expect(clippy::infinite_loop, reason = "a cancellation ends it")]
async fn accept<F>(listener: TcpListener, connections: Scope, handle: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.launch(handle(stream));
            }
            // Out of descriptors, say. The next `accept` waits a little by itself.
            Err(error) => note(format_args!("cannot accept a connection: {error}")),
        }
    }
}
