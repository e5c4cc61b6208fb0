#!/usr/bin/env bash
# Compares the float network with PyTorch, and the int8 bundle with the float one, on real photographs. Slow: it
# installs PyTorch (1.2 GB) into target/ and runs thousands of inferences. DATA as for build.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${DATA:-}" ]; then
    echo "SKIPPED: the comparison with PyTorch and on photographs; DATA=FOLDER says where they lie (models/README.md)" >&2
    exit 0
fi
work=target/check
mkdir -p "$work"
[ -x target/venv-torch/bin/python ] || python3 -m venv target/venv-torch
target/venv-torch/bin/pip install -q -r models/train/requirements.txt
cargo build --release --features tools
tool=target/release/resnetd-model
weights=$DATA/resnet50-imagenette-fp32.safetensors
"$tool" import "$weights" -o "$work/float.nnef.tar"
target/venv-torch/bin/python models/check_float.py --make-png "$DATA/imagenette-val.tar" "$work/png" 400
target/release/resnetd classify --json --logits --model "$work/float.nnef.tar" "$work"/png/*.png > "$work/ours.jsonl"
target/venv-torch/bin/python models/check_float.py --bundle-logits "$work/ours.jsonl" --weights "$weights" --raw "$work/png"
"$tool" eval models/resnet50-imagenette.nnef.tar "$DATA/imagenette-val.tar" --against "$work/float.nnef.tar" --json > "$work/eval.json"
python3 - "$work/eval.json" <<'PYTHON'
import json, sys
found = json.load(open(sys.argv[1]))
other = found["against"]
lost = 100 * (other["top1"] - found["top1"])
print(f"int8 {found['top1']:.4f}, float {other['top1']:.4f}: {lost:.2f} points lost, the same label on {other['agreement']:.4f}")
sys.exit(not (lost <= 0.2 and other["agreement"] >= 0.99))
PYTHON
