#!/usr/bin/env bash
# What is known of the packages that are installed: weaknesses, licences, and a list of all of them (SBOM, CycloneDX).
#   pip install pip-audit pip-licenses cyclonedx-bom && scripts/audit.sh [FOLDER]
# Weaknesses are asked of pypi.org, so that it needs the internet; it ends with 1 where one is found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-.run/audit}
mkdir -p "$out"
cyclonedx-py environment .venv/bin/python --output-reproducible --output-file "$out/sbom.json"
pip-licenses --python .venv/bin/python --from mixed --format json --output-file "$out/licences.json"
echo "$out/sbom.json and $out/licences.json are written; asking for known weaknesses"
# --strict: a package that nothing could be learnt of counts as one that was not looked at.
pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock
