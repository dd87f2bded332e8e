#!/usr/bin/env bash
# Installs what the test in a browser stands on, into target/peers: for people and for .ci/run.
#
#   cli/tests/browser/install.sh
#
# Node and Chromium come from Debian's packages where they are missing and may be installed. A program that can't be had is
# named, and the exit code is 1.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
folder=${FLYRPC_PEERS:-$root/target/peers}/browser
missing=()

# PROGRAM PACKAGE: the program, from Debian's package where it can be installed
need() {
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        # The lists may be older than the packages are.
        { apt-get install -y -qq --no-install-recommends "$2" ||
            { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2"; }; } >/dev/null 2>&1
    fi
    command -v "$1" >/dev/null || { missing+=("$1"); return 1; }
}

need chromium chromium
if need node nodejs && need npm npm && ! cmp -s "$here/package-lock.json" "$folder/.installed"; then
    mkdir -p "$folder"
    cp "$here/package.json" "$here/package-lock.json" "$folder"
    if (cd "$folder" && npm ci --no-audit --no-fund) >"$folder.log" 2>&1; then
        cp "$here/package-lock.json" "$folder/.installed"
    else
        tail -n 20 "$folder.log" >&2
        missing+=("the packages of Node")
    fi
fi

if [ ${#missing[@]} -gt 0 ]; then
    printf 'missing for the test in a browser: %s\n' "${missing[@]}" >&2
    exit 1
fi
