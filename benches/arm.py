"""What one inference costs on ARM cores that are not at hand: instructions retired, and the inner loops' cycles.

    make bench-arm                   the default bundle; writes benches/arm.md
    make bench-arm MODEL=BUNDLE      another one; prints only

Runs the ARM binary under QEMU as a Cortex-A76, as a Cortex-A72 and with everything that QEMU has, with a plugin that counts instructions
(insn_count.c), once with 1 and once with 25 inferences: a part in 24 of the difference is one inference, loading left out
(whose own count varies by some millions, as two threads share it). Times
under emulation say nothing about a device; instructions do, and mca.py says how many cycles the inner loops take.
"""
import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import mca

ROOT = Path(__file__).resolve().parent.parent
RELEASE = ROOT / "target/aarch64-unknown-linux-musl/release"
DEFAULT = ROOT / "models/resnet50-imagenette.nnef.tar"
# One run takes seconds to minutes, by the kernel.
PATIENCE = 1800

# The last is no core, but has what the newest have.
CORES = ["Cortex-A76", "Cortex-A72", "QEMU's max"]
# Which processor, and what RESNETD_WINOGRAD is. With the dot product there is nothing that Winograd gains.
RUNS = [("cortex-a76", "auto"), ("cortex-a72", "auto"), ("max", "auto"), ("cortex-a72", "all")]

# M instructions per inference of an int8 ResNet50 with one thread, counted in the same way, and the least that the
# arithmetic allows. These are constants, counted once with the same plugin on the same shapes: this script does not
# measure them.
PEERS = [
    ("ncnn", 335, 708, ""),
    ("LiteRT", 362, 1091, ""),
    ("ONNX Runtime", 447, 1198, ""),
    ("products alone: sdot; smull, smlal, sadalp; smmla", 256, 767, 128),
]


def plugin(folder):
    out = Path(folder) / "insn_count.so"
    source = ROOT / "benches/insn_count.c"
    subprocess.run(["gcc", "-O2", "-fPIC", "-shared", source, "-o", out], check=True)
    return out


def retired(counter, cpu, winograd, model, inferences):
    """Instructions of a whole run, and what `bench` says of it."""
    command = ["qemu-aarch64", "-cpu", cpu, "-plugin", counter, "-d", "plugin", RELEASE / "resnetd", "bench", "--json",
               "--threads", "1", "--warmup", "1", "--iters", str(inferences), model]
    environment = {**os.environ, "RESNETD_WINOGRAD": winograd, "RESNETD_LOG": "error"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    counts = [line for line in done.stderr.splitlines() if line.startswith("insns: ")]
    if done.returncode != 0 or len(counts) != 1:
        sys.exit(f"arm.py: resnetd as {cpu} ended with {done.returncode} and without one count:\n{done.stderr}")
    return int(counts[0].split()[1]), json.loads(done.stdout)["bundles"][0]


def measure(counter, cpu, winograd, model):
    """M instructions of one inference, the instruction set that was chosen, and the emulator's memory in MiB."""
    one, _ = retired(counter, cpu, winograd, model, 1)
    many, bundle = retired(counter, cpu, winograd, model, 25)
    millions = (many - one) / 24 / 1e6
    print(f"{cpu}, RESNETD_WINOGRAD={winograd}: {millions:.1f} M instructions on {bundle['isa']}", file=sys.stderr)
    return millions, bundle["isa"], bundle["rss_mib"]


def counts(model, with_peers):
    """The table of instructions, a column for each core, and what `all` costs in memory."""
    with tempfile.TemporaryDirectory() as folder:
        counter = plugin(folder)
        found = {run: measure(counter, *run, model) for run in RUNS}
    cell = lambda run: "{:.0f} ({})".format(*found[run]) if run in found else ""
    rows = [["resnetd", *map(cell, RUNS[:3])], ["resnetd, RESNETD_WINOGRAD=all", "", cell(RUNS[3]), ""]]
    if with_peers:
        rows += [[str(value) for value in row] for row in PEERS]
    more = found[RUNS[3]][2] - found[RUNS[1]][2]
    return f"""{mca.show(["M instructions per inference", *CORES], rows)}

RESNETD_WINOGRAD=all takes {more:.0f} MiB more than auto on the Cortex-A72, as the emulator's own memory tells: to a few MiB."""


def inner_loops():
    assembly = (RELEASE / "resnetd.s").read_text(encoding="utf-8")
    rows = mca.table(assembly)
    return mca.show(mca.HEADS, rows, left=2) if rows else "No inner loop is marked."


def document(instructions, cycles):
    return f"""# The ARM cores, without the ARM cores

Written by `make bench-arm` on {date.today()}; do not edit.

## Instructions retired per inference

`{DEFAULT.name}`, int8, 224 x 224, one thread, under QEMU's user mode as the core named ("max": everything that QEMU knows, i8mm among it):
a part in 24 of the difference between a run with 25 inferences and a run with 1. In brackets the instruction set that was chosen. The figures below resnetd's are
constants, for a ResNet50 of 1000 classes (2 M multiply-adds more), counted in the same way
and not measured again here; the last row is the least that the products alone take.

{instructions}

## Cycles of the inner loops

By llvm-mca 19 (`neoverse-n1` stands for the Cortex-A76, `neoverse-n2` for those with SMMLA), one turn of each loop, everything in the first cache. The
peak is 64 multiply-adds a cycle with SMMLA on the Neoverse N2; 32 with SDOT on the Cortex-A76; on the Cortex-A72, 8 of 8-bit values or 4 of 16-bit
ones (`benches/mca.py` says why).

{cycles}
"""


def main():
    if len(sys.argv) > 2:
        sys.exit("usage: arm.py [BUNDLE]")
    model = Path(sys.argv[1]).resolve() if len(sys.argv) == 2 and sys.argv[1] else DEFAULT
    is_default = model == DEFAULT
    instructions, cycles = counts(model, is_default), inner_loops()
    print(f"\n{instructions}\n\n{cycles}")
    if is_default:
        (ROOT / "benches/arm.md").write_text(document(instructions, cycles), encoding="utf-8")


if __name__ == "__main__":
    main()
