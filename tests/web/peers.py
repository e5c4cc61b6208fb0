#!/usr/bin/env python3
"""What stands beside the page as others see it: Prometheus and its promtool read the metrics and rules, nginx puts HTTPS before it."""
import json
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from daemon import REPOSITORY, Daemon
from waiting import free_port, until

EXAMPLES = REPOSITORY / "examples"
SCRAPING = 60  # seconds


def promtool_is_content(daemon):
    text = daemon.get("metrics")
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert checked.returncode == 0 and not checked.stderr, checked.stderr
    rules = subprocess.run(["promtool", "check", "rules", EXAMPLES / "prometheus/resnetd.rules.yml"], capture_output=True, text=True)
    assert rules.returncode == 0, rules.stdout + rules.stderr
    told = {line.split("`")[1].split("{")[0] for line in (REPOSITORY / "docs/METRICS.md").read_text().splitlines() if line.startswith("| `")}
    told |= {name for line in (REPOSITORY / "docs/METRICS.md").read_text().splitlines() for name in line.split("`") if name.startswith("resnetd_")}
    there = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert there <= told, f"docs/METRICS.md lacks {there - told}"


def prometheus_scrapes(daemon):
    with tempfile.TemporaryDirectory(prefix="resnetd-prometheus-") as folder:
        config = Path(folder) / "prometheus.yml"
        config.write_text(
            "global: { scrape_interval: 5s, evaluation_interval: 5s }\n"
            f"rule_files: [{EXAMPLES}/prometheus/resnetd.rules.yml]\n"
            f'scrape_configs: [{{ job_name: resnetd, static_configs: [{{ targets: ["127.0.0.1:{daemon.port}"] }}] }}]\n'
        )
        port = free_port()
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(SCRAPING)

            def query(text):
                address = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(text)}"
                with urllib.request.urlopen(address, timeout=10) as answer:
                    return json.load(answer)["data"]["result"]

            assert query('up{job="resnetd"}')[0]["value"][1] == "1"
            median = query("histogram_quantile(0.5, rate(resnetd_inference_seconds_bucket[50s]))")
            milliseconds = 1000 * float(median[0]["value"][1])
            assert 1 < milliseconds < 2000, median
            frames = float(query("rate(resnetd_classifications_total[50s])")[0]["value"][1])
            assert frames > 0.5, frames
            firing = [one["metric"]["alertname"] for one in query("ALERTS")]
            assert "ResnetdDown" not in firing and "ResnetdCameraLost" not in firing, firing
            print(f"      Prometheus: median inference {milliseconds:.0f} ms, {frames:.1f} frames a second")
        finally:
            server.terminate()
            server.wait()


def nginx_puts_https_before_it(daemon):
    with tempfile.TemporaryDirectory(prefix="resnetd-nginx-") as folder:
        key, certificate, port = Path(folder) / "key.pem", Path(folder) / "cert.pem", free_port()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=camera.example",
             "-keyout", key, "-out", certificate], check=True, capture_output=True)
        site = (EXAMPLES / "nginx/resnetd.conf").read_text()
        for old, new in [("listen 443", f"listen 127.0.0.1:{port}"), ("127.0.0.1:8080", f"127.0.0.1:{daemon.port}"),
                         ("/etc/ssl/certs/camera.pem", str(certificate)), ("/etc/ssl/private/camera.key", str(key))]:
            assert old in site, old
            site = site.replace(old, new)
        config = Path(folder) / "nginx.conf"
        user = "user root;\n" if Path(folder).owner() == "root" else ""
        config.write_text(
            f"{user}daemon off; pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\nhttp {{ access_log off;\n"
            + "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")) + site + "}\n")
        server = subprocess.Popen(["/usr/sbin/nginx", "-e", f"{folder}/error.log", "-c", config])
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE

        def ask(path, host="camera.example"):
            request = urllib.request.Request(f"https://127.0.0.1:{port}/{path}", headers={"Host": host})
            return urllib.request.urlopen(request, timeout=10, context=trust)

        def answers():
            try:
                return ask("healthz").status == 200
            except OSError:
                return False

        try:
            until(answers, 10, "nginx passes on")
            with ask("events") as events:  # a first message comes at once, though the answer never ends
                began = time.monotonic()
                lines = [events.readline() for _ in range(3)]
                assert time.monotonic() - began < 3 and lines[2].startswith(b'data: {"type":"hello"'), lines
            with ask("stream.mjpg") as stream:
                assert b"--resnetd-frame" in stream.read(64)
            try:
                ask("state", host="other.example")
                raise AssertionError("another name was answered")
            except urllib.error.HTTPError as error:
                assert error.code == 421, error
        finally:
            server.terminate()
            server.wait()


def main():
    daemon = Daemon(sys.argv[1], [("front", "demo:")], 'hosts = ["camera.example"]')
    try:
        for step in [promtool_is_content, nginx_puts_https_before_it, prometheus_scrapes]:
            began = time.monotonic()
            step(daemon)
            print(f"ok    {step.__name__.replace('_', ' ')} ({time.monotonic() - began:.1f} s)", flush=True)
    finally:
        daemon.close()


if __name__ == "__main__":
    main()
