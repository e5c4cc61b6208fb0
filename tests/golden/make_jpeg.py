"""Makes jpeg.json: small synthetic JPEG files of the kinds that are handled in some special way, and
what Pillow's convert("RGB"), as torchvision's image loader calls it, makes of them (hexadecimal).

    pip install pillow==12.0.0 numpy && python3 make_jpeg.py > jpeg.json
"""

import io
import json

import numpy as np
from PIL import Image

SIDE = 16

y, x, c = np.mgrid[0:SIDE, 0:SIDE, 0:4].astype(np.int64)
slope = (x * 9 * (c + 1) + y * 5 * (4 - c)) % 256
rgb = Image.fromarray(slope[..., :3].astype(np.uint8), "RGB")
smooth = Image.fromarray((x * 12 * (c != 1) + y * 13 * (c != 0))[..., :3].clip(0, 255).astype(np.uint8), "RGB")
cmyk = Image.fromarray((slope // (1 + (c == 3) * 3)).astype(np.uint8), "CMYK")
exif = Image.Exif()
exif[0x0112] = 6  # orientation: to be turned by a quarter


def case(name, image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    decoded = Image.open(io.BytesIO(file.getvalue())).convert("RGB").tobytes()
    return {"name": name, "jpeg": file.getvalue().hex(), "rgb": decoded.hex()}


cases = [
    case("baseline 4:4:4", rgb, quality=95, subsampling=0),
    case("baseline 4:2:0", smooth, quality=95, subsampling=2),
    case("progressive 4:2:0", smooth, quality=90, subsampling=2, progressive=True),
    case("greyscale", rgb.convert("L"), quality=95),
    case("CMYK", cmyk, quality=95),
    case("turned by EXIF", rgb, quality=95, subsampling=0, exif=exif),
]
print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")
