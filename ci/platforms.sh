#!/usr/bin/env bash
# Type-checks for Windows and macOS; nothing is run there. Skipped, and said so, where the
# standard library of a target cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
for target in x86_64-pc-windows-gnu x86_64-apple-darwin; do
    if rustup target add "$target" >/dev/null 2>&1; then
        CARGO_TARGET_DIR=target/platforms cargo check --workspace --target "$target"
    else
        echo "skipped: $target (rustup cannot add it here)"
    fi
done
