#!/usr/bin/env bash
# Every check and every test, in an environment of its own making: ./run_tests.sh [PYTEST ARGUMENTS].
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/environment.sh
make_environment serve,demo,app,ray,tensormask,dev,docs
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
.venv/bin/lint-imports --no-logo --no-cache
export OMP_WAIT_POLICY=PASSIVE # threads that wait must not spin where cores are shared
exec .venv/bin/python -m pytest "$@"
