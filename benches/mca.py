"""Cycles of the ARM kernels' inner loops, as llvm-mca's model of a core has them, and their share of its peak.

    python3 benches/mca.py ASSEMBLY.s

The kernels mark their inner loops in the text of their asm!, and the marks survive `--emit asm`:

    // LLVM-MCA-BEGIN conv_i8_5x16c4_dotprod macs=1280
    ...
    // LLVM-MCA-END conv_i8_5x16c4_dotprod

`macs` counts the multiply-adds of one turn. llvm-mca assumes that loads hit the first cache, so this is what the
instructions allow, not what a whole layer takes. LLVM 19 is the first here that tells a Neoverse N1 from a
Cortex-A72; it has no model of the Cortex-A76, whose core the N1 is.

Peaks, from Arm's software optimization guides. A76 and N1: two pipes for 128-bit SDOT, 16 multiply-adds each, 32 a
cycle. A72: one pipe (F0) for multiplications, one SMULL or SMLAL a cycle: 8 multiply-adds of 8-bit values, 4 of
16-bit ones; SADALP goes to the other pipe (F1) and takes nothing from it. N2: two pipes for SMMLA, 32 each.
"""
import json
import re
import subprocess
import sys
from dataclasses import dataclass

MCA = "llvm-mca-19"
TURNS = 1000
MARK = re.compile(r"LLVM-MCA-(BEGIN|END)(?:\s+(\S+))?(?:\s+macs=(\d+))?\s*$")
LONG_MULTIPLY = re.compile(r"\b[su]ml[as]l2?\s+v\d+\.(\w+)|\b[su]mull2?\s+v\d+\.(\w+)")


@dataclass(frozen=True)
class Core:
    name: str
    model: str
    peak: int


A76 = Core("Cortex-A76", "neoverse-n1", 32)
A72_BYTES = Core("Cortex-A72", "cortex-a72", 8)
A72_WORDS = Core("Cortex-A72", "cortex-a72", 4)
N2 = Core("Neoverse N2", "neoverse-n2", 64)


@dataclass(frozen=True)
class Loop:
    name: str
    macs: int
    instructions: tuple

    def core(self):
        """The core that the loop is written for, with the peak of the multiplication that it uses."""
        text = "\n".join(self.instructions)
        if re.search(r"\bsmmla\b", text):
            return N2
        if re.search(r"\b[su]dot\b", text):
            return A76
        long = LONG_MULTIPLY.search(text)
        return A72_WORDS if long and (long[1] or long[2]) == "4s" else A72_BYTES


@dataclass(frozen=True)
class Measured:
    loop: Loop
    core: Core
    cycles: float

    @property
    def per_cycle(self):
        return self.loop.macs / self.cycles

    @property
    def share(self):
        return self.per_cycle / self.core.peak


def loops(assembly):
    """The marked loops of a file of assembly, copies that the compiler made of one included."""
    found, name, macs, lines = [], None, 0, []
    for number, line in enumerate(assembly.splitlines(), 1):
        mark = MARK.search(line)
        if mark and mark[1] == "BEGIN":
            if name or not mark[3]:
                raise ValueError(f"line {number}: {line.strip()}: inside {name}, or without macs=")
            name, macs, lines = mark[2], int(mark[3]), []
        elif mark:
            if not name or mark[2] not in (None, name):
                raise ValueError(f"line {number}: {line.strip()}: ends {name}")
            found.append(Loop(name, macs, tuple(lines)))
            name = None
        elif name:
            code = line.split("//")[0].strip()
            if code and not code.startswith((".", "#")):
                lines.append(code)
    if name:
        raise ValueError(f"{name} has no end")
    return found


def measure(loop):
    core = loop.core()
    command = [MCA, "-mtriple=aarch64", f"-mcpu={core.model}", f"-iterations={TURNS}", "-json"]
    source = "\n".join(loop.instructions) + "\n"
    done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{MCA} cannot read {loop.name}:\n{done.stderr}")
    report = json.loads(done.stdout)
    summary = report.get("SummaryView") or report["CodeRegions"][0]["SummaryView"]
    measured = Measured(loop, core, summary["TotalCycles"] / TURNS)
    if measured.share > 1.01:
        raise ValueError(f"{loop.name}: {measured.share:.0%} of the {core.name}'s peak: macs={loop.macs} is too many")
    return measured


def table(assembly):
    """A row of text per loop: name, core, instructions, cycles and multiply-adds of a turn, these per cycle, share.
    Copies of a loop differ in registers only and have one row."""
    rows = {}
    for m in sorted(map(measure, loops(assembly)), key=lambda m: (m.core.name, m.loop.name, m.cycles)):
        rows.setdefault((
            m.loop.name, m.core.name, str(len(m.loop.instructions)), f"{m.cycles:.1f}", str(m.loop.macs),
            f"{m.per_cycle:.1f}", f"{m.share:.0%}",
        ))
    return list(rows)


HEADS = ["loop", "core", "instructions", "cycles", "multiply-adds", "per cycle", "share of peak"]


def show(heads, rows, left=1):
    """Columns that align, as a table that Markdown reads too; the first `left` are text."""
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows)]
    pads = [str.ljust if i < left else str.rjust for i in range(len(heads))]
    line = lambda cells: "| " + " | ".join(pad(c, w) for pad, c, w in zip(pads, cells, widths)) + " |"
    rule = "|" + "|".join("-" * (w + 1) + ("-" if i < left else ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([line(heads), rule, *map(line, rows)])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: mca.py ASSEMBLY.s")
    with open(sys.argv[1], encoding="utf-8") as file:
        print(show(HEADS, table(file.read()), left=2))
