#!/usr/bin/env bash
# Builds the firmware for the Cortex-M3: ./build.sh [CARGO ARGUMENTS], as ./build.sh --bin board
#
# Takes rustup's target where it is installed, else a compiler for it that CROSS_TOOLCHAIN names (a script that is given
# `build TARGET ARGUMENTS`; by default the one beside the repository, if there is one). CORE=rebuild builds Rust's own
# library with the same settings: smaller, but that takes an unstable feature of cargo's.
set -euo pipefail
cd "$(dirname "$0")"

target=thumbv7m-none-eabi
cross=${CROSS_TOOLCHAIN:-../../../shared/tools/cross-toolchain.sh}
arguments=(--release --features board "$@")

if rustup target list --installed 2>/dev/null | grep -qx "$target"; then
    if [ "${CORE:-}" = rebuild ]; then
        RUSTC_BOOTSTRAP=1 exec cargo build -Zbuild-std=core --target "$target" "${arguments[@]}"
    fi
    exec cargo build --target "$target" "${arguments[@]}"
elif [ -x "$cross" ]; then
    if [ "${CORE:-}" = rebuild ]; then
        exec "$cross" cargo build -Zbuild-std=core --target "$target" "${arguments[@]}"
    fi
    exec "$cross" build "$target" "${arguments[@]}"
fi
printf '%s: no compiler for %s: rustup target add %s\n' "$0" "$target" "$target" >&2
exit 1
