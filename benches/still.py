#!/usr/bin/env python3
"""What a still scene costs beside one that moves: processor time of `resnetd run` for each frame, less what its capture thread
takes (reading is the same for both), with `still_gate = true`.

    cargo build --release && python3 benches/still.py            # wants ffmpeg
    python3 benches/still.py --video vtest.avi                   # and a real video, still and moving as it is

Y4M of 640x480 is read from a file, as fast as it goes. MJPEG of 1280x720 comes at 30 frames a second from a program, as
from a camera: what is still is then decoded a few times a second only. The still scene has the noise of a camera.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
SECONDS = 20
RATE = 30
MOVING = "testsrc2=size={size}:rate=30"
STILL = MOVING + ",trim=end_frame=1,loop=-1:1,setpts=N/30/TB,noise=alls=8:allf=t"


def ffmpeg(arguments, out):
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", *arguments, "-t", str(SECONDS), out]
    subprocess.run(command, check=True)


def clip(folder, scene, size, kind):
    out = folder / f"{'still' if scene is STILL else 'moving'}.{kind}"
    shape = ["-pix_fmt", "yuv420p"] if kind == "y4m" else ["-q:v", "3", "-f", "mjpeg"]
    ffmpeg(["-f", "lavfi", "-i", scene.format(size=size), *shape], str(out))
    return out


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


def run(program, folder, source, gate):
    """Processor seconds without the capture thread's, of as long as the source lasts; and how many frames were classified."""
    config = folder / "c.toml"
    config.write_text(f"still_gate = {str(gate).lower()}\n")
    command = [program, "run", "--config", config, "--source", source, "--socket", folder / "s"]
    end = time.monotonic() + 20 * SECONDS
    live = source.startswith("exec:")
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        until = time.monotonic() + SECONDS + 1 if live else end
        spent = {}
        while process.poll() is None and time.monotonic() < until:
            spent = threads(process.pid) or spent
            time.sleep(0.05)
        process.terminate()
        process.wait()
    words = (folder / "log").read_text()
    classified = int(words.rpartition("ended after ")[2].split()[0])
    return sum(value for name, value in spent.items() if name != "capture"), classified


def compare(name, still, moving, measure):
    (quiet, few), (busy, many) = measure(still), measure(moving)
    print(f"{name:32}{quiet:8.2f} s still ({few} classified){busy:8.2f} s moving ({many}){100 * quiet / busy:8.1f} %", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "target/release/resnetd")
    parser.add_argument("--video", action="append", default=[], metavar="FILE", help="a real video: with the gate and without")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)

        def measure(source, gate=True):
            return run(arguments.program, folder, source, gate)

        still, moving = (clip(folder, scene, "640x480", "y4m") for scene in (STILL, MOVING))
        compare("y4m 640x480, a file", still, moving, lambda file: measure(f"y4m:{file}"))
        still, moving = (clip(folder, scene, "1280x720", "mjpeg") for scene in (STILL, MOVING))
        paced = f"exec:ffmpeg -nostdin -loglevel error -re -f mjpeg -framerate {RATE} -i {{}} -c copy -f mjpeg -"
        compare("mjpeg 1280x720, 30 a second", still, moving, lambda file: measure(paced.format(file)))
        for video in arguments.video:
            out = folder / "video.y4m"
            ffmpeg(["-i", video, "-pix_fmt", "yuv420p"], str(out))
            with_gate, without = measure(f"y4m:{out}"), measure(f"y4m:{out}", gate=False)
            print(
                f"{Path(video).name:32}{with_gate[0]:8.2f} s with the gate ({with_gate[1]} classified)"
                f"{without[0]:8.2f} s without ({without[1]}){100 * with_gate[0] / without[0]:8.1f} %"
            )


if __name__ == "__main__":
    sys.exit(main())
