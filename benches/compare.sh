#!/bin/sh
# flyrpc beside raw sockets, tarpc, tonic and jsonrpsee, as a Markdown table. Arguments go to flyrpc-compare: --smoke, --help.
set -eu
cd "$(dirname "$0")/.."
own=${CARGO_TARGET_DIR:-target}/release
others=${CARGO_TARGET_DIR:-benches/compare/target}/release/flyrpc-compare-peers
cargo build --quiet --release --package flyrpc-benches --bin flyrpc-bench-peer --bin flyrpc-compare
cargo build --quiet --release --locked --manifest-path benches/compare/Cargo.toml
for name in tarpc tonic jsonrpsee-ws jsonrpsee-http; do
    set -- "$@" --extern "$name=$others"
done
exec "$own/flyrpc-compare" "$@"
