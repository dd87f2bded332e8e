#!/usr/bin/env bash
# Installs what the JSON-RPC peers stand on, into target/peers: for people and for .ci/run.
#
#   cli/tests/peers/jsonrpc/install.sh
#
# What is there already is left alone. A program that is missing and can't be installed is named, and the exit code
# is 1; everything else is installed nevertheless.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
peers=${FLYRPC_PEERS:-$root/target/peers}
missing=()

has() { command -v "$1" >/dev/null; }

# PROGRAM PACKAGE...: the program, from Debian's packages where they can be installed
need() {
    local program=$1
    shift
    has "$program" && return
    if [ "$(id -u)" = 0 ] && has apt-get; then
        # The lists may be older than the packages are.
        { apt-get install -y -qq --no-install-recommends "$@" ||
            { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; }; } >/dev/null 2>&1
    fi
    has "$program" || { missing+=("$program"); return 1; }
}

# NAME SOURCE COMMAND...: runs the command in the folder of that name, unless it has succeeded with this very source
install() {
    local name=$1 source=$2
    shift 2
    if ! cmp -s "$source" "$peers/$name/.installed"; then
        mkdir -p "$peers/$name"
        (cd "$peers/$name" && "$@") >"$peers/$name.log" 2>&1 && cp "$source" "$peers/$name/.installed" || {
            tail -n 20 "$peers/$name.log" >&2
            missing+=("the packages of $name")
        }
    fi
}

node_packages() {
    cp "$here/node/package.json" "$here/node/package-lock.json" . && npm ci --no-audit --no-fund
}

python_packages() {
    python3 -m venv . && bin/pip install --disable-pip-version-check --requirement "$here/python/requirements.txt"
}

mkdir -p "$peers"
need go golang-go
need clangd clangd
need node nodejs && need npm npm && install node "$here/node/package-lock.json" node_packages
# Without ensurepip there is a venv module that can't make one.
if ! python3 -c 'import ensurepip, venv' 2>/dev/null && [ "$(id -u)" = 0 ] && has apt-get; then
    apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null 2>&1
fi
need python3 python3 && install python "$here/python/requirements.txt" python_packages
# The tests build it again where its source has changed; this fetches what it depends on.
CARGO_TARGET_DIR="$peers/jsonrpsee" cargo build --quiet --locked --manifest-path "$root/tests/jsonrpsee/Cargo.toml" ||
    missing+=("jsonrpsee")

if [ ${#missing[@]} -gt 0 ]; then
    printf 'missing for the JSON-RPC peers: %s\n' "${missing[@]}" >&2
    exit 1
fi
