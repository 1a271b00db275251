#!/usr/bin/env bash
# Write requirements.lock anew from pyproject.toml and constraints.txt, by uv: pip install uv && scripts/lock.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
made=$(mktemp)
trap 'rm -f "$made"' EXIT
uv pip compile pyproject.toml --all-extras --constraint constraints.txt --generate-hashes --python-version 3.11.7 \
    --python-platform x86_64-manylinux_2_28 --no-header --no-annotate --no-emit-index-url --quiet --output-file "$made"
{
    echo "# Every extra, at the versions of constraints.txt, for Linux on x86-64 and Python 3.11, each file by its hash."
    echo "# Written by scripts/lock.sh: pip install --require-hashes -r requirements.lock, then pip install --no-deps ."
    cat "$made"
} >requirements.lock
