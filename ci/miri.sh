#!/usr/bin/env bash
# Miri over the tests of the crates that hold unsafe code. Skipped, and said so, where nightly or
# miri cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! rustup component add miri rust-src --toolchain nightly >/dev/null 2>&1 &&
    ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "skipped: miri is not to be had here (rustup component add miri --toolchain nightly failed)"
    exit 0
fi
export CARGO_TARGET_DIR=target/miri
export MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-strict-provenance"
# A backtrace takes seconds here, and many tests panic.
export RUST_BACKTRACE=0
cargo +nightly miri setup >/dev/null

kernel() { cargo +nightly miri test -p corymb-core "$@"; }
# Those of the kernel's tests that go with the rest, by their modules: a fifth or so of the time.
some=(threads:: tokens:: unconfined:: undispatched:: views::)
rest() {
    kernel --lib --test tree
    # Between two loads of one thread, all that another one does at its end has to happen.
    MIRIFLAGS="$MIRIFLAGS -Zmiri-preemption-rate=0.001" \
        kernel --test behaviour -- threads::the_end_of_the_opener
    cargo +nightly miri test -p corymb-sync --lib --test behaviour
    # Of the executors one is enough: what they share is not checked again.
    cargo +nightly miri test -p corymb-sync --test foreign -- bare_threads::
    cargo +nightly miri test -p corymb-dispatchers --lib --test blocking_scope
    kernel --test behaviour -- "${some[@]}"
}

# One test after the other is what a process does here: two of them at once, of
# about the same length.
kernel --tests --no-run
rest >target/miri/rest.log 2>&1 &
kernel --test behaviour -- "${some[@]/#/--skip=}" || failed=1
wait $! || failed=1
cat target/miri/rest.log
exit ${failed:-0}
