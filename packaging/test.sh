#!/usr/bin/env bash
# Installs what the tests need and runs all of them, those on real libvirt, QEMU guests and HAProxy included.
# What this machine cannot run is named in a line `SKIPPED name: why` and counted at the end.
#   --yes   installs without asking
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/packaging/common.sh"
case ${1:-} in --yes | -y) ASSUME_YES=1 ;; esac

# shellcheck disable=SC2086 # lists of names
install_packages $BUILD_PACKAGES $WINDOW_PACKAGES $LAB_PACKAGES $TEST_PACKAGES
install_rust

cd "$root"
if [ "${CI:-}" = true ]; then
    # Kept from one run to the next, outside the checkout.
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/shadowcast/target}"
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()

step() {
    local name=$1
    shift
    say "== $name"
    "$@" 2>&1 | tee -a "$log" || failed+=("$name")
}

cargo_deny() {
    if ! command -v cargo-deny >/dev/null; then
        echo "SKIPPED cargo-deny: it is not installed (cargo install cargo-deny)"
        return 0
    fi
    cargo deny --locked check bans licenses sources || return 1
    if cargo deny --locked fetch db >/dev/null 2>&1; then
        cargo deny --locked check advisories
    else
        echo "SKIPPED cargo-deny advisories: the advisory database cannot be reached"
    fi
}

doc() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps; }

step "cargo fmt" cargo fmt --check
step "cargo clippy" cargo clippy --locked --all-targets -- -D warnings
step "cargo test" cargo test --locked --no-fail-fast
step "cargo doc" doc
step "cargo deny" cargo_deny

say
say "skipped on this machine: $(grep -c '^SKIPPED ' "$log" || true)"
grep '^SKIPPED ' "$log" >&2 || true
# The sum of the closing lines of all test programs, in their own words.
awk '/^test result: / {
        programs++
        if ($3 != "ok.") bad = 1
        for (i = 4; i < NF; i++) {
            if ($(i + 1) ~ /^passed/) passed += $i
            if ($(i + 1) ~ /^failed/) failed += $i
            if ($(i + 1) ~ /^ignored/) ignored += $i
        }
    }
    END {
        verdict = (programs && !bad) ? "ok" : "FAILED"
        printf "test result: %s. %d passed; %d failed; %d ignored; in %d test programs\n", verdict, passed, failed, ignored, programs
    }' "$log"
if [ ${#failed[@]} -gt 0 ]; then
    say "failed: ${failed[*]}"
    exit 1
fi
