#!/usr/bin/env python3
"""What the page costs: a daemon without it, with it, with one who looks, with many. Prints a table; the first column names what was open.

Run on an idle machine: benches/page.py target/release/resnetd [--seconds 20]. The daemon classifies rendered scenes of 640x480 with one
thread, ten times a second, so that what it spends beside that can be seen.
"""
import argparse
import json
import os
import selectors
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Readers(threading.Thread):
    """Connections that read whatever comes and throw it away."""

    def __init__(self, port, paths):
        super().__init__(daemon=True)
        self.selector, self.bytes, self.over = selectors.DefaultSelector(), 0, False
        for path in paths:
            one = socket.create_connection(("127.0.0.1", port))
            one.sendall(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            one.setblocking(False)
            self.selector.register(one, selectors.EVENT_READ)

    def run(self):
        while not self.over:
            for key, _ in self.selector.select(timeout=0.2):
                self.bytes += len(key.fileobj.recv(1 << 16))

    def close(self):
        self.over = True
        self.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


def spent(process):
    """Seconds of processor time."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident(process):
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def measure(program, seconds, paths):
    """Processor seconds a second, MiB, and the medians of inference and age in milliseconds; `paths` None: no page at all."""
    with tempfile.TemporaryDirectory() as folder:
        port, place = free_port(), Path(folder) / "s"
        page = f'[http]\nlisten = "127.0.0.1:{port}"\n' if paths is not None else ""
        (Path(folder) / "c.toml").write_text(f'source = "demo:"\nthreads = 1\ntarget_fps = 10\nmodel = "{REPOSITORY}/models/resnet50-imagenette.nnef.tar"\n{page}')
        process = subprocess.Popen([program, "run", "--config", f"{folder}/c.toml", "--socket", place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not place.exists():
                time.sleep(0.05)
            time.sleep(1)
            readers = Readers(port, paths or [])
            readers.start()
            subscriber = socket.socket(socket.AF_UNIX)
            subscriber.connect(str(place))
            lines = subscriber.makefile()
            time.sleep(2)
            began, before, timings = time.monotonic(), spent(process), []
            while time.monotonic() - began < seconds:
                message = json.loads(lines.readline())
                if message["type"] == "classification" and time.time() - message["timestamp"] < 1:
                    timings.append(message["timing"])
            share = (spent(process) - before) / (time.monotonic() - began)
            readers.close()
            median = lambda key: statistics.median(one[key] for one in timings)
            return share, resident(process), median("inference_ms"), median("age_ms"), readers.bytes / seconds / 1e6
        finally:
            process.terminate()
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cases = {
        "no page": None, "a page, nobody looks": [], "one looks": ["stream.mjpg", "events"], "50 look": ["stream.mjpg"] * 50, "200 hear": ["events"] * 200,
    }
    found = {name: [] for name in cases}
    for _ in range(arguments.rounds):  # in turns, so that a busy minute hits all
        for name, paths in cases.items():
            found[name].append(measure(arguments.program, arguments.seconds, paths))
    print(f"{'':22}{'processor':>10}{'MiB':>7}{'inference ms':>14}{'age ms':>8}{'MB/s':>7}")
    for name, runs in found.items():
        share, memory, inference, age, rate = (statistics.median(column) for column in zip(*runs))
        print(f"{name:22}{100 * share:>8.1f} %{memory:>7.1f}{inference:>14.2f}{age:>8.1f}{rate:>7.2f}")


if __name__ == "__main__":
    main()
