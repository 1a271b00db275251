#!/usr/bin/env bash
# From a fresh clone to attributions: ./quickstart.sh [--port N], and ./quickstart.sh stop.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/environment.sh
if [ "${1:-}" = stop ] && [ ! -x .venv/bin/python ]; then
    echo "no server of the quickstart was running"
    exit 0
fi
[ "${1:-}" = stop ] || make_environment serve,demo,tensormask
exec .venv/bin/python scripts/quickstart.py "$@"
