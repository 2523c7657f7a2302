fn main() {}

#[corymb_macros::test]
fn not_async() {}

#[corymb_macros::test]
async fn arguments(argument: u32, another: u32) {}

#[corymb_macros::test]
async fn generic<const N: usize>() {}

#[corymb_macros::test]
mod not_a_function {}

#[corymb_macros::test]
#[test]
async fn test_twice() {}

#[corymb_macros::test(parallelism = 4)]
async fn unknown_option() {}

#[corymb_macros::test(seed = 1, shuffled, seed = 2)]
async fn option_twice() {}

#[corymb_macros::test(seed)]
async fn value_missing() {}

#[corymb_macros::test(shuffled = true)]
async fn value_too_much() {}

#[corymb_macros::test(seed = -1)]
async fn negative() {}

#[corymb_macros::test(crate = corymb_testing)]
async fn path_without_quotes() {}

#[corymb_macros::test(crate = "not a path")]
async fn no_path() {}

#[corymb_macros::test(real, seed = 7)]
async fn real_and_virtual() {}

#[corymb_macros::test(explore, real)]
async fn explored_and_real() {}

#[corymb_macros::test(schedules = 10)]
async fn schedules_of_nothing() {}

#[corymb_macros::test(local = true)]
async fn local_with_a_value() {}

#[corymb_macros::test(local, shuffled, real)]
async fn local_does_not_change_what_excludes_what() {}

#[corymb_macros::test(real, time_limit = "2s")]
async fn no_limit_of_real_time() {}
