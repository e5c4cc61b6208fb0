#!/usr/bin/env bash
# The whole way from pictures to an int8 bundle, with a network so small that it takes two minutes: train on rendered
# shapes, grow, distil, export, import, quantize, evaluate. Before that the recipes' own tests.
# PYTHON=... names an interpreter that has requirements.txt; without it target/venv-torch is made and used.
set -euo pipefail
cd "$(dirname "$0")/../.."
recipes=models/train
if [ -z "${PYTHON:-}" ]; then
    cross/need.sh python3-venv
    [ -x target/venv-torch/bin/python ] || python3 -m venv target/venv-torch
    PYTHON=target/venv-torch/bin/python
    "$PYTHON" -m pip install -q -r "$recipes/requirements.txt"
fi
cargo build --quiet --features tools --bins
tool=target/debug/resnetd-model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# So small a network gains nothing from a second thread, and loses much where another program wants the core.
export OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1

train() { "$PYTHON" "$recipes/train.py" "$@"; }
common=(--val "$work/val" --crop 64 --batch 32 --cache "$work/cache")

"$PYTHON" -m unittest discover -q -s "$recipes"
train shapes "$work/train" --pictures 1000
train shapes "$work/val" --pictures 200 --seed 1
train fit "$work/train" "${common[@]}" --arch 1,2,1 --width 16 --lr 0.4 --epochs 12 --sizes 48:0.5,64:0.5 --out "$work/small"
train grow "$work/small/weights.safetensors" --to 1,4,1 -o "$work/grown.safetensors"
if train grow "$work/small/weights.safetensors" --to 1,1,1 -o "$work/none.safetensors" 2> "$work/refused"; then
    echo "a network shrank" >&2
    exit 1
fi
train distill "$work/train" "${common[@]}" --from "$work/grown.safetensors" --teacher "$work/small/weights.safetensors" \
    --teacher-size 64 --features 1 --epochs 1 --sizes 64 --out "$work/run"
train export "$work/run" -o "$work/exported.safetensors"

"$tool" import "$work/exported.safetensors" -o "$work/float.nnef.tar"
"$tool" quantize "$work/float.nnef.tar" --calib "$work/train" -o "$work/int8.nnef.tar"
target/debug/resnetd classify --json --logits --model "$work/float.nnef.tar" "$work"/val/*/*.png > "$work/logits"
"$tool" eval "$work/int8.nnef.tar" "$work/val" --against "$work/float.nnef.tar" --json > "$work/eval"
"$PYTHON" "$recipes/smoke_check.py" "$work/exported.safetensors" "$work/run/weights.json" "$work/logits" "$work/eval"
