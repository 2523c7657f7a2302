//! Tokens, which stand in their parent's list without being counted by it.

use super::*;

fn counted(token: &Job, mark: &Mark) -> loom::sync::Arc<AtomicUsize> {
    let ran = loom::sync::Arc::new(AtomicUsize::new(0));
    let (count, captured) = (ran.clone(), mark.clone());
    token.on_cancelling(move |_| {
        drop(captured);
        count.fetch_add(1, Ordering::Relaxed);
    });
    ran
}

/// The drop of a token against a cancel of its parent: found, or gone, and freed once.
#[test]
fn drop_against_cancel() {
    check(|_| {
        let mark = Mark::new(());
        let parent = Job::new(None);
        let token = Job::new(Some(&parent));
        let ran = counted(&token, &mark);
        let canceller = parent.clone();
        let other = thread::spawn(move || canceller.cancel());
        drop(token);
        drop(parent);
        other.join().unwrap();
        assert!(ran.load(Ordering::Relaxed) <= 1);
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}

/// The birth of a token against a cancel of its parent: it is cancelled, and has ended.
#[test]
fn birth_against_cancel() {
    check(|_| {
        let mark = Mark::new(());
        let parent = Job::new(None);
        let canceller = parent.clone();
        let other = thread::spawn(move || canceller.cancel());
        let token = Job::new(Some(&parent));
        let ran = counted(&token, &mark);
        other.join().unwrap();
        assert!(token.is_completed() && token.is_cancelled());
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        drop(token);
        assert_eq!(loom::sync::Arc::strong_count(&mark), 1);
    });
}

/// The birth of a token under a coroutine against the end and the cancel of that.
#[test]
fn birth_against_the_end() {
    check(|runtime| {
        let job = runtime.scope().launch(async {});
        let there = (runtime.clone(), job.clone());
        let other = thread::spawn(move || {
            let news = there.1.cancel();
            there.0.run();
            news
        });
        let token = Job::new(Some(&job));
        let cancelled = other.join().unwrap();
        runtime.run();
        assert!(job.is_completed() && cancelled);
        assert!(token.is_completed(), "a token of a cancelled job");
    });
}

/// The last handle of a token goes while its parent's list is looked at: it is freed once, by whoever
/// has it last.
#[test]
fn last_handle_against_listing() {
    check(|_| {
        let all = Job::new(None);
        let token = Job::new(Some(&all));
        let other = thread::spawn(move || drop(token));
        let listed = all.children();
        other.join().unwrap();
        assert!(listed.len() <= 1 && listed.iter().all(Job::cancel));
        drop(listed);
        assert!(all.children().is_empty());
    });
}
