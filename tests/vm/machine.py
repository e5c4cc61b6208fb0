"""An emulated ARM machine: fetch Debian's packages for it, pack what it boots, boot it, judge what it prints.

Made for any number of machines: cameras.py is one; README.md says how another is made of the same parts. Nothing here
needs root: apt gets folders of its own under target/vm, and device nodes exist only inside the archive.
"""
import lzma
import os
import re
import selectors
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
WORK = REPOSITORY / "target" / "vm"


# Packages

def apt(*arguments):
    """Runs an apt program for arm64 on this machine's package sources, with state and cache of its own."""
    folder = WORK / "apt"
    for name in ["lists/partial", "cache/archives/partial"]:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    settings = folder / "apt.conf"
    settings.write_text(
        f'APT::Architecture "arm64";\nAPT::Architectures {{ "arm64"; }};\nAPT::Sandbox::User "root";\n'
        f'Acquire::Languages "none";\nDir::State "{folder}";\nDir::State::status "{folder}/status";\nDir::Cache "{folder}/cache";\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(settings)}
    packages = WORK / "packages"
    packages.mkdir(exist_ok=True)
    done = subprocess.run(arguments, env=environment, cwd=packages, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def fetch(package):
    """Unpacks an arm64 package into a folder of its own and returns that; from the network only the first time."""
    folder = WORK / "unpacked" / package
    if folder.is_dir():
        return folder
    if not any((WORK / "apt" / "lists").glob("*Packages*")):
        apt("apt-get", "-q", "update")
    apt("apt-get", "-q", "download", package)
    archive = max((WORK / "packages").glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    subprocess.run(["dpkg", "-x", archive, partial], check=True)
    archive.unlink()
    partial.rename(folder)
    return folder


def kernel():
    """The folder of Debian's current arm64 kernel and the path of its image."""
    known = sorted((WORK / "unpacked").glob("linux-image-*"))
    if known:
        folder = known[-1]
    else:
        apt("apt-get", "-q", "update")
        depends = apt("apt-cache", "depends", "linux-image-arm64")
        folder = fetch(re.search(r"Depends: (linux-image-[^\s:]+)", depends).group(1))
    return folder, next(folder.glob("boot/vmlinuz-*"))


def modules(folder, *wanted):
    """The named kernel modules and all that they need, as (name, bytes) in the order in which to load them."""
    files = {}
    for path in folder.glob("**/*.ko*"):
        files[path.name.split(".")[0].replace("-", "_")] = path
    order = {}

    def visit(name):
        if name in order or name not in files: # what has no file is built in
            return
        path = files[name]
        content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in filter(None, depends.group(1).decode().split(",") if depends else []):
            visit(other.replace("-", "_"))
        order[name] = content

    for name in wanted:
        if name not in files:
            sys.exit(f"Debian's kernel has no module {name}")
        visit(name)
    return list(order.items())


# What the machine boots

class Archive:
    """A cpio archive as the kernel unpacks it: all files belong to root, folders come by themselves."""

    def __init__(self, path):
        self.path = path
        self.file = open(path, "wb")
        self.count = 0
        self.folders = set()

    def _entry(self, name, mode, content=b"", device=(0, 0)):
        self.count += 1
        name = name.strip("/").encode() + b"\0"
        numbers = [self.count, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0]
        head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name
        self.file.write(head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4))

    def folder(self, name):
        name = name.strip("/")
        if name and name not in self.folders:
            self.folder(os.path.dirname(name))
            self.folders.add(name)
            self._entry(name, stat.S_IFDIR | 0o755)

    def add(self, name, content, mode=0o644):
        """`content` is bytes, text, or the path of a file on this machine."""
        self.folder(os.path.dirname(name))
        if isinstance(content, Path):
            content = content.read_bytes()
        elif isinstance(content, str):
            content = content.encode()
        self._entry(name, stat.S_IFREG | mode, content)

    def link(self, name, target):
        self.folder(os.path.dirname(name))
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def console(self):
        """What init's output goes to before /dev is mounted."""
        self.folder("dev")
        self._entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))

    def close(self):
        self._entry("TRAILER!!!", 0)
        self.file.close()
        return self.path


# Running it

def boot(image, initrd, log, seconds, memory=1024, append="", extra=(), own_time=False):
    """Runs the machine and yields the lines of its console, each as (seconds since the start, text), until it is
    off or the time is up; then a last line says so. All lines also go into the file `log`.

    With `own_time` the machine's clock counts its instructions, a billion a second, and skips its idle time: what it
    sees of time does not depend on how busy this machine is, and waiting costs nothing. It then uses one core."""
    command = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", str(memory)]
    if own_time:
        command += ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-rtc", "clock=vm"]
    else:
        command += ["-accel", "tcg,thread=multi"]
    command += ["-nographic", "-no-reboot", "-nic", "none"]
    command += ["-kernel", image, "-initrd", initrd, "-append", f"console=ttyAMA0 panic=-1 quiet {append}", *extra]
    began = time.monotonic()
    with open(log, "w") as record, subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as machine:
        try:
            for line in lines(machine.stdout, began + seconds):
                now = time.monotonic() - began
                record.write(f"{now:7.2f} {line}\n")
                record.flush()
                yield now, line
        finally:
            machine.kill()
    if time.monotonic() - began >= seconds:
        yield seconds, f"machine: still running after {seconds} s, so it was stopped"


def lines(pipe, deadline):
    """Lines from a pipe until it ends or the time is up."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            got = os.read(pipe.fileno(), 65536)
            if not got:
                break
            *whole, rest = (rest + got).split(b"\n")
            for line in whole:
                yield line.rstrip(b"\r").decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


VERDICT = re.compile(r"(ok|SKIP|FAIL) ([a-z0-9_]+)(?:: (.*))?")


def judge(console, planned, log):
    """Prints each scenario's verdict as it comes and what the machine shows of a failure (lines that begin with `|`),
    then counts. True if every planned scenario came to one verdict and none failed."""
    seen, counts = {}, {"ok": 0, "FAIL": 0, "SKIP": 0}
    last = ""

    def verdict(kind, name, reason):
        counts[kind] += 1
        print(f"{kind} {name}" + (f": {reason}" if reason else ""), flush=True)

    for _, line in console:
        last = line or last
        found = VERDICT.fullmatch(line)
        if line.startswith("|") or line.startswith("machine:"):
            print(line, flush=True)
        elif found:
            kind, name, reason = found.groups()
            if name not in planned:
                kind, reason = "FAIL", "it is not among the planned scenarios"
            elif name in seen:
                kind, reason = "FAIL", "it came to a second verdict"
            elif kind != "ok" and not reason:
                kind, reason = "FAIL", "it gave no reason"
            seen[name] = kind
            verdict(kind, name, reason)
    for name in planned:
        if name not in seen:
            verdict("FAIL", name, f"no verdict; the machine's last line: {last}")
    if not planned:
        print("no scenario was planned")
    if counts["FAIL"]:
        print(f"{log} has all that the machine printed")
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped", flush=True)
    return counts["FAIL"] == 0 and counts["ok"] > 0
