#!/usr/bin/env python3
"""Writes docs/CHOOSING.md: ResNet50 and ResNet101 side by side, and what is made of them, in figures that this measured.

    choosing.py measure resnet50 --float FLOAT --int8 BUNDLE --val VAL.tar [--how TEXT] [--training WEIGHTS.json]
    choosing.py render

`measure` puts one network's figures, with their date, into measured.json; `render` makes the page and its plots of all that
lie there. `make choosing DATA=FOLDER` does both for the two networks that this project ships. Nothing else should
run meanwhile.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import render

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("measured.json")
RELEASE = ROOT / "target/release"
ITERATIONS = 40


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure", help="measure one network")
    measuring.add_argument("name", help="as the page is to call it")
    for what in ("--float", "--int8", "--val"):
        measuring.add_argument(what, type=Path, required=True)
    measuring.add_argument("--how", default="", help="how it was made, in a few words")
    measuring.add_argument("--training", type=Path, action="append", metavar="JSON",
                           help="what models/train wrote beside the weights; several times if it was trained several times")  # fmt: skip
    commands.add_parser("render", help="write the page")
    args = parser.parse_args()
    known = json.loads(FILE.read_text()) if FILE.exists() else {"networks": {}}
    if args.command == "measure":
        known["machine"] = machine()
        known["networks"][args.name] = network(args)
        FILE.write_text(json.dumps(known, indent=1) + "\n")
    else:
        known["published"] = {arch: published(arch) for arch in ("resnet50", "resnet101")}
        render.write(known, ROOT / "docs")


def run(*command, **environment):
    done = subprocess.run(
        [str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    return done.stdout


def resnetd(*arguments):
    return json.loads(run(RELEASE / "resnetd", *arguments, "--json"))


def machine():
    said = run("lscpu", LC_ALL="C")
    name = re.search(r"^Model name:\s*(.*)$", said, re.M)
    return {"processor": name.group(1) if name else "unknown processor", "cores": os.cpu_count(), "date": str(date.today())}


def network(args):
    said = resnetd("inspect", args.int8)
    found = {
        "date": str(date.today()),
        "arch": said["arch"],
        "how": args.how,
        "params": said["params"],
        "macs": said["macs"],
        "file_mib": args.int8.stat().st_size / 2**20,
        "time": times(args),
        "instructions": instructions(args.int8),
        "accuracy": accuracy(args),
    }
    if args.training:
        found["training"] = training([json.loads(path.read_text()) for path in args.training])
    return found


def training(runs):
    """One training after the other, as one; time is unknown if one of them did not write it down."""
    first, last = runs[0], runs[-1]
    seconds = [run.get("seconds") for run in runs]
    return {
        "from": first.get("from"),
        "trained_on": last["trained_on"],
        "epochs": round(sum(run["epochs"] for run in runs), 2),
        "seconds": None if None in seconds else sum(seconds),
        "on": last.get("on"),
    }


def times(args):
    """Medians in ms, and the memory of the whole process; each thread count in a process of its own."""
    found = {}
    for threads in sorted({1, os.cpu_count()}):
        bundle = resnetd("bench", args.int8, "--threads", threads, "--iters", ITERATIONS)["bundles"][0]
        found[f"int8_{threads}"] = bundle["p50_ms"]
        found["isa"], found["rss_mib"] = bundle["isa"], bundle["rss_mib"]
    found["float_1"] = resnetd("bench", args.float, "--iters", ITERATIONS // 4)["bundles"][0]["p50_ms"]
    return found


def instructions(bundle):
    """M instructions of one inference as each ARM core; nothing where the ARM binary was not built."""
    sys.path.insert(0, str(ROOT / "benches"))
    import tempfile

    import arm

    if not (arm.RELEASE / "resnetd").exists():
        print("no ARM binary: instructions are left out; `make cross` builds it", file=sys.stderr)
        return {}
    with tempfile.TemporaryDirectory() as folder:
        counter = arm.plugin(folder)
        return {cpu: arm.measure(counter, cpu, "auto", bundle.resolve())[0] for cpu in ("cortex-a76", "cortex-a72")}


def accuracy(args):
    """Of the int8 bundle and of the float one, with resnetd's own decoder, as the device sees pictures."""
    said = json.loads(run(RELEASE / "resnetd-model", "eval", args.int8, args.val, "--against", args.float, "--json"))
    other = said["against"]
    return {
        "data": args.val.name,
        "images": said["images"],
        "float": other["top1"],
        "int8": said["top1"],
        "agreement": other["agreement"],
    }


def published(arch):
    """The network with ImageNet's thousand classes, by stage."""
    bundle = ROOT / f"target/{arch}-published.nnef.tar"
    run(RELEASE / "resnetd-model", "synth", "--arch", arch, "--seed", 1, "--float", "-o", bundle)
    said = resnetd("inspect", bundle)
    stages = {}
    for layer in said["layers"]:
        stage = layer["name"].split("_")[0]
        stage = {"conv1": "stem", "maxpool": "stem", "avgpool": "head", "fc": "head"}.get(stage, stage)
        sums = stages.setdefault(stage, {"macs": 0, "params": 0, "convs": 0, "output": None})
        sums["macs"] += layer["macs"]
        sums["params"] += layer["params"]
        sums["convs"] += layer["kind"].startswith("conv")
        sums["output"] = layer["output"]
    bundle.unlink()
    return {"params": said["params"], "macs": said["macs"], "stages": stages}


if __name__ == "__main__":
    main()
