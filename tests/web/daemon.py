"""resnetd as the tests of its page run it, and a network camera that can be switched off."""
import http.server
import os
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from waiting import free_port, until

REPOSITORY = Path(__file__).resolve().parents[2]


class Daemon:
    """`cameras` are pairs of a name and a source; `http` are more lines for [http]. With a `token` pictures are kept, too, and
    with `state` there is a state directory."""

    def __init__(self, program, cameras, http="", token=None, state=False):
        self.program, self.port = program, free_port()
        self.folder = tempfile.TemporaryDirectory(prefix="resnetd-web-")
        self.config = Path(self.folder.name) / "resnetd.toml"
        self.kept = Path(self.folder.name) / "kept"
        self.state = Path(self.folder.name) / "state"
        self.environment = dict(os.environ)
        if state:
            self.state.mkdir()
            self.environment["STATE_DIRECTORY"] = str(self.state)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        if token:
            self.kept.mkdir()
            (Path(self.folder.name) / "token").write_text(token)
            http += f'\ntoken_file = "{self.folder.name}/token"\n[snapshots]\ndir = "{self.kept}"'

        tables = "".join(f'[[camera]]\nname = "{name}"\nsource = "{source}"\n' for name, source in cameras)
        bundle = REPOSITORY / "models/resnet50-imagenette.nnef.tar"
        self.config.write_text(f'model = "{bundle}"\n[http]\nlisten = "127.0.0.1:{self.port}"\n{http}\n{tables}')
        self.log = open(Path(self.folder.name) / "log", "w+")
        self.address = f"http://127.0.0.1:{self.port}/"
        self.process = None
        self.start()

    def start(self):
        command = [self.program, "run", "--config", self.config, "--socket", Path(self.folder.name) / "socket"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log, env=self.environment)
        until(self.healthy, 30, f"resnetd serves its page; its log: {self.log.name}")

    def healthy(self):
        try:
            return self.get("healthz").startswith("The inference loop turns")
        except OSError:
            return False

    def get(self, path):
        return self.bytes(path).decode("utf-8", "replace")

    def bytes(self, path):
        request = urllib.request.Request(self.address + path, headers=self.headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(timeout=10)
        assert code == 0, f"resnetd ended with {code}"

    def close(self):
        if self.process.poll() is None:
            self.stop()
        self.folder.cleanup()


class NetworkCamera:
    """Serves a JPEG as MJPEG, ten times a second, while it is on."""

    def __init__(self, jpeg):
        self.on = True
        camera = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if not camera.on:
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
                self.end_headers()
                try:
                    while camera.on:
                        self.wfile.write(b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n")
                        time.sleep(0.1)
                except OSError:
                    pass  # who looked has gone

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
