#!/usr/bin/env python3
"""Judges what smoke.sh made: does the float bundle say what PyTorch says, and the int8 one what the float one says?

    smoke_check.py WEIGHTS FIGURES LOGITS EVAL

FIGURES is the JSON that a training leaves, LOGITS are the lines of `resnetd classify --json --logits` with the float bundle,
EVAL the JSON of `resnetd-model eval INT8 DATA --against FLOAT --json`. Exits with 1 and says why if not."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import export
import resnet
from crops import normalized
from pictures import as_the_device_does

LOGITS_WITHIN = 1e-3  # of each picture's largest
LEARNED = 0.6  # of five shapes; a guess is right on 0.2
SAME_LABEL = 0.95  # int8 and float
LOST = 0.03  # of top-1, by int8


def differences(weights, lines):
    """Of each picture's logits, relative to the largest, and whether the first label is the same."""
    tensors, texts = resnet.read(weights)
    about, network = export.described(texts), resnet.build(tensors).eval()
    for line in lines:
        picture = Image.open(line["file"]).convert("RGB")
        crop = torch.from_numpy(np.array(as_the_device_does(picture, about["resize"], about["crop"])))
        with torch.inference_mode():
            theirs = network(normalized(crop[None], about["mean"], about["std"], "cpu"))[0]
        ours = torch.tensor(line["logits"])
        yield ((ours - theirs).abs().max() / theirs.abs().max()).item(), ours.argmax() == theirs.argmax()


def main(weights, figures, logits, evaluation):
    figures = json.loads(Path(figures).read_text())
    lines = [json.loads(line) for line in Path(logits).read_text().splitlines()]
    found = json.loads(Path(evaluation).read_text())
    count, other = found["images"], found["against"]
    largest, same = (f(values) for f, values in zip((max, all), zip(*differences(weights, lines))))
    claimed = figures["top1_val_float"]
    checks = {
        f"{len(lines)} pictures' logits are PyTorch's, the largest difference {largest:.1e}": same and largest < LOGITS_WITHIN,
        f"all {count} pictures were evaluated": count == figures["val_images"] == len(lines) and not found["skipped"],
        f"the network learned: top-1 {claimed:.2%} in PyTorch": claimed >= LEARNED,
        f"the float bundle is as good: {other['top1']:.2%}": abs(other["top1"] - claimed) <= 1.5 / count,
        f"the int8 bundle nearly: {found['top1']:.2%}": other["top1"] - found["top1"] <= LOST,
        f"int8 and float give the same label on {other['agreement']:.2%}": other["agreement"] >= SAME_LABEL,
    }
    for says, good in checks.items():
        print(f"{'ok  ' if good else 'FAIL'} {says}")
    return not all(checks.values())


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
