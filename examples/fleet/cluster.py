"""Three nodes of RabbitMQ with its MQTT plugin on this machine, as one cluster that may lose any of them."""
import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from waiting import free_port, free_ports, until

BIN = Path("/usr/lib/rabbitmq/bin")
NODES = 3
#: Every node has all that is not acknowledged; the order of messages is kept.
CONFIG = """
log.file.level = warning
mqtt.listeners.tcp.default = 127.0.0.1:{mqtt}
mqtt.allow_anonymous = true
mqtt.durable_queue_type = quorum
listeners.tcp = none
"""


class Node:
    def __init__(self, folder, name, epmd):
        self.name, self.folder = f"{name}@localhost", folder / name
        self.folder.mkdir()
        self.port, distribution = free_ports(2)
        (self.folder / "rabbitmq.conf").write_text(CONFIG.format(mqtt=self.port))
        (self.folder / "plugins").write_text("[rabbitmq_mqtt].\n")
        self.environment = {
            **os.environ, "HOME": str(folder), "ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.name, "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder), "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"), "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
        }
        self.process = None

    def start(self):
        out = open(self.folder / "out", "a")
        command = [BIN / "rabbitmq-server"]
        self.process = subprocess.Popen(command, env=self.environment, stdout=out, stderr=out, cwd=self.folder, start_new_session=True)

    def control(self, *arguments):
        done = subprocess.run([BIN / "rabbitmqctl", *arguments], env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{self.name}: rabbitmqctl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def listens(self):
        assert self.process.poll() is None, f"{self.name} ended: {self.folder}/out"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def kill(self):
        """As a power cut does it, but for what is in the disk's cache."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Cluster:
    def __init__(self):
        self.place = tempfile.TemporaryDirectory(prefix="resnetd-fleet-")
        self.folder = Path(self.place.name)
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text("of-this-cluster-alone")
        cookie.chmod(0o400)
        epmd = free_port()
        environment = {**os.environ, "ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        self.epmd = subprocess.Popen(["epmd"], env=environment)
        self.nodes = [Node(self.folder, f"node{number}", epmd) for number in range(NODES)]
        atexit.register(self.close)
        self.begin()

    def begin(self):
        for node in self.nodes:
            node.start()
            until(node.listens, 120, f"{node.name} listens; its log: {node.folder}")
        for node in self.nodes[1:]:
            for command in (["stop_app"], ["reset"], ["join_cluster", self.nodes[0].name], ["start_app"]):
                node.control(*command)
            until(node.listens, 60, f"{node.name} listens in the cluster")

    def version(self):
        return self.nodes[0].control("version").strip()

    def close(self):
        """Whatever happens: nothing else ends the nodes, which are in sessions of their own."""
        atexit.unregister(self.close)
        for node in self.nodes:
            if node.process and node.process.poll() is None:
                node.kill()
        self.epmd.terminate()
        self.epmd.wait()
        self.place.cleanup()
