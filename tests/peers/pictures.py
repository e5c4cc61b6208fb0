"""Seeded pictures: noise, and scenes of discs on a slope of colour, which are as smooth as photographs are."""

import numpy as np
from PIL import Image

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def noise(random, size):
    return random.integers(0, 256, (size, size, 3), dtype=np.uint8)


def scene(random, size):
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    slopes = random.uniform(-1, 1, (2, 3))
    picture = random.uniform(0, 1, 3) + x[..., None] * slopes[0] + y[..., None] * slopes[1]
    for _ in range(5):
        (cx, cy), radius = random.uniform(0, 1, 2), random.uniform(0.05, 0.4)
        picture[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = random.uniform(0, 1, 3)
    picture += random.normal(0, 0.02, picture.shape)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def some(count, size, seed):
    """So many pictures `[size][size][3]`, every third of them noise."""
    random = np.random.default_rng(seed)
    return [(noise if i % 3 == 0 else scene)(random, size) for i in range(count)]


def normalized(pictures):
    """As torchvision's ToTensor and Normalize do: `[n][3][size][size]`."""
    values = (np.stack(pictures).astype(np.float32) / np.float32(255) - MEAN) / STD
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def write(pictures, folder):
    paths = [folder / f"{i}.png" for i in range(len(pictures))]
    for picture, path in zip(pictures, paths):
        Image.fromarray(picture).save(path)
    return paths
