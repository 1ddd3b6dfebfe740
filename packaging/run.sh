#!/usr/bin/env bash
# Installs what is missing on Debian or Ubuntu, builds, and opens the console.
#   packaging/run.sh              on the demo fleet
#   packaging/run.sh --lab        on real VMs: starts the lab first
#   packaging/run.sh [--lab] …    further arguments go to shadowcast
#   --yes                         installs without asking
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/packaging/common.sh"

lab=
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        --yes | -y) ASSUME_YES=1 ;;
        --lab) lab=1 ;;
        *) arguments+=("$1") ;;
    esac
    shift
done

# shellcheck disable=SC2086 # lists of names
install_packages $BUILD_PACKAGES $WINDOW_PACKAGES ${lab:+$LAB_PACKAGES}
install_rust

cd "$root"
cargo build --release --locked
shadowcast="${CARGO_TARGET_DIR:-$root/target}/release/shadowcast"

if [ -n "$lab" ]; then
    # Data of its own: the lab's sources do not mix with real ones.
    export SHADOWCAST_DATA_DIR="${SHADOWCAST_DATA_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/shadowcast-lab}"
    # `--lab lab down` and its like speak to the lab as it is.
    if [ "${arguments[0]:-}" != lab ]; then
        "$shadowcast" lab up
        say "The lab runs on after the console is closed; to end it: packaging/run.sh --lab lab down"
    fi
elif [ ${#arguments[@]} -eq 0 ] || { [[ ${arguments[0]} == -* ]] && [[ " ${arguments[*]} " != *" --demo "* ]]; }; then
    arguments=(--demo "${arguments[@]}")
fi
exec "$shadowcast" "${arguments[@]}"
