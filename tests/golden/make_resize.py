"""Makes resize.json: what Pillow and torchvision's arithmetic make of synthetic pictures.

    pip install pillow==12.0.0 numpy && python3 make_resize.py > resize.json

The picture's formula is repeated in tests/preprocess_golden.rs, as is the hash (64-bit FNV-1a over the
bytes of the crop, rows, columns, R G B). Pillow up to 12 resamples rows first, always; Pillow 13 begins
with the columns where a picture is much higher than wide, which changes some bytes there by one.
"""

import json

import numpy as np
from PIL import Image

CASES = [  # width, height, resize, crop
    (640, 480, 256, 224),
    (1280, 720, 256, 224),
    (1920, 1080, 232, 224),
    (500, 375, 256, 224),
    (375, 500, 256, 224),
    (224, 224, 224, 224),
    (256, 300, 256, 224),
    (97, 61, 256, 224),
    (61, 97, 64, 33),
    (176, 176, 176, 160),
    (50, 40, 20, 32),
    (33, 200, 31, 64),
    (1, 1, 8, 7),
    (1, 40, 4, 6),
    (300, 2, 16, 24),
    (1001, 333, 7, 5),
]


def picture(width, height):
    """Slopes, edges and something like noise, from integers alone."""
    y, x, c = np.mgrid[0:height, 0:width, 0:3].astype(np.int64)
    noise = (x * 7919 + y * 104729 + c * 1299709) % 251 // 4
    edges = ((x // 13 + y // 9 + c) % 2) * 90
    slope = (x * (c + 1) + y * (3 - c)) // 4 % 103
    return Image.fromarray((noise + edges + slope).astype(np.uint8), "RGB")


def resize(image, size, filter):
    """torchvision.transforms.functional.resize with one size, on a PIL image."""
    width, height = image.size
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = size, int(size * long / short)
    new = (new_short, new_long) if width <= height else (new_long, new_short)
    return image.resize(new, filter)


def center_crop(image, crop):
    """torchvision.transforms.functional.center_crop on a PIL image."""
    width, height = image.size
    if crop > width or crop > height:
        left = (crop - width) // 2 if crop > width else 0
        top = (crop - height) // 2 if crop > height else 0
        padded = Image.new("RGB", (max(width, crop), max(height, crop)))
        padded.paste(image, (left, top))
        image, (width, height) = padded, padded.size
    top = int(round((height - crop) / 2.0))
    left = int(round((width - crop) / 2.0))
    return image.crop((left, top, left + crop, top + crop))


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


cases = []
for name, filter in [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)]:
    for width, height, size, crop in CASES:
        data = center_crop(resize(picture(width, height), size, filter), crop).tobytes()
        middle = (crop // 2 * crop + crop // 2) * 3
        case = {"width": width, "height": height, "resize": size, "crop": crop, "interpolation": name}
        cases.append({**case, "fnv1a": fnv1a(data), "middle": list(data[middle : middle + 3])})
print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")
