#!/usr/bin/env bash
# The instructions of the hot paths beside those on record. Skipped, and said so, where valgrind
# cannot be had, or where the record is of another kind of processor.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "skipped: the record is of Linux on x86-64, this is $(uname -sm)"
    exit 0
fi
if ! command -v valgrind >/dev/null &&
    ! { apt-get update && apt-get install --yes valgrind; } >/dev/null 2>&1; then
    echo "skipped: valgrind is not to be had here (apt-get install valgrind failed)"
    exit 0
fi
if ! valgrind --tool=callgrind --callgrind-out-file=/dev/null true >/dev/null 2>&1; then
    echo "skipped: valgrind does not run on this machine"
    exit 0
fi
# Not the profile of the benchmarks, which takes a minute more to build.
cargo bench --profile release --bench instructions
