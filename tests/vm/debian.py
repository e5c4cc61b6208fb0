"""A Debian root file system for an emulated machine, as an ext4 image: packages unpacked and said to be installed.

No maintainer script runs, for none could on this machine: what the machine needs of their work is written here, and
systemd does the rest when it starts. Needs no root; the image is made once and again when its recipe changes.
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import machine
from machine import REPOSITORY, WORK

#: What `dpkg -i` and ordinary shell scripts expect of any Debian, then systemd.
BASE = """base-files base-passwd bash bsdutils coreutils dash debianutils diffutils dpkg findutils grep gzip hostname
    init-system-helpers libc-bin login mawk mount passwd perl-base sed tar util-linux systemd systemd-sysv udev""".split()
#: What update-alternatives would have chosen, of packages that are there.
ALTERNATIVES = {
    "usr/bin/awk": "mawk",
    "usr/lib/aarch64-linux-gnu/libblas.so.3": "blas/libblas.so.3",
    "usr/lib/aarch64-linux-gnu/liblapack.so.3": "lapack/liblapack.so.3",
}
#: What nobody reads in there.
LEFT_OUT = ["./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/info", "./usr/share/lintian"]
#: Units that only cost time in a machine that lives for minutes.
MASKED = """dev-hugepages.mount dev-mqueue.mount getty.target proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount systemd-binfmt.service systemd-firstboot.service
    systemd-logind.service systemd-machine-id-commit.service systemd-networkd.service systemd-pcrphase.service
    systemd-pstore.service systemd-random-seed.service systemd-repart.service systemd-timesyncd.service
    systemd-update-utmp-runlevel.service systemd-update-utmp.service systemd-tmpfiles-clean.timer""".split()


def image(*packages):
    """The path of an image with these packages beside the base."""
    recipe = hashlib.sha256(Path(__file__).read_bytes() + " ".join(packages).encode()).hexdigest()[:12]
    made = WORK / f"debian-{recipe}.ext4"
    if made.exists():
        return made
    for old in WORK.glob("debian-*.ext4"):
        old.unlink()
    subprocess.run([REPOSITORY / "cross/need.sh", "e2fsprogs", "fakeroot"], check=True)
    root = WORK / "debian"
    shutil.rmtree(root, ignore_errors=True)
    archives = download(BASE + list(packages))
    unpack(archives, root)
    configure(root)
    partial = made.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    # Whoever runs this owns the files here, and root in the image.
    make = ["fakeroot", "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", root, partial, "2G"]
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    subprocess.run(make, check=True, env={**os.environ, "PATH": path})
    partial.rename(made)
    shutil.rmtree(root)
    return made


def download(packages):
    """Downloads packages and all that they depend on."""
    folder = WORK / "apt" / "cache" / "archives"
    machine.apt("apt-get", "-q", "update")
    choice = ["-y", "--no-install-recommends", "install", *packages]
    machine.apt("apt-get", "-q", "--download-only", *choice)
    names = re.findall(r"^Inst (\S+) \((\S+) .*\[(\w+)\]", machine.apt("apt-get", "-q", "-s", *choice), re.MULTILINE)
    archives = []
    for name, version, architecture in names:
        archives.append(folder / f"{name.split(':')[0]}_{version.replace(':', '%3a')}_{architecture}.deb")
    return archives


def unpack(archives, root):
    """Unpacks packages into one tree with a merged /usr, and writes dpkg's records of them."""
    records = root / "var/lib/dpkg"
    for folder in ["info", "updates", "triggers", "alternatives"]:
        (records / folder).mkdir(parents=True)
    for name in ["bin", "sbin", "lib"]:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    extract = ["tar", "-x", "-C", root, "--keep-directory-symlink", "--no-same-owner", "-p", "-v"]
    extract += [f"--exclude={path}" for path in LEFT_OUT]
    status = []
    for archive in archives:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as tar:
            listed = subprocess.run(extract, stdin=tar.stdout, check=True, capture_output=True, text=True).stdout
        if tar.returncode != 0:
            sys.exit(f"{archive} could not be unpacked")
        control = subprocess.run(["dpkg-deb", "-f", archive], check=True, capture_output=True, text=True).stdout
        name, architecture = (re.search(rf"^{field}: (.*)$", control, re.MULTILINE).group(1) for field in ["Package", "Architecture"])
        if re.search(r"^Multi-Arch: same$", control, re.MULTILINE):
            name = f"{name}:{architecture}"
        files = [line.removeprefix(".").rstrip("/") or "/." for line in listed.splitlines()]
        (records / "info" / f"{name}.list").write_text("".join(f"{file}\n" for file in files))
        status.append("Status: install ok installed\n" + control)
    (records / "status").write_text("\n".join(status))


def configure(root):
    """What maintainer scripts and an installer would have left."""
    for name in ["passwd", "group"]:
        master = (root / "usr/share/base-passwd" / f"{name}.master").read_text()
        (root / "etc" / name).write_text(master.replace(":*:", ":x:") if name == "passwd" else master)
    for name, chosen in ALTERNATIVES.items():
        link = root / name
        if (link.parent / chosen).exists() and not link.is_symlink():
            link.symlink_to(chosen)
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/fstab").touch()
    (root / "etc/hostname").write_text("resnetd-test\n")
    units = root / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).symlink_to("/dev/null")
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
