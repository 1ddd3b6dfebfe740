#!/usr/bin/env bash
# Our models and the field's tools on the same moments of recorded load, in one go and on one core; prints one table.
#
#   benches/peers/run.sh DIR [--every 6] [--only NAME,…] [--slow]
#
# DIR holds vm_load.csv.gz and origins.csv (formats: `shadowcast backtest --help`). The peers come from PyPI into a
# folder of their own; one that cannot be installed is skipped by name. SHADOWCAST names a binary that is built already.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }

binary=${SHADOWCAST:-}
if [ -z "$binary" ]; then
    target=${CARGO_TARGET_DIR:-$here/../../target}
    cargo build --release --manifest-path "$here/../../Cargo.toml" --bin shadowcast >&2
    binary=$target/release/shadowcast
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/shadowcast/peers
[ -x "$cache/bin/python" ] || python3 -m venv "$cache"
while read -r package; do
    [ -n "$package" ] || continue
    "$cache/bin/pip" install --quiet --disable-pip-version-check "$package" >&2 ||
        echo "! ${package%%>*} could not be installed; what needs it is skipped" >&2
done <"$here/requirements.txt"

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1
exec nice "$cache/bin/python" -B "$here/peers.py" --shadowcast "$binary" "$@"
