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
cargo +nightly miri setup >/dev/null
cargo +nightly miri test -p corymb-core --lib --tests
# Between two loads of one thread, all that another one does at its end has to happen.
MIRIFLAGS="$MIRIFLAGS -Zmiri-preemption-rate=0.001" cargo +nightly miri test -p corymb-core \
    --test behaviour -- threads::the_end_of_the_opener
cargo +nightly miri test -p corymb-sync --tests
cargo +nightly miri test -p corymb-dispatchers --lib --test blocking_scope
