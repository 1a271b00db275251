#!/usr/bin/env bash
# The GPU table of docs/speed.md, in under eight minutes where there is a GPU: benchmarks/gpu.sh [OPTIONS OF run.py].
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-.venv/bin/python}" benchmarks/run.py gpu --device cuda --rounds 3 "$@"
