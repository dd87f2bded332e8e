#!/bin/sh
# flyrpc beside raw sockets, tarpc and tonic, as a Markdown table. Arguments go to flyrpc-compare: --smoke, --help.
set -eu
cd "$(dirname "$0")/.."
own=${CARGO_TARGET_DIR:-target}/release
others=${CARGO_TARGET_DIR:-benches/compare/target}/release/flyrpc-compare-peers
cargo build --quiet --release --package flyrpc-benches --bin flyrpc-bench-peer --bin flyrpc-compare
cargo build --quiet --release --locked --manifest-path benches/compare/Cargo.toml
exec "$own/flyrpc-compare" --extern "tarpc=$others" --extern "tonic=$others" "$@"
