#!/usr/bin/env python3
"""make bench-peers: int8 ResNet50 and ResNet101 by other engines and by ours, in turn, in one session."""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import install
import machine
from install import ENGINES, NETWORKS, Missing, say
from report import Report
from session import Case, Session

EXAMPLES = """\
examples:
  make bench-peers                                  the whole: benches/peers.md and its plots are written
  make bench-peers ARGS="--quick"                   a first look: two short rounds, printed only
  make bench-peers ARGS="--only openvino --only resnetd --threads 1"
  make bench-peers ARGS="--class avx2"              a weaker class than this machine's own

Downloads wheels and crates of some 200 MB at the first time, into target/peers/ and cargo's own cache. The
machine should do nothing else meanwhile.
"""


def parse():
    parser = argparse.ArgumentParser(
        prog="benches/peers/bench.py", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    keys = [engine.key for engine in ENGINES]
    add = parser.add_argument
    add("--quick", action="store_true", help="two rounds of 5 inferences instead of six of 15; printed only")
    add("--only", action="append", choices=keys, help="this engine (may be repeated); printed only")
    add(
        "--threads", action="append", type=int, metavar="N",
        help="this many threads (may be repeated); printed only [default: 1 and 2]",
    )  # fmt: skip
    add(
        "--class", dest="levels", action="append", choices=machine.NAMES,
        help="instructions to hold engines to (may be repeated) [default: the "
        "machine's own, and avx512vnni beside amx]",
    )  # fmt: skip
    return parser.parse_args()


def chosen_threads(arguments):
    available = len(os.sched_getaffinity(0))
    threads = sorted(set(arguments.threads or [1, 2]))
    for count in threads:
        if not 1 <= count <= available:
            say(f"{count} threads are left out: this process may use {available} processors")
    threads = [count for count in threads if 1 <= count <= available]
    return threads or sys.exit("bench-peers: no thread count is left")


def chosen_levels(arguments, here):
    levels = arguments.levels or here.classes()
    missing = [level for level in levels if level not in here.levels]
    if missing:
        sys.exit(f"bench-peers: this processor lacks {', '.join(missing)}; it has {', '.join(here.levels)}")
    return sorted(set(levels), key=machine.NAMES.index)


def prepare(engines):
    """(engine to how it is run, engine to why it cannot be)"""
    ready, missing = {}, {}
    install.prepare_python()
    for engine in engines:
        try:
            ready[engine] = install.install(engine)
        except (Missing, OSError) as reason:
            missing[engine] = str(reason)
    return ready, missing


def notes(session, stolen):
    per_round = f"{session.rounds} rounds of {session.warmup} + {session.iters} inferences"
    others = max(session.others)
    yield f"- {per_round}; other processes took at most {others:.0%} of the processors, the hypervisor {stolen:.1%}"
    most = max(case.threads for case in session.cases)
    if machine.processors(most)[1]:
        yield f"- {most} threads share a core here: these are two hardware threads, not two cores"


def main():
    arguments = parse()
    here = machine.Machine()
    threads, levels = chosen_threads(arguments), chosen_levels(arguments, here)
    say(here.title)
    ready, missing = prepare([e for e in ENGINES if not arguments.only or e.key in arguments.only])
    cases = [Case(level, network, count) for level in levels for network in NETWORKS for count in threads]
    rounds, iters = (2, 5) if arguments.quick else (6, 15)
    session = Session(here, ready, cases, rounds, warmup=3, iters=iters)
    for engine, reason in missing.items():
        session.leave_out(engine, reason)
    session.make_models()
    before = machine.ticks()
    session.run()
    _, taken, whole = (after - start for after, start in zip(machine.ticks(), before))
    report = Report(session, list(notes(session, taken / max(whole, 1))))
    print(report.text())
    if arguments.quick or arguments.only or arguments.threads:
        say("printed only: the page keeps what a whole session wrote")
        return
    for path in report.write():
        say(f"wrote {path.relative_to(install.ROOT)}")


if __name__ == "__main__":
    try:
        main()
    except Missing as reason:
        sys.exit(f"bench-peers: {reason}")
    except KeyboardInterrupt:
        sys.exit(130)
