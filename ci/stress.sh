#!/usr/bin/env bash
# Random operations on each primitive, for SECONDS each.
#
#   ci/stress.sh [SECONDS] [PRIMITIVE]
set -euo pipefail
cd "$(dirname "$0")/.."
export STRESS_SECONDS=${1:-60}
cargo test --release -p corymb-sync --test stress -- --nocapture --test-threads=1 ${2:+--exact "$2"}
