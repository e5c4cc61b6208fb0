"""A Mosquitto that can be killed, and a subscriber that remembers what it got."""
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import paho.mqtt.client as mqtt

from waiting import free_port, until


class Broker:
    """`more` are lines of its configuration; with `users` (name: password) only they may come."""

    def __init__(self, more="", users=None, persistent=False):
        self.folder = Path(tempfile.mkdtemp(prefix="resnetd-mqtt-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        lines = [f"listener {self.port} 127.0.0.1", f"user {'root' if os.geteuid() == 0 else 'mosquitto'}", more]
        if persistent:
            lines += ["persistence true", f"persistence_location {self.folder}/", "autosave_interval 1"]
        if users:
            passwords = self.folder / "passwords"
            passwords.touch()
            for name, password in users.items():
                subprocess.run(["mosquitto_passwd", "-b", passwords, name, password], check=True, capture_output=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        else:
            lines.append("allow_anonymous true")
        (self.folder / "conf").write_text("\n".join(lines) + "\n")
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(["/usr/sbin/mosquitto", "-c", self.folder / "conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.answers, 10, "mosquitto listens")

    def answers(self):
        assert self.process.poll() is None, f"mosquitto ended with {self.process.returncode}: {self.folder}/conf"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        self.kill()


class Subscriber:
    """Gets everything; `states` is the newest of each topic, `events` all events in their order."""

    def __init__(self, broker, name="checker", user=None, topics=("resnetd/#", "homeassistant/#")):
        self.states, self.events, self.retained = {}, [], set()
        self.lock = threading.Lock()
        self.client = mqtt.Client(name, clean_session=False)
        if user:
            self.client.username_pw_set(*user)
        self.client.on_message = self.message
        self.client.on_connect = lambda client, *_: [client.subscribe(topic, 1) for topic in topics]
        self.client.reconnect_delay_set(0.2, 1)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()

    def message(self, _client, _data, message):
        with self.lock:
            self.states[message.topic] = message.payload
            if message.retain:
                self.retained.add(message.topic)
            if message.topic.endswith("/event"):
                self.events.append(json.loads(message.payload))

    def json(self, topic):
        return json.loads(self.states[topic]) if self.states.get(topic) else None

    def close(self):
        self.client.loop_stop()
        self.client.disconnect()


def gaps(events):
    """Numbers that are missing, and those that came more than once, of one run each."""
    missing, twice = 0, 0
    for run in {event["run"] for event in events}:
        numbers = [event["sequence"] for event in events if event["run"] == run]
        twice += len(numbers) - len(set(numbers))
        missing += max(numbers) - min(numbers) + 1 - len(set(numbers))
    return missing, twice
