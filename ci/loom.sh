#!/usr/bin/env bash
# The loom models of what is lock-free or close to it.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom
export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-2}
cargo test --profile loom -p corymb-core -p corymb-dispatchers -p corymb-sync --lib loom
