"""What is measured, and how it gets here: wheels into a private environment, runners and our own program by cargo.

Everything lies under target/peers/; an engine that cannot be had is left out, with the reason.
"""

import json
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PLACE = ROOT / "target" / "peers"
PYTHON = PLACE / "venv" / "bin" / "python"
MODELS = PLACE / "models"
NETWORKS = ["resnet50", "resnet101"]
RECIPE = "1"  # of the models: another one makes them anew

# What makes the models; ONNX Runtime is both this and a peer.
TOOLS = ["numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.32.0", "flatbuffers==25.12.19"]


@dataclass(frozen=True)
class Engine:
    key: str
    title: str
    model: str  # the ending of its file
    best: str  # the strongest class that it makes use of
    wheel: str = ""
    feature: str = ""  # of the cargo project beside this, for those in Rust
    held: bool = False  # it has a switch that holds it to a class
    by: str = ""  # what writes its models, where that is not write_onnx.py


ENGINES = [
    Engine("onnxruntime", "ONNX Runtime", ".onnx", "avx512vnni", wheel="onnxruntime==1.32.0"),
    Engine("openvino", "OpenVINO", ".onnx", "amx", wheel="openvino==2026.4.1", held=True),
    Engine("litert", "LiteRT", ".tflite", "amx", wheel="ai-edge-litert==2.3.0", by="write_tflite.py"),
    Engine("ncnn", "ncnn", "", "avx512vnni", wheel="ncnn==1.0.20261020", by="write_ncnn.py"),
    Engine("tract", "tract (stock)", ".onnx", "avx512vnni", feature="tract"),
    Engine("rten", "rten", ".onnx", "avx512vnni", feature="rten"),
    Engine("resnetd", "resnetd", ".nnef.tar", "amx", held=True),
]
OURS = ENGINES[-1]


class Missing(Exception):
    """An engine cannot be had; says why."""


def say(text):
    print(f"bench-peers: {text}", file=sys.stderr, flush=True)


def command(arguments):
    """Runs to the end; its output is shown only where it fails."""
    done = subprocess.run(
        [str(a) for a in arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        tail = "\n    ".join(done.stdout.strip().splitlines()[-6:])
        raise Missing(f"{Path(arguments[0]).name} {arguments[1]} failed:\n    {tail}")
    return done.stdout


def pip(*wanted, more=()):
    quiet = ["--quiet", "--no-cache-dir", "--disable-pip-version-check"]
    command([PYTHON, "-m", "pip", "install", *quiet, *more, *wanted])


def prepare_python():
    if not (PYTHON.parent / "pip").exists():  # else a try that was cut off is repaired
        say(f"making {PYTHON.parent.parent.relative_to(ROOT)}")
        venv.create(PYTHON.parent.parent, with_pip=True)
    say("installing " + " ".join(TOOLS))
    pip(*TOOLS)


def install(engine):
    """Makes an engine runnable; gives the command line before MODEL and what to call its version."""
    if engine is OURS:
        return build_ours()
    if engine.feature:
        return build_peer(engine)
    say(f"installing {engine.wheel}")
    # OpenVINO depends on a package that reports its use, and runs without it
    pip(engine.wheel, more=["--no-deps"] if engine.key == "openvino" else [])
    return [str(PYTHON), str(HERE / "run.py"), engine.key], engine.wheel.split("==")[1]


def build_peer(engine):
    say(f"building {engine.title}: the first time takes minutes")
    target = PLACE / "cargo"
    command(
        ["cargo", "build", "--locked", "--release", "--manifest-path", HERE / "Cargo.toml", "--target-dir", target,
         "--features", engine.feature, "--bin", f"peer-{engine.key}"]
    )  # fmt: skip
    crate = {"tract": "tract-onnx"}.get(engine.key, engine.key)
    lock = (HERE / "Cargo.lock").read_text(encoding="utf-8")
    version = re.search(rf'name = "{crate}"\nversion = "([^"]+)"', lock)[1]
    return [str(target / "release" / f"peer-{engine.key}")], version


def release():
    """Where cargo leaves our own programs."""
    said = command(["cargo", "metadata", "--no-deps", "--format-version", "1", "--manifest-path", ROOT / "Cargo.toml"])
    return Path(json.loads(said)["target_directory"]) / "release"


def build_ours():
    say("building resnetd")
    command(["cargo", "build", "--locked", "--release", "--bin", "resnetd", "--manifest-path", ROOT / "Cargo.toml"])
    program = release() / "resnetd"
    version = command([program, "--version"]).split()[-1]
    try:
        commit = command(["git", "-C", ROOT, "describe", "--always", "--dirty"]).strip()
    except (Missing, OSError):
        return [str(program)], version
    return [str(program)], f"{version} at {commit}"


def make_model(engine, network):
    """The network in the engine's format: ours as shipped; else made once, and again when the recipe changes."""
    if engine is OURS:
        return ROOT / f"models/{network}-imagenette.nnef.tar"
    path = MODELS / f"{network}-{RECIPE}{engine.model}"
    onnx = MODELS / f"{network}-{RECIPE}.onnx"
    MODELS.mkdir(parents=True, exist_ok=True)
    once(onnx, lambda new: [PYTHON, HERE / "write_onnx.py", network, new])
    if engine.by:
        finished = path if engine.model else Path(f"{path}.bin")
        once(finished, lambda new: [PYTHON, HERE / engine.by, network, onnx, path if not engine.model else new])
    return path


def once(path, arguments):
    """Has a file made unless it is there; under another name until it is whole."""
    if path.exists():
        return
    say(f"making {path.name}")
    new = path.with_name("new-" + path.name)
    command(arguments(new))
    if new.exists():
        new.rename(path)
