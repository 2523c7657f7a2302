#!/usr/bin/env bash
# Format, clippy with warnings denied, and the rules that clippy cannot see.
set -euo pipefail
cd "$(dirname "$0")/.."

rustup component add rustfmt clippy >/dev/null 2>&1 ||
    echo "note: rustup could not add rustfmt and clippy; using what is installed"
cargo fmt --all --check
cargo fmt --manifest-path benches/explore/Cargo.toml --check
cargo clippy --workspace --all-targets -- -D warnings
RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
    cargo clippy -p corymb-core -p corymb-dispatchers -p corymb-sync --lib --tests -- -D warnings

# Atomics and cells go through prim.rs, so that models check what production runs.
if git grep -nE 'sync::atomic|cell::UnsafeCell' -- 'crates/*/src/*.rs' \
    ':!crates/core/src/prim.rs' ':!*/loom.rs' ':!*/loom/*' ':!*/tests.rs' ':!*/tests/*' |
    grep -vE 'prim::atomic|:[0-9]+: *///'; then
    echo "error: use corymb_core's prim instead of std's atomics and cells" >&2
    exit 1
fi
# Dependencies point downwards: core knows no other crate of the workspace, sync only core.
if grep -nE '^corymb-' crates/core/Cargo.toml | grep -v corymb-testing; then
    echo "error: core depends on no crate above it" >&2
    exit 1
fi
if grep -nE '^corymb-(dispatchers|net)' crates/sync/Cargo.toml; then
    echo "error: sync depends on core alone" >&2
    exit 1
fi
