#!/usr/bin/env bash
# The README's first command, checking itself, and the smaller examples.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --release --example gateway -- --self-check
cargo run --release --example event_loop
cargo run --release --example ways
