#!/usr/bin/env python3
"""Many devices publish to a cluster of three brokers; the one that the checker is connected to is killed and comes back. Every change
of every device has a number: the checker, whose session is persistent, must see all of them. Ends with 1 if one is missing."""
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt

from cluster import Cluster
from waiting import until

HERE = Path(__file__).parent
#: Of the seconds in which labels change: when the node is killed and when it is started again.
KILLED, RETURNED = 0.35, 0.6
#: How long the last changes may take.
PATIENCE = 120


class Checker:
    """Hears every change, once it has been connected; goes to the next node when its own is gone."""

    def __init__(self, nodes):
        self.ports = [node.port for node in nodes]
        self.seen, self.delays, self.twice, self.away, self.lost_at = {}, [], 0, [], None
        self.lock = threading.Lock()
        self.client = mqtt.Client("checker", clean_session=False)
        self.subscribed = False
        self.client.on_message, self.client.on_subscribe = self.message, self.heard
        self.client.on_connect, self.client.on_disconnect = self.connected, self.gone
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", self.ports[0], keepalive=5)
        self.client.loop_start()
        until(lambda: self.subscribed, 30, "the checker has subscribed")

    def heard(self, *_):
        self.subscribed = True

    def connected(self, client, _data, flags, code):
        if code == 0:
            client.subscribe("resnetd/+/+/event", 1)
            if self.lost_at:
                self.away.append((time.time() - self.lost_at, bool(flags["session present"])))
                self.lost_at = None

    def gone(self, client, _data, _code):
        self.lost_at = self.lost_at or time.time()
        self.ports.append(self.ports.pop(0))
        client.connect_async("127.0.0.1", self.ports[0], keepalive=5)

    def message(self, _client, _data, message):
        now, event = time.time(), json.loads(message.payload)
        device = message.topic.split("/")[1]
        with self.lock:
            numbers = self.seen.setdefault(device, set())
            if event["sequence"] in numbers:
                self.twice += 1
            else:
                numbers.add(event["sequence"])
                self.delays.append((event["timestamp"], now - event["timestamp"], device))

    def has(self, changes):
        with self.lock:
            return all(len(self.seen.get(device, ())) >= count for device, count in changes.items())


class Watcher:
    """Hears everything at a node that stays: when each device says that it is online, and how much there is in all."""

    def __init__(self, node):
        self.online, self.messages, self.bytes = {}, 0, 0
        self.client = mqtt.Client("watcher")
        self.subscribed = False
        self.client.on_message, self.client.on_subscribe = self.message, self.heard
        self.client.on_connect = lambda client, *_: client.subscribe("resnetd/#", 0)
        self.client.connect("127.0.0.1", node.port)
        self.client.loop_start()
        until(lambda: self.subscribed, 30, "the watcher has subscribed")

    def heard(self, *_):
        self.subscribed = True

    def message(self, _client, _data, message):
        self.messages += 1
        self.bytes += len(message.topic) + len(message.payload)
        if message.topic.endswith("/status") and message.payload == b"online":
            self.online.setdefault(message.topic.split("/")[1], []).append(time.time())


def usage(nodes):
    """Seconds of processor time and MiB of memory of all processes of the nodes."""
    seconds, pages = 0.0, 0
    groups = {node.process.pid for node in nodes}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has ended
        if int(fields[2]) in groups:
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            pages += int(fields[21])
    return seconds, pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def quantiles(delays):
    """Median, p99 and the longest, as text."""
    if len(delays) < 2:
        return "none"
    ordered = sorted(delays)
    return f"median {statistics.median(ordered) * 1e3:.0f} ms, p99 {ordered[int(0.99 * (len(ordered) - 1))] * 1e3:.0f} ms, " \
           f"longest {ordered[-1]:.1f} s, of {len(ordered)}"


def devices_of(node, cluster, changes):
    """Those that publish to this node: they take the nodes in turn."""
    return {name for name in changes if int(name[1:]) % len(cluster.nodes) == cluster.nodes.index(node)}


def report(cluster, checker, watcher, changes, times):
    killed, returned = times
    fallen = devices_of(cluster.nodes[0], cluster, changes)
    missing = {name: sorted(set(range(1, count + 1)) - checker.seen.get(name, set())) for name, count in changes.items()}
    missing = {name: numbers for name, numbers in missing.items() if numbers}
    heard = sum(len(numbers) for numbers in checker.seen.values())
    print(f"changes: {sum(changes.values())} published, {heard} heard, {checker.twice} of them more than once, "
          f"{sum(map(len, missing.values()))} missing")
    before = [delay for at, delay, _ in checker.delays if at + delay < killed]
    others = [delay for at, delay, name in checker.delays if at >= killed and name not in fallen]
    own = [delay for at, delay, name in checker.delays if at >= killed and name in fallen]
    print(f"from the change to the checker, until the node was killed:   {quantiles(before)}")
    print(f"after that, devices of the other nodes:                      {quantiles(others)}")
    print(f"after that, devices of the killed node, which wait for it:   {quantiles(own)}")
    for away, kept in checker.away:
        print(f"the checker was away for {away:.1f} s; its session was {'kept' if kept else 'LOST'}")
    again = [min(at for at in watcher.online[name] if at > returned) - returned
             for name in fallen if any(at > returned for at in watcher.online.get(name, []))]
    print(f"the killed node's devices were online again, after it listened: {quantiles(again)} of {len(fallen)}")
    for name, numbers in list(missing.items())[:5]:
        print(f"MISSING of {name}: {numbers[:10]}")
    return not missing and len(again) == len(fallen)


def run(cluster, devices, seconds):
    checker, watcher = Checker(cluster.nodes), Watcher(cluster.nodes[1])
    command = [HERE.parents[1] / "target/release/examples/fleet", "--devices", str(devices), "--seconds", str(seconds), "--stream", HERE / "labels.jsonl"]
    for node in cluster.nodes:
        command += ["--port", str(node.port)]
    began = time.time()
    fleet = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        until(lambda: len(watcher.online) >= devices, KILLED * seconds, "all devices are online")
        print(f"{devices} devices were online after {time.time() - began:.1f} s")
        (used, memory), counted, since = usage(cluster.nodes), (watcher.messages, watcher.bytes), time.time()
        time.sleep(max(0.0, began + KILLED * seconds - time.time()))
        took, (now, _) = time.time() - since, usage(cluster.nodes)
        print(f"then {(watcher.messages - counted[0]) / took:.0f} messages and {(watcher.bytes - counted[1]) / took / 1024:.0f} KiB a second; "
              f"the brokers took {(now - used) / took:.2f} cores and {memory:.0f} MiB")
        cluster.nodes[0].kill()
        killed = time.time()
        time.sleep(max(0.0, began + RETURNED * seconds - time.time()))
        cluster.nodes[0].start()
        until(cluster.nodes[0].listens, 120, "the killed node listens again")
        returned = time.time()
        print(f"{cluster.nodes[0].name} was killed after {killed - began:.0f} s and listened again after {returned - began:.0f} s")
        changes = json.loads(fleet.stdout.readline())
        end = time.monotonic() + PATIENCE
        while not checker.has(changes) and time.monotonic() < end:
            time.sleep(0.2)
        return report(cluster, checker, watcher, changes, (killed, returned))
    finally:
        fleet.stdin.close()
        try:
            fleet.wait(timeout=10)
        except subprocess.TimeoutExpired:
            fleet.kill()
        checker.client.loop_stop()
        watcher.client.loop_stop()


def main():
    devices, seconds = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    cluster = Cluster()
    try:
        print(f"RabbitMQ {cluster.version()}, {len(cluster.nodes)} nodes; {devices} devices for {seconds} s")
        return 0 if run(cluster, devices, seconds) else 1
    finally:
        cluster.close()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main())
