#!/usr/bin/env bash
# Measures the size programs: builds them, runs each in QEMU with traffic, prints a Markdown table
#
#   ./size.sh            the table
#   ./size.sh --check    fails where a limit is passed, or where a panic or a heap is linked
#   ./size.sh --quick    without the column "core rebuilt"
#   ./size.sh --readme   writes the table into the repository's README too, and that of --parts into benches/NOTES.md
#   ./size.sh --quick --functions size-server    the largest functions of a program
#   ./size.sh --quick --sources size-server      the same by where they stand in the source, inlined ones too
#   ./size.sh --quick --parts                    where the bytes of all of them go
#
# Needs qemu-system-arm, python3, and nm and size of binutils or LLVM; --sources and --parts LLVM's objdump and symbolizer.
set -euo pipefail
cd "$(dirname "$0")"

output=${CARGO_TARGET_DIR:-$PWD/target}
quick=0
for argument in "$@"; do [ "$argument" != --quick ] || quick=1; done

programs=(--bin size-server --bin size-server-256 --bin size-server-framed
          --bin size-peer --bin size-peer-256 --bin size-peer-framed)
./build.sh --quiet "${programs[@]}"
if [ "$quick" = 0 ]; then
    CORE=rebuild CARGO_TARGET_DIR="$output/core-rebuilt" ./build.sh --quiet "${programs[@]}"
fi
exec python3 size/measure.py "$output" "$@"
