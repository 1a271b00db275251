#!/usr/bin/env bash
# A checkpoint becomes model_store/NAME.mar. ./archive.sh --help lists models and settings.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python="$here/.venv/bin/python"
[ -n "${VIRTUAL_ENV:-}" ] && python="$VIRTUAL_ENV/bin/python"
[ -x "$python" ] || python=$(command -v python3) || { echo "archive.sh: no Python found; run ./quickstart.sh once" >&2; exit 1; }
PYTHONPATH="$here/handler${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m intgrads.archives.bounded "$@"
