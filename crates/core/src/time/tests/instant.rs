use super::*;
use crate::time::{now, real_now};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn sums_saturate() {
    let start = Instant::from_nanos(5);
    assert_eq!((start + SECOND).as_nanos(), 1_000_000_005);
    assert_eq!(start + Duration::MAX, Instant::FAR_FUTURE);
    assert_eq!(start + Duration::from_nanos(u64::MAX), Instant::FAR_FUTURE);
    assert_eq!(Instant::FAR_FUTURE + SECOND, Instant::FAR_FUTURE);
    assert_eq!((start - SECOND).as_nanos(), 0);
    assert_eq!((Instant::FAR_FUTURE - Duration::MAX).as_nanos(), 0);
    let mut moved = start;
    moved += SECOND;
    moved -= SECOND;
    assert_eq!(moved, start);
}

#[test]
fn differences_saturate_or_are_checked() {
    let (start, end) = (Instant::from_nanos(0), Instant::FAR_FUTURE);
    assert_eq!(end - start, Duration::from_nanos(u64::MAX));
    assert_eq!(start - end, Duration::ZERO);
    assert_eq!(start.saturating_duration_since(end), Duration::ZERO);
    assert_eq!(start.checked_duration_since(end), None);
    assert_eq!(end.checked_duration_since(end), Some(Duration::ZERO));
    assert_eq!(end.checked_add(Duration::from_nanos(1)), None);
    assert_eq!(start.checked_add(Duration::from_nanos(u64::MAX)), Some(end));
    assert_eq!(start.checked_add(Duration::MAX), None);
}

#[test]
fn the_clock_is_the_runtimes() {
    let runtime = Runtime::new();
    let entered = runtime.enter();
    runtime.advance_to(millis(7));
    assert_eq!(now().as_nanos(), millis(7));
    assert_eq!(Instant::from_nanos(millis(2)).elapsed(), ms(5));
    assert_eq!(Instant::from_nanos(millis(9)).elapsed(), Duration::ZERO);
    drop(entered);
    assert!(now() >= Instant::from_nanos(1 << 54));
}

#[test]
fn the_real_clock_goes_forward_and_has_a_past() {
    let first = real_now();
    assert!(first <= real_now());
    assert_eq!(first - (first - Duration::from_secs(86_400)), Duration::from_secs(86_400));
}

#[test]
fn debug_tells_the_time() {
    assert_eq!(format!("{:?}", Instant::from_nanos(millis(1500))), "Instant(1.5s)");
    assert_eq!(format!("{:?}", Instant::FAR_FUTURE), "Instant(never)");
}
