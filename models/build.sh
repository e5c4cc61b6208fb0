#!/usr/bin/env bash
# Makes the default bundle from its float weights and the pictures. DATA is the folder that holds
# resnet50-imagenette-fp32.safetensors, imagenette-train.tar and imagenette-val.tar.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${DATA:?say where the data lies: make models DATA=FOLDER}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo build --release --features tools
tool=target/release/resnetd-model
made=$work/resnet50-imagenette.nnef.tar
"$tool" import "$DATA/resnet50-imagenette-fp32.safetensors" -o "$work/float.nnef.tar"
"$tool" quantize "$work/float.nnef.tar" --calib "$DATA/imagenette-train.tar" --report -o "$made"
"$tool" eval "$made" "$DATA/imagenette-val.tar" --against "$work/float.nnef.tar" --write
"$tool" eval "$made" "$DATA/imagenette-val.tar" --fit-temperature --write
mv "$made" models/
