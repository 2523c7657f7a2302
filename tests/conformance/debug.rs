//! Dumps of the tree.

use std::future::pending;
use std::time::Duration;

use corymb::prelude::*;
use corymb::testing::settle;

/// The lines of the tree below and including `job`.
fn dump(job: &Job) -> Vec<String> {
    let mut text = String::new();
    job.dump(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[corymb::test]
async fn debug_001_a_suspended_coroutine_is_one_line_that_says_where_it_waits() {
    async fn inner() {
        sleep(Duration::from_secs(60)).await;
    }
    scope(async |s| {
        let child = s.coroutine().name("sleeper").launch(async { inner().await });
        settle().await;
        let lines = dump(&child);
        let [line] = &*lines else { panic!("{lines:?}") };
        assert!(line.starts_with("coroutine `sleeper`, active, tests/conformance/debug.rs:"));
        assert!(line.contains(", waiting for a timer at tests/conformance/debug.rs:"), "{line}");
        child.cancel();
    })
    .await;
}

#[corymb::test]
async fn debug_004_what_was_cancelled_and_joined_is_gone() {
    scope(async |s| {
        let child = s.coroutine().name("gone").launch(pending());
        settle().await;
        assert!(dump(&s.job()).iter().any(|line| line.contains("`gone`")));
        child.cancel_and_join().await;
        assert!(!dump(&s.job()).iter().any(|line| line.contains("`gone`")));
    })
    .await;
}

#[corymb::test]
async fn debug_006_each_child_stands_under_the_scope_that_has_it() {
    scope(async |s| {
        let owners = ["left", "right"].map(|name| {
            s.coroutine().name(name).launch(scope(async move |inner| {
                inner.coroutine().name(format!("{name} child")).launch(pending());
                pending::<()>().await;
            }))
        });
        settle().await;
        let lines = dump(&s.job());
        for name in ["left", "right"] {
            let at = |what: &str| lines.iter().position(|line| line.contains(what)).unwrap();
            let (owner, child) = (at(&format!("`{name}`")), at(&format!("`{name} child`")));
            assert_eq!(child, owner + 2, "{lines:#?}");
            assert!(lines[owner + 1].trim_start().starts_with("scope, "), "{lines:#?}");
            assert!(depth(&lines[owner]) < depth(&lines[owner + 1]));
            assert!(depth(&lines[owner + 1]) < depth(&lines[child]));
        }
        for owner in owners {
            owner.cancel();
        }
    })
    .await;
}

#[corymb::test]
async fn debug_008_the_tree_is_indented_and_tells_states() {
    scope(async |s| {
        s.coroutine().name("parent").launch(scope(async |inner| {
            inner.coroutine().name("child").launch(sleep(Duration::from_secs(1)));
        }));
        settle().await;
        let lines = dump(&s.job());
        let [scope, parent, inner, child] = &*lines else { panic!("{lines:#?}") };
        assert!(scope.starts_with("scope, active, "), "{scope}");
        assert!(parent.starts_with("  coroutine `parent`, active, "), "{parent}");
        assert!(inner.starts_with("    scope, completing, "), "{inner}");
        assert!(inner.ends_with("waiting for its children"), "{inner}");
        assert!(child.starts_with("      coroutine `child`, active, "), "{child}");
    })
    .await;
}

#[corymb::test]
async fn debug_009_each_of_several_tells_what_it_waits_for() {
    scope(async |s| {
        let (sender, receiver) = corymb::sync::channel::bounded::<()>(1);
        let slow = s.coroutine().name("a").launch(sleep(Duration::from_secs(1)));
        s.coroutine().name("b").launch(async move { while receiver.recv().await.is_ok() {} });
        s.coroutine().name("c").launch(async move { slow.join().await });
        settle().await;
        let lines = dump(&s.job());
        for (name, what) in [("a", "a timer"), ("b", "channel "), ("c", "a job")] {
            let of = |line: &&String| line.contains(&format!("`{name}`"));
            let line = lines.iter().find(of).unwrap();
            assert!(line.contains(&format!("waiting for {what}")), "{line}");
            assert!(line.contains(" at tests/conformance/debug.rs:"), "{line}");
        }
        drop(sender);
    })
    .await;
}
