"""One session: every engine in turn, round after round, each time in a process of its own pinned to its processors.

Because all take their turn in every round, what slows the machine for a while slows all of them.
"""

import json
import os
import statistics
import struct
import subprocess
import tempfile
import threading
import time
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import install
import machine
from install import OURS, Missing, say

LIMIT = 300  # seconds for one process
BUSY = 0.1  # of the processors, by others: more than that and figures are not to be trusted


@dataclass(frozen=True)
class Case:
    level: str
    network: str
    threads: int


@dataclass
class Series:
    """What one engine did in one case, a value per round; times in milliseconds."""

    median: list = field(default_factory=list)
    least: list = field(default_factory=list)
    load: list = field(default_factory=list)
    label: list = field(default_factory=list)
    peak: list = field(default_factory=list)  # MiB
    isa: str = ""
    answer: int = -1  # the class that it gave to the picture

    def row(self):
        return {
            "median": statistics.median(self.median),
            "min": min(self.least),
            "load": statistics.median(self.load),
            "label": statistics.median(self.label),
            "peak": max(self.peak),
            "isa": self.isa,
        }


class Session:
    def __init__(self, here, ready, cases, rounds, warmup, iters):
        self.here = here
        self.ready = ready  # engine to (command line, version)
        self.cases = cases
        self.rounds, self.warmup, self.iters = rounds, warmup, iters
        self.series = defaultdict(Series)  # by case and engine
        self.skipped = {}  # (engine, level or None, threads or None) to the reason
        self.models = {}
        self.others = []  # what other processes took before each round
        self.picture = install.PLACE / "picture.png"

    def make_models(self):
        write_png(self.picture)
        for engine in list(self.ready):
            try:
                for network in dict.fromkeys(case.network for case in self.cases):
                    self.models[engine, network] = install.make_model(engine, network)
            except Missing as reason:
                self.leave_out(engine, str(reason))

    def leave_out(self, engine, reason, case=None):
        key = (engine, case.level, case.threads) if case else (engine, None, None)
        if key not in self.skipped:
            say(f"{engine.title} is left out{f' ({case.level}, {case.threads} threads)' if case else ''}: {reason}")
            self.skipped[key] = reason

    def is_out(self, engine, case):
        return (engine, None, None) in self.skipped or (engine, case.level, case.threads) in self.skipped

    def run(self):
        for number in range(self.rounds):
            self.others.append(machine.busy())
            if self.others[-1] > BUSY:
                say(f"other processes use {self.others[-1]:.0%} of the processors: these figures will not be honest")
            for case in self.cases:
                engines = list(self.ready)
                turn = number % len(engines)
                for engine in engines[turn:] + engines[:turn]:
                    if self.is_out(engine, case) or not self.fits(engine, case):
                        continue
                    try:
                        self.turn(engine, case)
                    except Missing as reason:
                        self.leave_out(engine, str(reason), case)
                        continue
                    took = self.series[case, engine].median[-1]
                    say(
                        f"round {number + 1}/{self.rounds}  {case.network:9}  {case.threads} thread"
                        f"{'s' if case.threads > 1 else ' '}  {case.level:10}  {engine.title:14}{took:8.1f} ms"
                    )

    def fits(self, engine, case):
        """Whether the engine can be kept from instructions that the class does not have."""
        uses = max(engine.best, self.here.top, key=lambda level: -machine.rank(level))
        if engine.held or machine.rank(uses) <= machine.rank(case.level):
            return True
        self.leave_out(engine, f"it uses {uses} and has no switch against it", case)
        return False

    def environment(self, case):
        """Nothing forced in the strongest class; below it, those with a switch are held to the class."""
        ours = ("ONEDNN_", "RESNETD_", "OMP_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        kept["OMP_NUM_THREADS"] = str(case.threads)
        if case.level != self.here.top:
            kept |= {"ONEDNN_MAX_CPU_ISA": machine.ONEDNN[case.level], "RESNETD_ISA": case.level}
        return kept

    def turn(self, engine, case):
        model = str(self.models[engine, case.network])
        series = self.series[case, engine]
        program = self.ready[engine][0]
        numbers = [str(self.warmup), str(self.iters)]
        if engine is OURS:
            self.ours(program, model, numbers, case, series)
            return
        first, rest, label, peak = self.process([*program, model, str(case.threads), *numbers], case)
        loaded = json.loads(first)
        times = json.loads(rest)["times_ms"]
        series.answer = loaded["label"]
        series.median.append(statistics.median(times))
        series.least.append(min(times))
        series.load.append(loaded["load_ms"])
        series.label.append(label)
        series.peak.append(peak)

    def ours(self, program, model, numbers, case, series):
        """Two processes: `bench` times inferences, `classify` shows how soon the first label is there."""
        threads = ["--threads", str(case.threads)]
        if "--threads" not in install.command([*program, "bench", "--help"]):
            if case.threads > 1:
                raise Missing("this version has no --threads")
            threads = []
        warmup, iters = numbers
        bench = [*program, "bench", "--json", *threads, "--warmup", warmup, "--iters", iters, model]
        said, _, _, peak = self.process(bench, case)
        told = json.loads(said)["bundles"][0]
        classify = [*program, "classify", "--json", "--model", model, str(self.picture)]
        _, _, label, _ = self.process(classify, case)
        series.median.append(told["p50_ms"])
        series.least.append(told["min_ms"])
        series.load.append(max(label - told["p50_ms"], 0.0))
        series.label.append(label)
        series.peak.append(peak)
        series.isa = told["isa"]

    def process(self, arguments, case):
        """(first line, the rest, milliseconds from start to the first line, peak memory in MiB)"""
        where, _ = machine.processors(case.threads)
        with tempfile.TemporaryFile() as errors:
            started = time.perf_counter()
            child = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                env=self.environment(case), preexec_fn=lambda: os.sched_setaffinity(0, where),
            )  # fmt: skip
            alarm = Alarm(child)
            try:
                first = child.stdout.readline()
                label = (time.perf_counter() - started) * 1000
                rest = child.stdout.read()
                _, status, used = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
            finally:
                alarm.stop()
            if child.returncode or not first:
                errors.seek(0)
                tail = errors.read().decode(errors="replace").strip().splitlines()[-3:]
                why = f"no answer in {LIMIT} s" if alarm.rang else "; ".join(tail) or f"exit code {child.returncode}"
                raise Missing(why)
        return first, rest, label, used.ru_maxrss / 1024


class Alarm:
    """Ends a process that takes too long, or that is left when we are interrupted."""

    def __init__(self, child):
        self.child, self.rang = child, False
        self.timer = threading.Timer(LIMIT, self.ring)
        self.timer.daemon = True
        self.timer.start()

    def ring(self):
        self.rang = True
        self.child.kill()

    def stop(self):
        self.timer.cancel()
        if self.child.returncode is None:
            self.child.kill()


def write_png(path: Path):
    """A grey gradient, so that `classify` has something to look at."""
    side = 224
    rows = b"".join(b"\0" + bytes((x + y) // 2 for x in range(side) for _ in range(3)) for y in range(side))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
