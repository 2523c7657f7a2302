//! The tree, as text.

use std::future::pending;

use corymb::prelude::*;
use corymb::suspend_cancellable;
use corymb::sync::channel;
use corymb::testing::settle;

use crate::common::ms;

/// The line of the dump that has `part`.
#[track_caller]
fn line_of<'a>(dump: &'a str, part: &str) -> &'a str {
    dump.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part}: {dump}"))
}

#[corymb::test]
async fn a_dump_shows_names_places_and_what_is_awaited() {
    scope(async |s| {
        let line = line!() + 1;
        let asleep = s.coroutine().name("asleep").launch(sleep(ms(10)));
        s.coroutine().name("joins").launch(asleep.join());
        let (sender, receiver) = channel::bounded::<u32>(1);
        s.coroutine().name("receives").launch(async move {
            receiver.recv().await.unwrap_err();
        });
        let kept = std::sync::Arc::new(std::sync::Mutex::new(None));
        let slot = kept.clone();
        s.coroutine().name("calls").launch(async move {
            let value =
                suspend_cancellable::<u32, _>(move |cont| *slot.lock().unwrap() = Some(cont));
            value.await.unwrap_err();
        });
        s.coroutine().name("opens").launch(scope(async |s| {
            s.coroutine().name("below").launch(sleep(ms(10)));
        }));
        settle().await;

        let mut dump = String::new();
        s.job().dump(&mut dump).unwrap();
        let places = [
            ("asleep", "a timer"),
            ("joins", "a job"),
            ("receives", "channel 0x"),
            ("calls", "a callback"),
            ("opens", "the children of a scope"),
            ("below", "a timer"),
        ];
        for (name, what) in places {
            let line = line_of(&dump, &format!("coroutine `{name}`, active, "));
            let (_, wait) = line.split_once(&format!("waiting for {what}")).expect(line);
            assert!(wait.contains(&format!(" at {}", file!())), "{line}");
        }
        let launched = format!("{}:{line}:", file!());
        assert!(line_of(&dump, "`asleep`").contains(&launched), "{dump}");
        let depth = |name| {
            let line = line_of(&dump, name);
            line.len() - line.trim_start().len()
        };
        assert!(depth("`opens`") < depth("`below`"), "{dump}");
        drop((sender, kept));
    })
    .await;
}

#[corymb::test]
async fn a_dump_says_what_the_parts_of_a_coroutine_are() {
    scope(async |s| {
        let parts = s.launch(async {
            let inner = async |_: Scope| shield(sleep(ms(30))).await;
            let both = with_timeout(ms(10), supervisor_scope(inner));
            cancel_scope(async move |_| both.await).await.unwrap().unwrap();
        });
        settle().await;
        let mut dump = String::new();
        parts.dump(&mut dump).unwrap();
        let names = dump.lines().map(|line| line.trim_start().split(',').next().unwrap());
        let expected = ["coroutine", "cancel scope", "timeout", "supervisor scope", "shield"];
        assert_eq!(names.collect::<Vec<_>>(), expected, "{dump}");
    })
    .await;
}

#[corymb::test]
async fn a_dump_tells_what_is_ready_from_what_waits_for_its_children() {
    scope(async |s| {
        let siblings = s.clone();
        let job = s.job();
        s.coroutine().name("child").launch(async move {
            siblings.launch(async {});
            let mut dump = String::new();
            job.dump(&mut dump).unwrap();
            assert!(line_of(&dump, "scope").contains("completing"), "{dump}");
            assert!(line_of(&dump, "scope").contains("waiting for its children"), "{dump}");
            assert!(line_of(&dump, "`child`").contains("running"), "{dump}");
            assert!(dump.trim_end().ends_with("ready"), "{dump}");
        });
    })
    .await;
}

#[corymb::test(real)]
async fn on_a_pool_a_child_is_listed_once_it_has_suspended() {
    scope(async |s| {
        let (gate, open) = std::sync::mpsc::channel::<()>();
        let held = s.launch(async move { open.recv().unwrap() });
        assert_eq!((s.job().children(), s.job().unlisted()), (Vec::new(), 1));
        let mut dump = String::new();
        s.job().dump(&mut dump).unwrap();
        assert!(dump.ends_with(", and 1 child that has not suspended yet\n"), "{dump}");
        let named = s.coroutine().name("named").launch(pending());
        assert_eq!(s.job().children(), std::slice::from_ref(&named));
        gate.send(()).unwrap();
        held.join().await;
        named.cancel();
    })
    .await;
}

#[corymb::test]
async fn in_a_test_a_child_is_listed_from_its_launch() {
    scope(async |s| {
        let child = s.launch(async {});
        assert_eq!(s.job().children(), [child]);
    })
    .await;
}
