"""Makes resize.json: what Pillow and torchvision's and timm's arithmetic make of synthetic pictures.

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
OTHERS = [  # fit, then as above
    ("letterbox", 640, 480, 224, 224),
    ("letterbox", 480, 640, 256, 224),
    ("letterbox", 1279, 719, 224, 224),
    ("letterbox", 300, 2, 16, 24),
    ("squash", 640, 480, 224, 224),
    ("squash", 33, 200, 31, 24),
]
MEAN = (0.485, 0.456, 0.406)


def picture(width, height):
    """Slopes, edges and something like noise, from integers alone."""
    y, x, c = np.mgrid[0:height, 0:width, 0:3].astype(np.int64)
    noise = (x * 7919 + y * 104729 + c * 1299709) % 251 // 4
    edges = ((x // 13 + y // 9 + c) % 2) * 90
    slope = (x * (c + 1) + y * (3 - c)) // 4 % 103
    return Image.fromarray((noise + edges + slope).astype(np.uint8), "RGB")


def resize(image, size, filter, fit):
    """torchvision.transforms.functional.resize with one size, on a PIL image; with two; timm's ResizeKeepRatio with longest=1."""
    width, height = image.size
    if fit == "squash":
        return image.resize((size, size), filter)
    if fit == "letterbox":
        ratio = max(width / size, height / size)
        return image.resize((max(1, round(width / ratio)), max(1, round(height / ratio))), filter)
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = size, int(size * long / short)
    new = (new_short, new_long) if width <= height else (new_long, new_short)
    return image.resize(new, filter)


def center_crop(image, crop, fill):
    """torchvision.transforms.functional.center_crop and timm's center_crop_or_pad on a PIL image."""
    width, height = image.size
    if crop > width or crop > height:
        left = (crop - width) // 2 if crop > width else 0
        top = (crop - height) // 2 if crop > height else 0
        padded = Image.new("RGB", (max(width, crop), max(height, crop)), fill)
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


def case(name, filter, fit, width, height, size, crop):
    fill = tuple(round(255 * value) for value in MEAN) if fit == "letterbox" else (0, 0, 0)
    data = center_crop(resize(picture(width, height), size, filter, fit), crop, fill).tobytes()
    middle = (crop // 2 * crop + crop // 2) * 3
    case = {"width": width, "height": height, "resize": size, "crop": crop, "fit": fit, "interpolation": name}
    return {**case, "fnv1a": fnv1a(data), "middle": list(data[middle : middle + 3])}


FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
cases = [case(name, filter, "crop", *of) for name, filter in FILTERS.items() for of in CASES]
cases += [case("bilinear", Image.BILINEAR, *of) for of in OTHERS]
print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")
