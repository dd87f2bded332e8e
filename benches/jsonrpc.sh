#!/bin/sh
# JSON-RPC: one request in instructions and ns, then calls/s over TCP, WebSocket and HTTP, each beside jsonrpsee.
# Arguments go to flyrpc-compare: --smoke, --reps N, --time-ms T.
set -eu
cd "$(dirname "$0")/.."
own=${CARGO_TARGET_DIR:-target}/release
others=${CARGO_TARGET_DIR:-benches/compare/target}/release
cargo build --quiet --release --package flyrpc-benches --bin flyrpc-instructions
cargo build --quiet --release --locked --manifest-path benches/compare/Cargo.toml
for what in table time; do
    for cases in "$own/flyrpc-instructions" "$others/flyrpc-compare-cases"; do
        "$cases" "$what" JSON-RPC
        echo
    done
done
for name in flyrpc-tokio-jsonrpc flyrpc-tokio-jsonrpc-ws flyrpc-tokio-jsonrpc-http \
    flyrpc-smol-jsonrpc flyrpc-smol-jsonrpc-ws jsonrpsee-ws jsonrpsee-http; do
    set -- "$@" --only "$name"
done
exec benches/compare.sh --cell 16:1 --cell 16:64 --cell 16:1024 "$@"
