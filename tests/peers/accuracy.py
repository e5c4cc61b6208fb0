#!/usr/bin/env python3
"""What int8 costs: one network in float (which ONNX Runtime runs), in our int8 (ranges measured on photographs, and without
any), and as ONNX Runtime's static quantizer makes it, in every way that its manual advises, on the same photographs.

    accuracy.py --weights resnet50.safetensors --calib train.tar --val val.tar [--json FILE]

Exit 0 if ours loses at most 0.2 points of top-1, gives the float network's label on at least 99 % of the photographs and
not less often than the best of ONNX Runtime's, takes at most 1.5 GiB, and is not less often right than that, or than the float network where that one
was right more often than what it stands for, which is chance; 1 if not.

Ranges are measured on 512 photographs, spread evenly; ONNX Runtime's histograms, which are held in memory for all pictures
at once, on 96 of them. Needs requirements.txt; not a part of any test, because it takes the better part of an hour.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationMethod
from PIL import Image

import networks

sys.path.insert(0, str(Path(__file__).parents[2] / "models"))
import check_float

CALIBRATION = 512
HISTOGRAMS = 96
LOST = 0.002
AGREEMENT = 0.99
MEMORY = 1.5  # GiB
U8S8, S8S8 = (networks.Quantized("qdq", activations, True) for activations in ("u8", "s8"))
WAYS = {  # name: how, calibration method, weights in 7 bits
    "U8S8, minmax": (U8S8, CalibrationMethod.MinMax, False),
    "U8S8, minmax, 7-bit weights": (U8S8, CalibrationMethod.MinMax, True),
    "S8S8, minmax": (S8S8, CalibrationMethod.MinMax, False),
    "S8S8, entropy": (S8S8, CalibrationMethod.Entropy, False),
    "S8S8, percentile": (S8S8, CalibrationMethod.Percentile, False),
}


class Photographs:
    """The pictures of a tar archive of class folders, in the order of their names."""

    def __init__(self, path, prepare):
        self.path, self.prepare = path, prepare
        with tarfile.open(path, "r:") as archive:
            members = [m for m in archive if m.isfile() and m.name.lower().endswith((".jpg", ".jpeg", ".png"))]
        self.members = sorted(members, key=lambda m: m.name)
        folders = [PurePosixPath(m.name).parent.name for m in self.members]
        classes = sorted(set(folders))
        self.truth = np.array([classes.index(folder) for folder in folders])

    def spread(self, count):
        return [i * len(self.members) // count for i in range(min(count, len(self.members)))]

    def pictures(self, places):
        with open(self.path, "rb") as archive:
            for place in places:
                archive.seek(self.members[place].offset_data)
                data = archive.read(self.members[place].size)
                yield Image.open(io.BytesIO(data)).convert("RGB")

    def values(self, places):
        for picture in self.pictures(places):
            yield self.prepare(picture).numpy()


def as_png(photographs, path):
    """Decoded once, so that everybody sees the same pixels: decoders of JPEG differ in them, and labels with these."""
    members = photographs.members
    with tarfile.open(path, "w") as archive:
        for member, picture in zip(members, photographs.pictures(range(len(members)))):
            png = io.BytesIO()
            picture.save(png, "png", compress_level=1)
            entry = tarfile.TarInfo(str(PurePosixPath(member.name).with_suffix(".png")))
            entry.size = png.tell()
            png.seek(0)
            archive.addfile(entry, png)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--weights", "--calib", "--val"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--tool", type=Path, default=Path("target/release/resnetd-model"))
    parser.add_argument("--way", action="append", choices=WAYS, help="of ONNX Runtime's ways only this one; may be given several times")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep our bundles there: float, int8, free.nnef.tar")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found, too")
    args = parser.parse_args()
    network, prepare = check_float.load(args.weights)
    calib, val = (Photographs(path, prepare) for path in (args.calib, args.val))
    with tempfile.TemporaryDirectory() as folder:
        folder = args.keep or Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        val = Photographs(as_png(val, folder / "val.tar"), prepare)
        onnx = networks.export(network, folder / "float", 224, False)
        rows = Rows(args, val.truth, theirs(onnx, val))
        for name, path in int8_bundles(args, folder).items():
            rows.add(f"ours, {name}", ours(args, path, val))
        for name in args.way or WAYS:
            how, method, narrow = WAYS[name]
            count = CALIBRATION if method == CalibrationMethod.MinMax else HISTOGRAMS
            path = networks.quantize(onnx, how, calib.values(calib.spread(count)), narrow, method)
            rows.add(f"ONNX Runtime, {name}", theirs(path, val))
            path.unlink()
    return report(args, rows.rows)


class Rows:
    """What each network says of all pictures, held against the truth and the float network; written as soon as it is known."""

    def __init__(self, args, truth, float_labels):
        self.args, self.truth, self.float_labels, self.rows = args, truth, float_labels, []
        self.add("float", float_labels)

    def add(self, name, labels):
        assert len(labels) == len(self.truth), f"{name}: {len(labels)} labels for {len(self.truth)} pictures"
        right, same = (float((labels == other).mean()) for other in (self.truth, self.float_labels))
        self.rows.append({"name": name, "top1": right, "images": len(labels), "agreement": same})
        print(line(self.rows[-1]), flush=True)
        if self.args.json:
            self.args.json.write_text(json.dumps({"weights": self.args.weights.name, "rows": self.rows}, indent=1) + "\n")


def int8_bundles(args, folder):
    """Ours: ranges measured on photographs, and without any."""
    bundle = lambda name: folder / f"{name}.nnef.tar"
    run(args.tool, "import", args.weights, "-o", bundle("float"))
    run(args.tool, "quantize", bundle("float"), "--calib", args.calib, "-o", bundle("int8"))
    run(args.tool, "quantize", bundle("float"), "--data-free", "-o", bundle("free"))
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"resnetd-model took at most {memory:.2f} GiB", flush=True)
    if memory > MEMORY:
        raise SystemExit(f"more than the {MEMORY} GiB that are promised")
    return {"int8": bundle("int8"), "int8 without photographs": bundle("free")}


def ours(args, bundle, val):
    return np.array(json.loads(run(args.tool, "eval", bundle, val.path, "--json"))["predicted"])


def theirs(path, val):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    places = range(len(val.members))
    return np.array([session.run(None, {"image": x[None]})[0].argmax() for x in val.values(places)])


def run(*command):
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def line(row):
    return f"{row['name']:45}{row['top1']:>9.2%}{row['agreement']:>9.2%}"


def report(args, rows):
    print(f"\n{args.weights.name}: top-1 and the float network's label, {rows[0]['images']} photographs")
    print("\n".join(line(row) for row in rows))
    original, ours = rows[0], rows[1]
    theirs = [row for row in rows if row["name"].startswith("ONNX Runtime, ")]
    best = {what: max(row[what] for row in theirs) for what in ("top1", "agreement")}
    good = {
        f"at most {LOST * 100} points lost": original["top1"] - ours["top1"] <= LOST,
        f"the same label on {AGREEMENT:.0%}": ours["agreement"] >= AGREEMENT,
        "not less often right than ONNX Runtime's best, chance apart": ours["top1"] >= min(best["top1"], original["top1"]),
        "not less often the same label than ONNX Runtime's best": ours["agreement"] >= best["agreement"],
    }
    for what, held in good.items():
        print(f"{'ok  ' if held else 'FAIL'} {what}")
    return 0 if all(good.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
