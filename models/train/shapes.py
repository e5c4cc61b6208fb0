"""Renders pictures of five shapes, of any colour, place and size on noise: enough to see a small network learn within a
minute, and nobody's photographs."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("bars", "cross", "disc", "ring", "triangle")


def render(shape, side, random):
    base = random.integers(0, 256, 3)
    colour = (base + random.integers(90, 166, 3)) % 256  # far from the ground's in every channel
    picture = Image.new("RGB", (side, side), tuple(map(int, base)))
    draw, fill = ImageDraw.Draw(picture), tuple(map(int, colour))
    r = side * random.uniform(0.25, 0.4)
    x, y = random.uniform(r, side - r, 2)
    around = (x - r, y - r, x + r, y + r)
    if shape == "disc":
        draw.ellipse(around, fill)
    elif shape == "ring":
        draw.ellipse(around, None, fill, max(2, round(r / 4)))
    elif shape == "cross":
        draw.rectangle((x - r, y - r / 4, x + r, y + r / 4), fill)
        draw.rectangle((x - r / 4, y - r, x + r / 4, y + r), fill)
    elif shape == "triangle":
        turn = random.uniform(0, 2 * math.pi)
        draw.polygon([(x + r * math.cos(turn + k * 2.094), y + r * math.sin(turn + k * 2.094)) for k in range(3)], fill)
    else:
        for k in range(-2, 3):
            draw.rectangle((x - r, y + k * r / 2.5 - r / 10, x + r, y + k * r / 2.5 + r / 10), fill)
    noisy = np.asarray(picture) + random.normal(0, 8, (side, side, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def write(folder, count, side, seed):
    """`count` PNG files, the classes in turn."""
    random = np.random.default_rng(seed)
    for i in range(count):
        shape = CLASSES[i % len(CLASSES)]
        place = Path(folder) / shape
        place.mkdir(parents=True, exist_ok=True)
        render(shape, side, random).save(place / f"{i:05}.png")


def run(args):
    write(args.out, args.pictures, args.side, args.seed)
    print(f"{args.out}: {args.pictures} pictures of {len(CLASSES)} shapes")
