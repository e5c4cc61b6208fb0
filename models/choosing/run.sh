#!/usr/bin/env bash
# Measures the networks that this project ships against their float weights in DATA (models/README.md), and writes docs/CHOOSING.md.
# What was measured once (choosing.py measure) stays on the page with its date: variants, and networks whose float weights are not there.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -n "${DATA:-}" ] || { echo "DATA=FOLDER says where the float weights and photographs lie: models/README.md" >&2; exit 2; }
cargo build --release --features tools --bins
work=target/choosing
mkdir -p "$work"
for bundle in models/resnet*-imagenette.nnef.tar; do
    name=$(basename "$bundle" .nnef.tar)
    weights=$DATA/$name-fp32.safetensors
    [ -f "$weights" ] || { echo "$weights is not there: ${name%-imagenette} is not measured anew" >&2; continue; }
    training=()
    if [ -f "$DATA/$name-fp32.json" ]; then training=(--training "$DATA/$name-fp32.json"); fi
    target/release/resnetd-model import "$weights" -o "$work/$name-float.nnef.tar"
    python3 models/choosing/choosing.py measure "${name%-imagenette}" --float "$work/$name-float.nnef.tar" --int8 "$bundle" \
        --val "$DATA/imagenette-val.tar" --how "as shipped" "${training[@]}"
done
python3 models/choosing/choosing.py render
