#!/usr/bin/env bash
# Runs all tests many times in a row, every second time with all processors busy: a test that
# fails once has found something.
#
#   ci/repeat.sh [TIMES]
set -euo pipefail
cd "$(dirname "$0")/.."
times=${1:-20}

busy=()
trap 'kill "${busy[@]}" 2>/dev/null || true' EXIT
cargo test --workspace --no-run --quiet
for ((i = 1; i <= times; i++)); do
    load=idle
    if ((i % 2 == 0)); then
        load=loaded
        for ((j = 0; j < $(nproc); j++)); do
            (while :; do :; done) &
            busy+=($!)
        done
    fi
    if ! cargo test --workspace --quiet >"target/repeat.log" 2>&1; then
        cat target/repeat.log
        echo "run $i of $times ($load) failed"
        exit 1
    fi
    echo "run $i of $times ($load): ok"
    if ((${#busy[@]})); then
        kill "${busy[@]}"
        wait "${busy[@]}" 2>/dev/null || true
        busy=()
    fi
done
