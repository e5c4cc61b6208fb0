#!/usr/bin/env python3
"""Labels at a real broker: Mosquitto is killed and comes back, refuses, forgets, wants TLS; and Home Assistant is told of everything."""
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from broker import Broker, Subscriber, gaps
from waiting import until

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = sys.argv[1]
#: What Home Assistant's documentation demands of each platform, beside unique_id; and what else each may have here.
COMPONENTS = {
    "sensor": ({"state_topic"}, {"name", "icon", "value_template", "json_attributes_topic", "unit_of_measurement", "state_class", "entity_category", "device_class"}),
    "binary_sensor": ({"state_topic"}, {"name", "value_template"}),
    "camera": ({"topic"}, {"name"}),
}


class Daemon:
    """resnetd with rendered scenes, whose label changes every few seconds."""

    def __init__(self, broker, more="", cameras=("front",), url=None, device="pi"):
        self.folder = Path(tempfile.mkdtemp(prefix="resnetd-mqtt-"))
        bundle = REPOSITORY / "models/resnet50-imagenette.nnef.tar"
        url = url or f"mqtt://127.0.0.1:{broker.port}"
        tables = "".join(f"[[camera]]\nname = {json.dumps(name, ensure_ascii=False)}\nsource = \"demo:\"\n" for name in cameras)
        (self.folder / "c.toml").write_text(
            f'model = "{bundle}"\nsmoothing_ms = 100\n[mqtt]\nurl = "{url}"\ndevice = "{device}"\n{more}\n{tables}')
        self.start()

    def start(self):
        self.log = open(self.folder / "log", "a+")
        command = [PROGRAM, "run", "--config", self.folder / "c.toml", "--socket", self.folder / "s"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log)

    def said(self):
        return (self.folder / "log").read_text()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(timeout=10) == 0, self.said()


def running(*stoppable):
    """Stops all of them at the end, whatever happens."""
    class Running:
        def __enter__(self):
            return stoppable

        def __exit__(self, *_):
            for one in stoppable:
                (one.stop if isinstance(one, Daemon) else one.close)()
    return Running()


def labels_events_and_pictures_arrive():
    broker = Broker()
    with running(Daemon(broker), broker) as (_daemon, _):
        checker = Subscriber(broker)
        label = until(lambda: checker.json("resnetd/pi/front/label"), 20, "a label")
        assert label["label"] and 0 < label["confidence"] <= 1 and label["labels"] == [label["label"]], label
        assert checker.states["resnetd/pi/status"] == b"online"
        until(lambda: len(checker.events) >= 4, 40, "changes")
        assert gaps(checker.events) == (0, 0), checker.events
        first, second = checker.events[0], checker.events[1]
        assert second["from"] == first["to"], (first, second)
        picture = until(lambda: checker.states.get("resnetd/pi/front/picture"), 20, "a picture")
        assert picture[:2] == b"\xff\xd8" and picture[-2:] == b"\xff\xd9"
        machine = until(lambda: checker.json("resnetd/pi/machine"), 40, "the machine")
        assert machine["model"] == "resnet50-imagenette", machine
        checker.close()
        late = Subscriber(broker, "late")
        until(lambda: {"resnetd/pi/status", "resnetd/pi/front/label", "resnetd/pi/front/picture"} <= late.retained, 5, "what is retained")
        late.close()


def the_broker_is_killed_and_no_change_is_lost():
    broker = Broker(persistent=True)
    with running(Daemon(broker), broker) as (daemon, _):
        checker = Subscriber(broker)
        until(lambda: len(checker.events) >= 2, 30, "changes")
        time.sleep(2)  # for it to write down that there is a subscriber
        broker.kill()
        time.sleep(5)
        before = len(checker.events)
        broker.start()
        until(lambda: len(checker.events) >= before + 4, 60, "changes go on, those of the gap first")
        missing, _ = gaps(checker.events)
        assert missing == 0, f"{missing} changes are lost: {[event['sequence'] for event in checker.events]}"
        assert checker.states["resnetd/pi/status"] == b"online"
        assert "labels wait for the broker" in daemon.said()
        checker.close()


def a_broker_that_forgot_everything_is_told_again():
    broker = Broker()
    with running(Daemon(broker), broker):
        first = Subscriber(broker, "first")
        until(lambda: first.json("resnetd/pi/front/label"), 20, "a label")
        first.close()
        broker.kill()
        broker.start()
        second = Subscriber(broker, "second")
        wanted = {"resnetd/pi/status", "resnetd/pi/front/label", "resnetd/pi/front/camera", "homeassistant/device/resnetd-pi/config"}
        until(lambda: wanted <= set(second.states), 30, "all states")
        second.close()


def a_device_that_ends_or_dies_is_offline_and_back_when_it_returns():
    broker = Broker()
    daemon = Daemon(broker)
    with running(daemon, broker):
        checker = Subscriber(broker)
        until(lambda: checker.states.get("resnetd/pi/status") == b"online", 20, "it is online")
        daemon.stop()
        until(lambda: checker.states.get("resnetd/pi/status") == b"offline", 10, "it has ended")
        daemon.start()
        until(lambda: checker.states.get("resnetd/pi/status") == b"online", 20, "it is back")
        daemon.process.kill()
        daemon.process.wait()
        until(lambda: checker.states.get("resnetd/pi/status") == b"offline", 60, "it has died")
        daemon.start()
        until(lambda: checker.states.get("resnetd/pi/status") == b"online", 20, "it is back again")
        runs = {event["run"] for event in checker.events}
        until(lambda: {event["run"] for event in checker.events} - runs, 40, "its events are another run's")
        assert gaps(checker.events)[0] == 0
        checker.close()


def a_wrong_password_is_told_once_and_labels_go_on():
    broker = Broker(users={"resnetd": "right"})
    password = Path(tempfile.mkdtemp(prefix="resnetd-mqtt-")) / "password"
    password.write_text("wrong\n")
    more = f'username = "resnetd"\npassword_file = "{password}"'
    with running(Daemon(broker, more), broker) as (daemon, _):
        until(lambda: "refuses this user" in daemon.said(), 20, "the refusal is told")
        time.sleep(4)
        assert daemon.said().count("refuses this user") == 1, daemon.said()
        assert '"confidence"' in hear(daemon)
        password.write_text("right\n")
        checker = Subscriber(broker, user=("resnetd", "right"))
        until(lambda: checker.states.get("resnetd/pi/status") == b"online", 30, "the right one is taken without a restart")
        checker.close()


def hear(daemon):
    """What the socket says first, up to a label."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(10)
        one.connect(str(daemon.folder / "s"))
        text = b""
        while b'"classification"' not in text or not text.endswith(b"\n"):
            text += one.recv(4096)
    return text.decode()


def more_events_than_there_is_room_for_cost_the_oldest():
    # unit tests hold the bound (src/publish/mqtt/outbox.rs); here: memory and labels while nobody answers for a while
    broker = Broker()
    daemon = Daemon(broker)
    with running(daemon, broker):
        checker = Subscriber(broker)
        until(lambda: len(checker.events) >= 3, 60, "changes")
        broker.kill()
        before = resident(daemon)
        time.sleep(20)
        hear(daemon)
        grown = resident(daemon) - before
        assert grown < 4 * 1024, f"{grown} KiB more while the broker is away"
        broker.start()
        checker.close()


def resident(daemon):
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


def tls_trusts_whom_it_is_told_to():
    folder = Path(tempfile.mkdtemp(prefix="resnetd-mqtt-"))
    folder.chmod(0o755)
    ca, key, certificate, request = (folder / name for name in ("ca.pem", "key.pem", "cert.pem", "request"))
    run = lambda *command: subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test authority", "-keyout", folder / "ca.key", "-out", ca)
    run("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", request)
    run("x509", "-req", "-in", request, "-CA", ca, "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "1", "-copy_extensions", "copy", "-out", certificate)
    for file in folder.iterdir():
        file.chmod(0o644)
    broker = Broker(f"keyfile {key}\ncertfile {certificate}")
    url = f"mqtts://localhost:{broker.port}"
    with running(Daemon(broker, f'ca_file = "{ca}"', url=url), Daemon(broker, url=url, device="other"), broker) as (trusting, doubting, _):
        until(lambda: "connected to the broker" in trusting.said(), 20, "it trusts its own authority")
        until(lambda: "no trust" in doubting.said(), 20, "and nobody else does")
        assert "ca_file" in doubting.said()


def brokers_that_are_not_there_are_told_with_a_remedy():
    broker = Broker()
    with running(Daemon(broker, url="mqtt://nobody.invalid"), Daemon(broker, url="mqtt://pi.local"), broker) as (nobody, local, _):
        until(lambda: "has no address" in nobody.said(), 20, "no such name")
        until(lambda: "mDNS" in local.said(), 20, "the reason for names in .local")
        hear(nobody)


def names_may_hold_anything():
    broker = Broker()
    names = ("a/b", "x#+ \u00e9\U0001f600", "plain")
    more = 'labels = ["golf ball", "a \\"b\\" \u00e9"]'
    with running(Daemon(broker, more, cameras=names), broker):
        checker = Subscriber(broker)
        until(lambda: len([topic for topic in checker.states if topic.endswith("/label")]) == 3, 40, "a label of each")
        levels = {topic.split("/")[2] for topic in checker.states if topic.endswith("/label")}
        assert len(levels) == 3 and "plain" in levels and all(re.fullmatch(r"[A-Za-z0-9_-]+", level) for level in levels), levels
        checker.close()


def home_assistant_finds_everything():
    broker = Broker()
    more = 'labels = ["golf ball", "parachute"]'
    with running(Daemon(broker, more, cameras=("front", "yard")), broker):
        checker = Subscriber(broker)
        topic = "homeassistant/device/resnetd-pi/config"
        # the first announcement may be from before the model said which labels there are
        components = lambda: (checker.json(topic) or {}).get("components", {})
        until(lambda: any(one["platform"] == "binary_sensor" for one in components().values()), 20, "the announcement with labels")
        config = checker.json(topic)
        demanded = {"device", "origin", "components"}
        assert demanded <= set(config) and set(config) <= demanded | {"availability_topic", "payload_available", "payload_not_available", "qos"}, set(config)
        assert config["device"]["identifiers"] and config["origin"]["name"] == "resnetd"
        assert config["availability_topic"] == "resnetd/pi/status"
        for name, component in config["components"].items():
            needs, may = COMPONENTS[component["platform"]]
            keys = set(component) - {"platform", "unique_id"}
            assert needs <= keys <= needs | may and component["unique_id"] == name, component
        until(lambda: {one.get("state_topic", one.get("topic")) for one in config["components"].values()} <= set(checker.states), 60, "every topic that it names has something")
        kinds = [one["platform"] for one in config["components"].values()]
        assert (kinds.count("binary_sensor"), kinds.count("camera")) == (4, 2), kinds
        checker.states.pop(topic)
        checker.client.publish("homeassistant/status", "online", qos=1)
        until(lambda: topic in checker.states, 10, "it is announced again when Home Assistant starts")
        checker.close()


STEPS = [
    labels_events_and_pictures_arrive, the_broker_is_killed_and_no_change_is_lost, a_broker_that_forgot_everything_is_told_again,
    a_device_that_ends_or_dies_is_offline_and_back_when_it_returns, a_wrong_password_is_told_once_and_labels_go_on,
    more_events_than_there_is_room_for_cost_the_oldest, tls_trusts_whom_it_is_told_to, brokers_that_are_not_there_are_told_with_a_remedy,
    names_may_hold_anything, home_assistant_finds_everything,
]


def main():
    wanted = sys.argv[2:]
    for step in STEPS:
        if wanted and step.__name__ not in wanted:
            continue
        began = time.monotonic()
        step()
        print(f"ok    {step.__name__.replace('_', ' ')} ({time.monotonic() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
