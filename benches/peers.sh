#!/bin/sh
# flyrpc in another harness that speaks the same lines (see src/peer/kit/session.rs), beside that harness's own peers:
#
#   benches/peers.sh HARNESS MODE [arguments of its `peers run`]
#
# HARNESS is the directory of its sources, which are only read; MODE is quick, full or smoke.
# FLYRPC_PEERS names the variants, "flyrpc flyrpc-smol flyrpc-blocking@1" by default; @1 is for one call at a time.
# Results: peers/MODE.jsonl and peers/MODE.md in the target directory.
set -eu
if [ $# -lt 2 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
harness=$1 mode=$2
shift 2
case $harness in /*) ;; *) harness=$PWD/$harness ;; esac
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --quiet --release --package flyrpc-benches --bin flyrpc-bench-peer
cargo build --quiet --release --locked --manifest-path "$harness/Cargo.toml" --target-dir "$target/peers/build"
for name in ${FLYRPC_PEERS:-flyrpc flyrpc-smol flyrpc-blocking@1}; do
    set -- "$@" --extern "$name=$target/release/flyrpc-bench-peer"
done
peers=$target/peers/build/release/peers
"$peers" run --mode "$mode" --out "$target/peers/$mode.jsonl" "$@"
"$peers" report "$target/peers/$mode.jsonl" | tee "$target/peers/$mode.md"
