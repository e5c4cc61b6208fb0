#!/usr/bin/env python3
"""The machine with cameras: runs the ARM binary on Debian's kernel and its virtual camera, vivid. See README.md."""
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import machine
from machine import REPOSITORY, WORK

HERE = Path(__file__).parent
BINARY = REPOSITORY / "target/aarch64-unknown-linux-musl/release/resnetd"
#: When to give the machine up, in seconds. Scenarios have bounds of their own, in the machine's time.
BOUND = 1800


def tool():
    """Compiles vmtool.c for the machine: with zig, which `make cross` has left, or else Debian's cross compiler."""
    source, program = HERE / "vmtool.c", WORK / "vmtool"
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    if (REPOSITORY / "target/cross/venv").is_dir():
        compiler = [REPOSITORY / "cross/zig-cc"]
    else:
        subprocess.run([REPOSITORY / "cross/need.sh", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"], check=True)
        compiler = ["aarch64-linux-gnu-gcc"]
    zig = {"ZIG_GLOBAL_CACHE_DIR": str(REPOSITORY / "target/cross/zig"), "ZIG_LOCAL_CACHE_DIR": str(REPOSITORY / "target/cross/zig")}
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-static", "-o", program, source]
    subprocess.run([*compiler, *flags], check=True, env={**os.environ, **zig})
    return program


def bundles():
    """The networks that the scenarios run: a tiny one, and ResNet101 and ResNet50 with made-up weights."""
    folder = WORK / "bundles"
    made = [folder / name for name in ["tiny.nnef.tar", "resnet101.nnef.tar", "synthetic50.nnef.tar"]]
    tiny, large, small = made
    sources = [*REPOSITORY.glob("src/**/*.rs"), REPOSITORY / "tests/golden/tiny_resnet.safetensors"]
    changed = max(path.stat().st_mtime for path in sources)
    if all(path.exists() and path.stat().st_mtime > changed for path in made):
        return made
    pictures = folder / "pictures" / "any"
    pictures.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, REPOSITORY / "cross/make_png.py", pictures], check=True)
    # The profile and features of `make test`, whose build is then at hand.
    model = ["cargo", "run", "--quiet", "--features", "tools", "--bin", "resnetd-model", "--"]
    floating = folder / "float.nnef.tar"
    for arguments in [
        ["import", REPOSITORY / "tests/golden/tiny_resnet.safetensors", "-o", floating],
        ["quantize", floating, "--calib", pictures.parent, "-o", tiny],
        ["synth", "--arch", "resnet101", "--seed", "1", "-o", large],
        ["synth", "--arch", "resnet50", "--seed", "1", "-o", small],
    ]:
        subprocess.run([*model, *arguments], check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    return made


def initrd(linux, busybox):
    archive = machine.Archive(WORK / "cameras.cpio")
    archive.console()
    for folder in ["proc", "sys", "tmp", "run", "root"]:
        archive.folder(folder)
    archive.add("bin/busybox", busybox / "bin/busybox", 0o755)
    archive.link("bin/sh", "busybox")
    archive.add("bin/resnetd", BINARY, 0o755)
    archive.add("bin/vmtool", tool(), 0o755)
    archive.add("init", HERE / "init", 0o755)
    archive.add("vm/lib.sh", HERE / "lib.sh")
    for path in sorted((HERE / "scenarios").glob("*.sh")):
        archive.add(f"vm/scenarios/{path.name}", path)
    order = machine.modules(linux, "vivid")
    for name, content in order:
        archive.add(f"modules/{name}.ko", content)
    archive.add("modules/order", "".join(f"{name}\n" for name, _ in order))
    for bundle in bundles():
        archive.add(f"models/{bundle.name}", bundle)
    archive.add("models/resnet50.nnef.tar", REPOSITORY / "models/resnet50-imagenette.nnef.tar")
    return archive.close()


def planned(folder):
    """The scenarios of a folder, those that the arguments name if they name some; and what tells the machine of it."""
    names, chosen = [], sys.argv[1:]
    for path in sorted(folder.glob("*.sh")):
        names += re.findall(r"^scenario_([a-z0-9_]+)\(\)", path.read_text(), re.MULTILINE)
    if unknown := set(chosen) - set(names):
        sys.exit(f"no such scenario: {' '.join(sorted(unknown))}; there are {' '.join(names)}")
    return [name for name in names if not chosen or name in chosen], f"vm_only={','.join(chosen)}" if chosen else ""


def prepare():
    """What every machine needs; its kernel's unpacked package and image."""
    if not BINARY.exists():
        sys.exit(f"there is no {BINARY.relative_to(REPOSITORY)}; run make cross")
    subprocess.run([REPOSITORY / "cross/need.sh", "qemu-system-arm"], check=True)
    (WORK / "bundles").mkdir(parents=True, exist_ok=True)
    return machine.kernel()


def main():
    names, only = planned(HERE / "scenarios")
    linux, image = prepare()
    packed = initrd(linux, machine.fetch("busybox-static"))
    log = WORK / "cameras.txt"
    console = machine.boot(image, packed, log, BOUND, append=f"loglevel=1 {only}", own_time=True)
    return 0 if machine.judge(console, names, log.relative_to(REPOSITORY)) else 1


if __name__ == "__main__":
    sys.exit(main())
