#!/usr/bin/env bash
# The README's second command.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --workspace
