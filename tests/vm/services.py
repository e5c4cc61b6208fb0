#!/usr/bin/env python3
"""The machine with systemd: Debian starts in it, and the service with the ARM binary under systemd. See README.md."""
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import cameras
import debian
import machine
from machine import REPOSITORY, WORK

HERE = Path(__file__).parent / "service"
#: The emulated part's bound in seconds, for a machine that has other work too.
BOUND = 900


def installed():
    """What `make install` puts into a system."""
    folder = WORK / "installed"
    shutil.rmtree(folder, ignore_errors=True)
    settings = {"DESTDIR": str(folder), "BINARY": str(cameras.BINARY), "PAGES": "/nonexistent"}
    subprocess.run([REPOSITORY / "systemd/install.sh"], check=True, stderr=subprocess.DEVNULL, env={**os.environ, **settings})
    return folder


def package(name):
    """The newest of this name for arm64 that `make deb` has left, as a list of it, or of none."""
    made = (REPOSITORY / "target/debian").glob(f"{name}_*_arm64.deb")
    return sorted(made, key=lambda path: path.stat().st_mtime)[-1:]


def packages():
    """The package of the device's program, and the same as a later revision; neither where there is none."""
    made = package("resnetd")
    if not made:
        return []
    folder, later = WORK / "package", WORK / "later.deb"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["dpkg-deb", "-R", made[-1], folder], check=True)
    control = folder / "DEBIAN/control"
    control.write_text(re.sub(r"^(Version: .*)-[^-\n]*$", r"\1-2", control.read_text(), flags=re.MULTILINE))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", folder, later], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder)
    return [made[-1], later]


def picture(number, upright):
    """A PNG of 64x64 pixels: stripes, which stand or lie."""
    rows = []
    for y in range(64):
        stripes = [((x if upright else y) + number) // (4 + number) % 2 for x in range(64)]
        rows.append(bytes([0]) + bytes(255 * lit for lit in stripes))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    packed = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def initrd(linux, busybox):
    archive = machine.Archive(WORK / "services.cpio")
    archive.console()
    archive.add("bin/busybox", busybox / "bin/busybox", 0o755)
    archive.add("init", HERE / "init", 0o755)
    order = machine.modules(linux, "virtio_mmio", "virtio_blk", "crc32c_generic", "ext4", "autofs4", "vivid")
    for name, content in order:
        archive.add(f"modules/{name}.ko", content)
    archive.add("modules/order", "".join(f"{name}\n" for name, _ in order))
    folder = installed()
    for path in sorted(path for path in folder.glob("**/*") if path.is_file()):
        archive.add(f"put/{path.relative_to(folder)}", path, path.stat().st_mode & 0o777)
    archive.add("put/usr/bin/vmtool", cameras.tool(), 0o755)
    archive.add("put/vm/lib.sh", HERE.parent / "lib.sh")
    archive.add("put/vm/start", HERE / "start", 0o755)
    for path in sorted((HERE / "scenarios").glob("*.sh")):
        archive.add(f"put/vm/scenarios/{path.name}", path)
    for number, path in enumerate(packages(), 1):
        archive.add(f"put/packages/{number}.deb", path)
    for path in package("resnetd-model"):
        archive.add("put/packages/model.deb", path)
    for number in range(4):
        for label in ["standing", "lying"]:
            archive.add(f"put/vm/labelled/{label}/{number}.png", picture(number, label == "standing"))
    units = "put/etc/systemd/system"
    archive.add(f"{units}/scenarios.service", HERE / "scenarios.service")
    archive.link(f"{units}/multi-user.target.wants/scenarios.service", "../scenarios.service")
    # Of all the machine's devices only the cameras matter to anybody.
    trigger = "[Service]\nExecStart=\nExecStart=udevadm trigger --subsystem-match=video4linux --action=add\n"
    archive.add(f"{units}/systemd-udev-trigger.service.d/cameras.conf", trigger)
    tiny, large, _ = cameras.bundles()
    archive.add("put/models/tiny.nnef.tar", tiny)
    archive.add("put/models/resnet101.nnef.tar", large)
    return archive.close()


def main():
    names, only = cameras.planned(HERE / "scenarios")
    linux, image = cameras.prepare()
    packed = initrd(linux, machine.fetch("busybox-static"))
    # Nothing that the machine writes reaches the image.
    root = debian.image("ffmpeg")
    disk = f"if=none,id=root,format=raw,snapshot=on,file={root}"
    log = WORK / "services.txt"
    console = machine.boot(
        image, packed, log, BOUND, append=f"loglevel=1 systemd.show_status=0 {only}",
        extra=["-drive", disk, "-device", "virtio-blk-device,drive=root"],
    )
    return 0 if machine.judge(console, names, log.relative_to(REPOSITORY)) else 1


if __name__ == "__main__":
    sys.exit(main())
