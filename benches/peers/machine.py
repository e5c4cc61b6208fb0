"""This machine: how it is called, which int8 instructions it has, which processors a measurement is pinned to."""

import os
import re
import subprocess
import time
from pathlib import Path

# From the strongest: our name, the processor's flag, what oneDNN calls it.
LEVELS = [
    ("amx", "amx_int8", "AVX512_CORE_AMX"),
    ("avx512vnni", "avx512_vnni", "AVX512_CORE_VNNI"),
    ("avxvnni", "avx_vnni", "AVX2_VNNI"),
    ("avx2", "avx2", "AVX2"),
]
NAMES = [name for name, _, _ in LEVELS]
ONEDNN = {name: theirs for name, _, theirs in LEVELS}


def rank(level):
    return -NAMES.index(level)


class Machine:
    def __init__(self):
        said = subprocess.run(
            ["lscpu"], env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=True
        ).stdout
        self.facts = dict(re.findall(r"^\s*([^:]+):\s*(.*)$", said, re.M))
        flags = self.facts.get("Flags", "").split()
        self.levels = [name for name, flag, _ in LEVELS if flag in flags]
        if not self.levels:
            raise SystemExit("bench-peers: made for x86-64 with AVX2 at least; for ARM there is make bench-arm")

    @property
    def top(self):
        return self.levels[0]

    @property
    def names(self):
        """A cloud gives several generations one name, so family and model belong to it."""
        name = re.sub(r"\((R|TM)\)", "", self.facts.get("Model name", "unknown processor"))
        return name, self.facts.get("CPU family", "?"), self.facts.get("Model", "?")

    @property
    def title(self):
        name, family, model = self.names
        return f"{name} (family {family}, model {model}; int8 by {', '.join(sorted(self.levels, key=rank))})"

    @property
    def slug(self):
        return re.sub(r"[^a-z0-9]+", "-", " ".join(self.names).lower()).strip("-")

    def classes(self):
        """The strongest one, and beside AMX also AVX512-VNNI, which far more machines have."""
        also = ["avx512vnni"] if self.top == "amx" and "avx512vnni" in self.levels else []
        return [self.top, *also]


def processors(count):
    """The first `count` that this process may use, each on a core of its own as long as there are such."""
    cores, doubles = {}, []
    for number in sorted(os.sched_getaffinity(0)):
        path = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        core = path.read_text() if path.exists() else str(number)
        if core in cores:
            doubles.append(number)
        else:
            cores[core] = number
    chosen = [*cores.values(), *doubles][:count]
    return chosen, count > len(cores)


def ticks():
    """(idle, taken by the hypervisor for others, all) since the machine started."""
    counted = [int(t) for t in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return counted[3] + counted[4], counted[7], sum(counted)


def busy(seconds=1.0):
    """The share of the processors that others use while we sleep."""
    before = ticks()
    time.sleep(seconds)
    idle, _, whole = (after - start for after, start in zip(ticks(), before))
    return 1 - idle / max(whole, 1)
