#!/usr/bin/env python3
"""What a still scene costs beside one that moves: processor time of `resnetd run`, less what its capture thread takes
(reading is the same for both), with `still_gate = true` and once the label has settled.

    cargo build --release && python3 benches/still.py            # wants ffmpeg
    python3 benches/still.py --video vtest.avi                   # and a real video, with the gate and without

Pictures come at 30 a second: Y4M of 640x480 through a named pipe, of which no frame is lost, and MJPEG of 1280x720 from a
program, as from a camera: what is still is then decoded a few times a second only. The still scene has a camera's noise.
"""

import argparse
import functools
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
SETTLING, SECONDS = 8, 20  # before the measuring, and of it
MOVING = "testsrc2=size={size}:rate=30"
STILL = MOVING + ",trim=end_frame=1,loop=-1:1,setpts=N/30/TB,noise=alls=8:allf=t"
FFMPEG = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y"]


def scene(what, size):
    return ["-re", "-f", "lavfi", "-i", what.format(size=size)]


def shape(kind):
    return ["-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe"] if kind == "y4m" else ["-q:v", "3", "-f", "mjpeg"]


def threads(pid):
    """Processor seconds of each thread so far, by its name; none if the process is gone."""
    found = {}
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            name, _, rest = task.joinpath("stat").read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            found[name] = found.get(name, 0) + (int(fields[11]) + int(fields[12])) / TICK
    except OSError:
        return {}
    return found


def run(program, folder, pictures, kind, gate=True):
    """Processor seconds without the capture thread's, and the frames that were classified in all."""
    config, fifo = folder / "c.toml", folder / "pictures"
    config.write_text(f"still_gate = {str(gate).lower()}\n")
    feeder = None
    command = [*FFMPEG, *pictures, *shape(kind)]
    if kind == "y4m":
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo)
        feeder = subprocess.Popen([*command, fifo])
        source = f"y4m:{fifo}"
    else:
        source = "exec:" + shlex.join([*command, "-"])
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [program, "run", "--config", config, "--source", source, "--socket", folder / "s"], stdout=subprocess.DEVNULL, stderr=log
        )
        time.sleep(SETTLING)
        before = threads(process.pid)
        time.sleep(SECONDS)
        after = threads(process.pid)
        process.terminate()
        process.wait()
    if feeder:
        feeder.kill()
        feeder.wait()
    words = (folder / "log").read_text()
    if "ended after " not in words or not after:
        sys.exit(f"resnetd ended early:\n{words}")
    classified = int(words.rpartition("ended after ")[2].split()[0])
    return sum(spent - before.get(name, 0) for name, spent in after.items() if name != "capture"), classified


def show(name, one, other, words):
    (quiet, few), (busy, many) = one, other
    print(
        f"{name:30}{quiet:7.2f} s {words[0]} ({few} classified){busy:8.2f} s {words[1]} ({many}){100 * quiet / busy:7.1f} %",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "target/release/resnetd")
    parser.add_argument("--video", action="append", default=[], metavar="FILE", help="a real video, which is played in a loop")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        measure = functools.partial(run, arguments.program, Path(place))
        for kind, size in (("y4m", "640x480"), ("mjpeg", "1280x720")):
            still, moving = (measure(scene(what, size), kind) for what in (STILL, MOVING))
            show(f"{kind} {size}, 30 a second", still, moving, ("still", "moving"))
        for video in arguments.video:
            played = ["-re", "-stream_loop", "-1", "-i", video]
            gated, all_of_it = (measure(played, "mjpeg", gate) for gate in (True, False))
            show(Path(video).name, gated, all_of_it, ("with the gate", "without"))


if __name__ == "__main__":
    sys.exit(main())
