//! Scopes, dispatchers and runtimes as executors of other crates.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use corymb::prelude::*;
use corymb::{CancelCause, LocalRuntime, Runtime};
use futures::task::{LocalSpawn, LocalSpawnExt, Spawn, SpawnExt};

/// As crates write it that know no runtime. The job, and its parent.
fn tell_from(executor: &(impl Spawn + ?Sized)) -> mpsc::Receiver<(Job, Option<Job>)> {
    let (tell, told) = mpsc::channel();
    let family = || (Job::current().unwrap(), Job::current().unwrap().parent());
    executor.spawn(async move { tell.send(family()).unwrap() }).unwrap();
    told
}

#[test]
fn what_a_scope_is_given_is_its_child_and_awaited() {
    run_blocking(async {
        let (told, parent) = scope(async |s| {
            assert!(s.status().is_ok());
            (tell_from(&s), s.job())
        })
        .await;
        let (child, its_parent) = told.try_recv().expect("it has ended");
        assert!(child.is_completed() && its_parent == Some(parent));
        let children = scope(async |s| {
            s.spawn_obj(Box::new(pending()).into()).unwrap();
            while s.job().children().is_empty() {
                yield_now().await;
            }
            let children = s.job().children();
            for child in &children {
                child.cancel();
            }
            children
        })
        .await;
        assert_eq!(children.len(), 1);
    });
}

#[test]
fn a_panic_of_what_a_scope_was_given_is_the_scope_s() {
    let failed = std::panic::catch_unwind(|| {
        run_blocking(scope(async |s| {
            SpawnExt::spawn(&s, async { panic!("E") }).unwrap();
            pending::<()>().await;
        }));
    });
    assert!(failed.is_err());
    let failed = run_blocking(supervisor_scope(async |s| {
        let trying = try_scope(async |s| {
            SpawnExt::spawn(&s, async { panic!("E") }).unwrap();
            pending::<Result<(), ()>>().await
        });
        s.spawn(trying).outcome().await.is_err()
    }));
    assert!(failed);
}

#[test]
fn a_scope_that_has_ended_says_so_and_drops_the_future() {
    run_blocking(async {
        let (ended, builder) = scope(async |s| (s.clone(), s.coroutine().name("late"))).await;
        let tried = try_scope(async |s| Ok::<_, ()>(s)).await.unwrap();
        let executors: [&dyn Spawn; 3] = [&ended, &builder, &tried];
        for executor in executors {
            assert!(executor.status().unwrap_err().is_shutdown());
            let (tell, told) = mpsc::channel::<()>();
            let error = executor.spawn(async move { tell.send(()).unwrap() }).unwrap_err();
            assert!(error.is_shutdown());
            assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        }
        let executors: [&dyn LocalSpawn; 2] = [&ended, &tried];
        for executor in executors {
            assert!(executor.status_local().unwrap_err().is_shutdown());
            let held = Rc::new(());
            let inside = Rc::clone(&held);
            assert!(executor.spawn_local(async move { drop(inside) }).unwrap_err().is_shutdown());
            assert_eq!(Rc::strong_count(&held), 1);
        }
    });
}

#[test]
fn a_builder_gives_its_name_and_its_dispatcher() {
    run_blocking(scope(async |s| {
        let executor = s.coroutine().name("given").on(Dispatcher::Io);
        let seen = async { (Context::current(), Job::current().unwrap().parent()) };
        let (context, parent) = executor.spawn_with_handle(seen).unwrap().await;
        assert_eq!(context.name(), Some("given"));
        assert!(matches!(context.dispatcher(), Some(Dispatcher::Io)));
        assert_eq!(parent, Some(s.job()));
    }));
}

#[test]
fn what_a_dispatcher_is_given_is_under_the_runtime_and_outlives_its_scope() {
    let runtime = Runtime::new().unwrap();
    let job = runtime.run_blocking(async {
        let told = scope(async |_| {
            let (tell, told) = mpsc::channel();
            let forever = async move {
                tell.send((Job::current().unwrap(), Context::current())).unwrap();
                pending::<()>().await;
            };
            SpawnExt::spawn(&Dispatcher::Io, forever).unwrap();
            told
        })
        .await;
        let (job, context) = told.recv().unwrap();
        assert!(matches!(context.dispatcher(), Some(Dispatcher::Io)));
        job
    });
    assert_eq!(job.parent(), Some(runtime.job()));
    assert!(!job.is_completed());
    let _inside = runtime.enter();
    assert!(runtime.shutdown(Duration::from_secs(30)).is_empty());
    assert!(matches!(job.cause().unwrap().cause(), CancelCause::Shutdown));
    let handle = runtime.handle();
    let executors: [&dyn Spawn; 3] = [&Dispatcher::Default, &runtime, &handle];
    for executor in executors {
        assert!(executor.status().unwrap_err().is_shutdown());
        assert!(executor.spawn(async {}).unwrap_err().is_shutdown());
    }
}

#[test]
fn runtimes_and_their_handles_spawn_what_is_detached() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    let executors: [&dyn Spawn; 2] = [&runtime, &handle];
    for executor in executors {
        assert!(executor.status().is_ok());
        let (_, parent) = tell_from(executor).recv().unwrap();
        assert_eq!(parent, Some(runtime.job()));
    }
}

#[test]
fn local_ones_stay_on_their_thread() {
    let home = thread::current().id();
    let count = Rc::new(Cell::new(0));
    let counting = |executor: &dyn LocalSpawn| {
        let count = Rc::clone(&count);
        executor
            .spawn_local(async move {
                yield_now().await;
                assert_eq!(thread::current().id(), home);
                count.set(count.get() + 1);
            })
            .unwrap();
    };
    run_blocking(async {
        scope(async |s| counting(&s)).await;
        let tried = try_scope(async |s| {
            counting(&s);
            Ok::<_, ()>(())
        });
        tried.await.unwrap();
    });
    assert_eq!(count.get(), 2);
    let local = LocalRuntime::new();
    counting(&local);
    assert_eq!(count.get(), 2, "it waits for a run");
    local.run_blocking(async {
        while count.get() < 3 {
            yield_now().await;
        }
    });
}

/// In place of a connection of hyper's, which takes any `Executor` in the same way.
#[cfg(feature = "hyper")]
#[test]
fn hyper_s_connections_are_children_of_a_scope() {
    use hyper::rt::Executor;

    fn connect(executor: &impl Executor<futures::future::BoxFuture<'static, u32>>) -> Tells {
        let (tell, told) = mpsc::channel();
        executor.execute(Box::pin(async move {
            tell.send((Job::current(), Context::current().name().map(String::from))).unwrap();
            7
        }));
        told
    }
    type Tells = mpsc::Receiver<(Option<Job>, Option<String>)>;

    run_blocking(async {
        let (ended, plain, named) = scope(async |s| {
            let named = s.coroutine().name("connection");
            (s.clone(), connect(&s), connect(&named))
        })
        .await;
        let (job, name) = plain.try_recv().expect("the scope has waited for it");
        assert!(job.unwrap().is_completed() && name.is_none());
        assert_eq!(named.try_recv().unwrap().1.as_deref(), Some("connection"));
        // Refused by a scope that has ended: dropped.
        assert!(connect(&ended).try_recv().is_err());
    });
}
