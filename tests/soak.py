#!/usr/bin/env python3
"""Runs the daemon on rendered scenes for a while, with subscribers that come, stall, misbehave and die, and says whether
its memory, descriptors and threads are the same at the end: what a service that lives for months must show.

    tests/soak.py target/release/resnetd --minutes 30

Every half minute all passing subscribers leave and the process is measured. It fails if after the first half the memory
has a trend of more than 1 MiB until the end, if a descriptor or thread is left over, if a frame is neither told nor
counted, or if the daemon does not end well."""
import argparse
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

MOST_GROWTH_KIB = 1024  # over the second half, by a straight line through its samples
PASSING = 24  # subscribers at a time
CALM = 30.0  # seconds from one measurement to the next
LONGEST_SILENCE = 15.0  # seconds without a message to a subscriber that reads


class Config:
    """What the daemon is told, and told anew."""

    def __init__(self, folder, model, threads, fps):
        self.file, self.socket, self.threads = f"{folder}/resnetd.toml", f"{folder}/resnetd.sock", threads
        self.fps = f"target_fps = {fps}\n" if fps else ""
        self.models = [f"{folder}/{name}.nnef.tar" for name in ("first", "second")]
        for name in self.models:  # for the daemon two bundles
            os.symlink(os.path.abspath(model), name)
        self.write(0)

    def write(self, turn):
        with open(self.file + ".new", "w") as file:
            print(f'source = "demo:"\nthreads = {self.threads}\nsmoothing_ms = {500 - turn % 2 * 200}\n'
                  f'{self.fps}model = "{self.models[turn // 4 % 2]}"', file=file)
        os.rename(self.file + ".new", self.file)


class Soak:
    def __init__(self, daemon, config):
        self.daemon, self.config, self.path = daemon, config, config.socket
        self.over, self.calm = threading.Event(), threading.Event()
        self.count = {"read": 0, "stalled": 0, "died": 0, "was rude": 0}
        self.messages = self.reloads = self.lagged = 0
        self.failures = []
        self.lock = threading.Lock()

    def fail(self, why):
        with self.lock:
            if why not in self.failures:
                self.failures.append(why)
                print(f"FAIL {why}", file=sys.stderr, flush=True)

    def connect(self):
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(LONGEST_SILENCE)
        stream.connect(self.path)
        return stream

    def follow(self):
        """One subscriber from beginning to end: every frame is told or counted, and nothing is missed."""
        last, began = None, time.monotonic()
        with self.connect() as stream, stream.makefile() as lines:
            while not self.over.is_set():
                try:
                    line = lines.readline()
                except TimeoutError:
                    return self.fail(f"nothing was said for {LONGEST_SILENCE:.0f} s")
                if not line:
                    return self.over.is_set() or self.fail(f"the stream ended after {time.monotonic() - began:.0f} s")
                message = json.loads(line)
                self.messages += 1
                if message["type"] == "lagged":
                    self.fail(f"a subscriber that reads missed {message['missed']} messages")
                elif message["type"] == "classification":
                    if last is not None and message["frame_id"] != last + 1 + message["dropped"]:
                        self.fail(f"frame {message['frame_id']} after {last}: neither told nor counted")
                    last = message["frame_id"]
                    if not 0 <= message["timing"]["age_ms"] < 60_000:
                        self.fail(f"a label {message['timing']['age_ms']} ms old")

    def be_deaf(self):
        """Never reads until the end, and is then told how much it missed, unless little was said."""
        with self.connect() as stream:
            self.over.wait()
            stream.settimeout(1)
            told = [json.loads(line) for line in read_all(stream).split(b"\n")[:-1]]
            self.lagged += any(message["type"] == "lagged" for message in told)

    def pass_by(self, seed):
        """Subscribers of every kind, one after the other."""
        chance = random.Random(seed)
        while not self.over.is_set():
            if self.calm.is_set():
                time.sleep(0.05)
                continue
            kind = chance.choice(list(self.count))
            try:
                with self.connect() as stream:
                    self.behave(kind, chance, stream)
            except (BrokenPipeError, ConnectionResetError):
                if kind != "was rude":  # who sends too much is thrown out
                    self.fail(f"a subscriber that {kind} was thrown out")
            except OSError as error:
                if not self.over.is_set():
                    self.fail(f"a subscriber that {kind}: {error}")
                    self.over.wait(1)
            with self.lock:
                self.count[kind] += 1

    def behave(self, kind, chance, stream):
        until = time.monotonic() + chance.expovariate(0.5)
        if kind == "died":  # within a line, before it was read
            stream.recv(chance.randrange(1, 300))
        elif kind == "stalled":
            self.pause(until + chance.uniform(0, 20))
            # the last lines and how many are missing: all of it whole
            stream.setblocking(False)
            for line in read_all(stream).split(b"\n")[:-1]:
                self.lagged += json.loads(line)["type"] == "lagged"
        elif kind == "was rude":
            while time.monotonic() < until and not self.calm.is_set():
                stream.send(b"GET / HTTP/1.1\r\n" * chance.randrange(1, 2000))
                time.sleep(0.02)
        else:
            with stream.makefile() as lines:
                while time.monotonic() < until and not self.calm.is_set() and not self.over.is_set():
                    json.loads(lines.readline())

    def pause(self, until):
        while time.monotonic() < until and not self.calm.is_set() and not self.over.is_set():
            time.sleep(0.05)

    def reload(self):
        """Other settings and now and then another bundle, by SIGHUP, if this daemon knows it: others would end."""
        caught = re.search(r"SigCgt:\s*(\w+)", open(f"/proc/{self.daemon.pid}/status").read())
        if int(caught[1], 16) >> (signal.SIGHUP - 1) & 1:
            self.reloads += 1
            self.config.write(self.reloads)
            self.daemon.send_signal(signal.SIGHUP)

    def measure(self):
        """Memory in KiB, descriptors and threads, once the passing subscribers have left."""
        self.calm.set()
        time.sleep(2)
        folder = f"/proc/{self.daemon.pid}"
        value = lambda file, key: int(re.search(rf"^{key}:\s*(\d+)", open(f"{folder}/{file}").read(), re.M)[1])
        found = {
            "rss": value("status", "VmRSS"),
            "pss": value("smaps_rollup", "Pss"),
            "fds": len(os.listdir(f"{folder}/fd")),
            "threads": value("status", "Threads"),
        }
        self.calm.clear()
        return found


def read_all(stream):
    data = b""
    try:
        while more := stream.recv(1 << 16):
            data += more
    except (BlockingIOError, TimeoutError, ConnectionResetError):
        pass
    return data


def slope(points):
    """Of the straight line nearest to the points (least squares)."""
    n = len(points)
    mx, my = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    return sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x, _ in points)


def judge(soak, samples):
    half = [s for s in samples if s["at"] >= samples[-1]["at"] / 2]
    span = half[-1]["at"] - half[0]["at"]
    growth = {what: slope([(s["at"], s[what]) for s in half]) * span for what in ("rss", "pss")}
    for what, kib in growth.items():
        print(f"trend of {what} over the last {span / 60:.1f} minutes: {kib:+.0f} KiB (at most {MOST_GROWTH_KIB})")
        if kib > MOST_GROWTH_KIB:
            soak.fail(f"{what} grew by {kib:.0f} KiB")
    for what in ("fds", "threads"):
        if samples[-1][what] > samples[0][what]:
            soak.fail(f"{samples[-1][what]} {what} at the end, {samples[0][what]} at the beginning")


def run(soak, minutes):
    began = time.monotonic()
    threads = [threading.Thread(target=soak.follow), threading.Thread(target=soak.be_deaf)]
    threads += [threading.Thread(target=soak.pass_by, args=(seed,)) for seed in range(PASSING)]
    for thread in threads:
        thread.start()
    end, samples = began + 60 * minutes, []
    print("minute    RSS MiB  PSS MiB  descriptors  threads  messages  subscribers  reloads", flush=True)
    while not soak.failures:
        sample = {"at": time.monotonic() - began, **soak.measure()}
        samples.append(sample)
        print(f"{sample['at'] / 60:6.1f} {sample['rss'] / 1024:10.2f} {sample['pss'] / 1024:8.2f} {sample['fds']:12} "
              f"{sample['threads']:8} {soak.messages:9} {sum(soak.count.values()):12} {soak.reloads:8}", flush=True)
        if time.monotonic() >= end or soak.daemon.poll() is not None:
            break
        time.sleep(max(0.0, min(CALM - 2, end - time.monotonic())))
        soak.reload()
    return threads, samples


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--model", default="models/resnet50-imagenette.nnef.tar")
    parser.add_argument("--fps", type=float, help="classify at most so many frames a second [as many as it can]")
    parser.add_argument("--threads", default="1", help="of the daemon [1, so that the machine has time for the others]")
    options = parser.parse_args()
    if options.minutes < 1:
        parser.error("it takes at least one minute to see a trend")
    with tempfile.TemporaryDirectory() as folder:
        config = Config(folder, options.model, options.threads, options.fps)
        path = config.socket
        command = [options.program, "run", "--config", config.file, "--socket", path]
        # not on a terminal, where SIGHUP means another thing
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not os.path.exists(path):
            if daemon.poll() is not None:
                sys.exit(f"FAIL it ended at once, with {daemon.returncode}")
            time.sleep(0.05)
        time.sleep(3)  # its first frames, which allocate
        soak = Soak(daemon, config)
        try:
            threads, samples = run(soak, options.minutes)
        finally:
            soak.over.set()
            daemon.terminate()
        try:
            if code := daemon.wait(timeout=3):
                soak.fail(f"it ended with {code}")
        except subprocess.TimeoutExpired:
            daemon.kill()
            soak.fail("it did not end within 3 s of SIGTERM")
        for thread in threads:
            thread.join()
        if os.path.exists(path):
            soak.fail("the socket is left behind")
        judge(soak, samples)
    kinds = ", ".join(f"{count} that {kind}" for kind, count in soak.count.items())
    print(f"subscribers: 1 throughout, 1 that never read, {kinds}; {soak.lagged} were told what they missed")
    print("FAIL" if soak.failures else f"ok: flat after {options.minutes:g} minutes")
    sys.exit(bool(soak.failures))


if __name__ == "__main__":
    main()
