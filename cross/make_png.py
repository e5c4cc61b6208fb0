#!/usr/bin/env python3
"""Writes the two pictures that compare.sh classifies: make_png.py FOLDER

shapes.png (320x240) has gradients, a disc and stripes and must be cropped and scaled; noise.png (224x224) has an
independent value in every pixel. Nothing but integers, so the pixels are the same everywhere.
"""
import struct
import sys
import zlib
from pathlib import Path


def shapes(x, y):
    red, green, blue = x * 255 // 319, y * 255 // 239, (x + y) * 255 // 558
    if (x - 110) ** 2 + (y - 130) ** 2 < 70**2:
        red, green, blue = 240 - (y // 2), 230, 220 - (x // 2)
    if 200 <= x < 300 and 40 <= y < 200 and (x // 9 + y // 17) % 2:
        red, green, blue = 20, 60 + y // 2, 200
    return red, green, blue


def noise(x, y):
    state = (y * 224 + x) * 2654435761 + 12345
    state ^= state >> 15 & 0x1FFFF
    state = state * 2246822519 & 0xFFFFFFFF
    return state >> 24, state >> 16 & 255, state >> 8 & 255


def png(width, height, pixel):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (bytes([0]) + bytes(v for x in range(width) for v in pixel(x, y)) for y in range(height))
    data = zlib.compress(b"".join(rows), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def main():
    folder = Path(sys.argv[1])
    (folder / "shapes.png").write_bytes(png(320, 240, shapes))
    (folder / "noise.png").write_bytes(png(224, 224, noise))


main()
