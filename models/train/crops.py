"""Batches for training: fresh random crops, flips and colours at every step, made a little ahead by threads.

A batch is a function of the seed, the number of its step and its size, and of nothing else: a training that was
interrupted goes on with the very batches that it would have had.
"""

import math
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

AHEAD = 4  # batches
SMALLEST_SHARE = 0.25  # of a picture's area; torchvision's 0.08 is for ImageNet's many pictures and epochs
ASPECT = math.log(4 / 3)
JITTER = 0.3  # brightness, contrast and saturation change by up to this share
ORDER, BATCH = 1, 2  # what a random generator is for


@dataclass
class Batch:
    """Bytes [n, size, size, 3], the same crops in another size for a teacher (or none), classes, and factors of
    brightness, contrast and saturation [3, n]."""

    pictures: torch.Tensor
    for_teacher: torch.Tensor | None
    labels: torch.Tensor
    colours: torch.Tensor


class Crops:
    """`crops.batch(step, size)` of `pictures`, restricted to those at `places`."""

    def __init__(self, pictures, places, batch, seed):
        self.pictures, self.places, self.count, self.seed = pictures, np.asarray(places), batch, seed
        self.steps = max(1, len(self.places) // batch)  # to an epoch; what is left over is another picture each time

    def batch(self, step, size, teacher_size=None):
        epoch, number = divmod(step, self.steps)
        order = np.random.default_rng([self.seed, ORDER, epoch]).permutation(len(self.places))
        chosen = self.places[order[number * self.count : (number + 1) * self.count]]
        random = np.random.default_rng([self.seed, BATCH, step])
        boxes, flips = random.random((len(chosen), 4)), random.random(len(chosen)) < 0.5
        colours = 1 + JITTER * (2 * random.random((3, len(chosen))) - 1)
        sizes = [size] if teacher_size in (None, size) else [size, teacher_size]
        made = [np.empty((len(chosen), s, s, 3), np.uint8) for s in sizes]
        for i, (place, draw, flip) in enumerate(zip(chosen, boxes, flips)):
            picture = Image.fromarray(self.pictures[place])
            box = crop_box(*picture.size, draw)
            for out in made:
                side = out.shape[1]
                crop = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, box))
                out[i] = crop[:, ::-1] if flip else crop
        tensors = [torch.from_numpy(out) for out in made]
        for_teacher = tensors[-1] if teacher_size else None
        labels = torch.from_numpy(self.pictures.labels[chosen])
        return Batch(tensors[0], for_teacher, labels, torch.from_numpy(colours.astype(np.float32)))

    def stream(self, first, size_at, teacher_size=None):
        """Batches from step `first` on, for ever; `size_at(step)` is asked when a batch is begun. Yields each with
        its size."""
        with ThreadPoolExecutor(min(os.cpu_count(), AHEAD)) as threads:
            waiting, step = deque(), first
            try:
                while True:
                    while len(waiting) < AHEAD:
                        size = size_at(step)
                        waiting.append((size, threads.submit(self.batch, step, size, teacher_size)))
                        step += 1
                    size, future = waiting.popleft()
                    yield size, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()


def crop_box(width, height, draw):
    """A part of SMALLEST_SHARE to all of a picture, between 3:4 and 4:3, from four draws in 0..1."""
    area = width * height * (SMALLEST_SHARE + (1 - SMALLEST_SHARE) * draw[0])
    aspect = math.exp(ASPECT * (2 * draw[1] - 1))
    w, h = min(width, math.sqrt(area * aspect)), min(height, math.sqrt(area / aspect))
    left, top = (width - w) * draw[2], (height - h) * draw[3]
    return left, top, min(width, left + w), min(height, top + h)


def normalized(pictures, mean, std, device, colours=None):
    """Bytes [n, size, size, 3] to what a network reads, channels last, its colours changed on the way."""
    x = pictures.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    if colours is not None:
        brightness, contrast, saturation = colours.to(device).view(3, -1, 1, 1, 1)
        x = x * brightness
        middle = x.mean((1, 2, 3), keepdim=True)
        x = (x - middle) * contrast + middle
        grey = x.mean(1, keepdim=True)
        x = ((x - grey) * saturation + grey).clamp(0, 255)
    place = {"device": device, "dtype": torch.float32}
    mean, std = (torch.tensor(values, **place).view(3, 1, 1) for values in (mean, std))
    return ((x / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
