#!/usr/bin/env python3
"""Imports torchvision's networks from every kind of file and compares the logits with PyTorch's and ONNX Runtime's.

    tests/peers/run.sh [--only resnet18,resnet50] [--keep FOLDER]

Float files must agree with PyTorch within a thousandth of the largest logit. Quantized ones must be within one step of
the output's scale of ONNX Runtime where it runs them on integers (all graph optimizations, also for i8 activations),
and name the same class wherever its first two logits are more than two steps apart.

ONNX Runtime without optimizations is shown beside that, and how far it is from its own integers: it sums floats
between the roundings, so that a sum that lies within 1e-5 of the middle between two steps now and then falls to
the other side (7 of 1.8 million in ResNet18), and what comes after makes some output steps of that.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

import networks
import pictures
from networks import Quantized

SIZE = 64
PICTURES = 9
CALIBRATION = 12
FLOAT = 1e-3
ALL = [
    Quantized(form, activations, per_channel)
    for form in ("qdq", "qoperator")
    for activations in ("u8", "s8")
    for per_channel in (False, True)
]
FEW = [Quantized("qdq", "s8", True), Quantized("qoperator", "u8", True), Quantized("qoperator", "s8", False)]
NETWORKS = {
    "resnet18": ALL,
    "resnet34": ALL,
    "resnet50": ALL,
    "resnet101": FEW,
    "resnext50_32x4d": FEW,
    "wide_resnet50_2": FEW,
}


@dataclass
class Row:
    network: str
    file: str
    worst: str
    ok: bool


class Ours:
    """The two programs that are tried."""

    def __init__(self, binaries, folder, images):
        self.binaries, self.folder, self.images = binaries, folder, images
        self.labels = folder / "labels.txt"
        self.labels.write_text("".join(f"class {i}\n" for i in range(networks.CLASSES)))

    def logits(self, path):
        """Raises CalledProcessError, which knows what was said, where a program refuses."""
        bundle = self.folder / "ours.nnef.tar"
        sizes = ["--resize", str(SIZE), "--crop", str(SIZE)]
        told = ["--labels", self.labels, *sizes, "-o", bundle]
        self.call("resnetd-model", "import", path, *told)
        lines = self.call("resnetd", "classify", "--json", "--logits", "--model", bundle, *self.images)
        return np.array([json.loads(line)["logits"] for line in lines.splitlines()], np.float64)

    def call(self, program, *arguments):
        command = [self.binaries / program, *map(str, arguments)]
        return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def runtime(path, values, integers):
    """What ONNX Runtime says: fused and on integers, or node by node as the file has them."""
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if integers else levels.ORT_DISABLE_ALL
    options.add_session_config_entry("session.qdqisint8allowed", "1")  # else i8 convolutions stay float on x86
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": value[None]})[0] for value in values]).astype(np.float64)


def float_verdict(ours, want):
    worst = (abs(ours - want).max(axis=1) / abs(want).max(axis=1)).max()
    return f"{worst:.1e} of the largest", bool(worst <= FLOAT)


def steps_apart(ours, want, step):
    return round(abs(ours - want).max() / step)


def quantized_verdict(ours, integers, floats, step):
    worst = steps_apart(ours, integers, step)
    first, second = np.sort(integers, axis=1)[:, ::-1][:, :2].T
    sure = first - second > 2.001 * step
    other = int(((ours.argmax(axis=1) != integers.argmax(axis=1)) & sure).sum())
    told = [f"{worst} steps, another class on {other} of {int(sure.sum())}"]
    told.append(f"node by node {steps_apart(ours, floats, step)}, its own two {steps_apart(integers, floats, step)}")
    return "; ".join(told), worst <= 1 and other == 0


def sums_overflow():
    """True where ONNX Runtime adds pairs of products in 16 bits: x86 without VNNI."""
    with open("/proc/cpuinfo") as lines:
        flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(flags) and "vnni" not in flags


class Trial:
    """One network, and every file of it."""

    def __init__(self, name, folder, ours, shown):
        self.name, self.folder, self.ours, self.shown = name, folder, ours, shown
        self.values = pictures.normalized(shown)
        self.rows = []

    def run(self, ways):
        net = networks.network(self.name, SIZE, seed=len(self.name))
        want = networks.logits(net, self.values)
        stem = self.folder / self.name
        exported = [networks.export(net, stem, SIZE, dynamo) for dynamo in (False, True)]
        files = networks.write_weights(net, stem) + list(zip(("onnx of torchscript", "onnx of dynamo"), exported))
        for kind, path in files:
            self.row(kind, lambda path=path: float_verdict(self.ours.logits(path), want))
        calibration = pictures.normalized(pictures.some(CALIBRATION, SIZE, seed=1000))
        for way in ways:
            # each exporter's graph gets half of the ways
            source = exported[way.activations == "u8"]
            path = networks.quantize(source, way, calibration, reduce_range=sums_overflow())
            self.row(str(way), lambda path=path: self.quantized(path))
            path.unlink()
        return self.rows

    def quantized(self, path):
        integers, floats = (runtime(path, self.values, fused) for fused in (True, False))
        return quantized_verdict(self.ours.logits(path), integers, floats, networks.output_step(path))

    def row(self, kind, verdict):
        try:
            worst, ok = verdict()
        except subprocess.CalledProcessError as refused:
            worst, ok = refused.stderr.strip(), False
        print(f"{self.name}, {kind}: {worst}", file=sys.stderr, flush=True)
        self.rows.append(Row(self.name, kind, worst, ok))


def table(rows):
    cells = [("network", "file", "worst difference", "verdict")]
    cells += [(row.network, row.file, row.worst, "ok" if row.ok else "FAILED") for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    for line in cells:
        print("  ".join([*(text.ljust(width) for text, width in zip(line, widths)), line[3]]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(NETWORKS), help="networks, with commas between them")
    parser.add_argument("--binaries", type=Path, default=Path("target/debug"), help="where the programs lie")
    parser.add_argument("--keep", type=Path, help="a folder for the files, instead of one that is removed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        shown = pictures.some(PICTURES, SIZE, seed=2000)
        ours = Ours(arguments.binaries, folder, pictures.write(shown, folder))
        rows = []
        for name in arguments.only.split(","):
            rows += Trial(name, folder, ours, shown).run(NETWORKS[name])
    table(rows)
    failed = sum(not row.ok for row in rows)
    print(f"\n{len(rows)} files, {failed} failed", file=sys.stderr)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
