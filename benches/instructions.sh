#!/bin/sh
# Instructions and allocations per operation, as a Markdown table. With an argument: of the cases with it in their names.
set -eu
cd "$(dirname "$0")/.."
if ! command -v valgrind >/dev/null; then
    echo "instructions.sh: valgrind is not installed; instructions are counted with it (Debian: apt-get install valgrind)" >&2
    exit 1
fi
cargo build --quiet --release --package flyrpc-benches --bin flyrpc-instructions
exec "${CARGO_TARGET_DIR:-target}/release/flyrpc-instructions" table "$@"
