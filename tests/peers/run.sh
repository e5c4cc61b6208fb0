#!/usr/bin/env bash
# Compares our import and engine with PyTorch and ONNX Runtime on torchvision's networks: compare.py says what and how.
# PYTHON=... names an interpreter that has requirements.txt; without it target/venv-peers is made and used.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${PYTHON:-}" ]; then
    cross/need.sh python3-venv
    [ -x target/venv-peers/bin/python ] || python3 -m venv target/venv-peers
    PYTHON=target/venv-peers/bin/python
    "$PYTHON" -m pip install -q -r tests/peers/requirements.txt
fi
cargo build --quiet --features tools --bins
PYTHONDONTWRITEBYTECODE=1 "$PYTHON" tests/peers/compare.py "$@"
