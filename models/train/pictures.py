"""Labelled pictures: a folder of class folders, or a tar archive of one, decoded once into a cache of bytes.

Finds the pictures as `resnetd-model` does (src/model/dataset.rs), and prepares those to validate on as the device does
(src/preprocess). Crops for training are made of what lies here by crops.py.
"""

import hashlib
import io
import json
import os
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from progress import Bar

ENDINGS = (".jpg", ".jpeg", ".png")
LARGEST_FILE = 64 << 20  # no photograph is larger
LARGEST_CACHE = 1 << 40
LAYOUT = 1  # of the cache's files; another number makes them anew
Image.MAX_IMAGE_PIXELS = 200_000_000  # twice as many are an error and not a warning


class BadPictures(Exception):
    """What is wrong with a set of pictures, and the remedy."""


class Listing:
    """Where the pictures of a set lie, in the order of their names."""

    def __init__(self, path):
        self.path = Path(path)
        if self.path.is_dir():
            found = self._in_folder()
        elif self.path.is_file():
            found = self._in_tar()
        else:
            raise BadPictures(f"{path}: there is no such folder or archive")
        self.items = sorted(item for item in found if self._is_picture(item))
        if not self.items:
            raise BadPictures(f"{path}: no JPEG or PNG in folders, one per class")
        self.classes = sorted({PurePosixPath(name).parent.name for name, *_ in self.items})

    def _in_folder(self):
        for folder in self.path.iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                for file in folder.iterdir():
                    try:
                        stat = file.stat()
                    except OSError:  # a link that leads nowhere: found out when it is read
                        yield f"{folder.name}/{file.name}", 0, 0, 0
                        continue
                    yield f"{folder.name}/{file.name}", 0, stat.st_size, stat.st_mtime_ns

    def _in_tar(self):
        try:
            with tarfile.open(self.path, "r:") as archive:
                for member in archive:
                    if member.isfile():
                        yield member.name, member.offset_data, member.size, member.mtime
        except tarfile.TarError as error:
            raise BadPictures(f"{self.path}: not readable as a tar archive without compression: {error}") from error

    @staticmethod
    def _is_picture(item):
        name, _, size, _ = item
        path = PurePosixPath(name)
        plain = path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")
        return plain and bool(path.parent.name) and size <= LARGEST_FILE

    def class_of(self, index):
        return self.classes.index(PurePosixPath(self.items[index][0]).parent.name)

    def read(self, index):
        name, offset, size, _ = self.items[index]
        if self.path.is_dir():
            return (self.path / name).read_bytes()
        with open(self.path, "rb") as archive:
            archive.seek(offset)
            return archive.read(size)

    def key(self, prepared):
        """Another name for other pictures, or the same pictures prepared otherwise."""
        text = json.dumps([LAYOUT, prepared, str(self.path.resolve()), self.items])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def resized(width, height, shorter):
    """torchvision's `Resize`: the longer side keeps the aspect, rounded down."""
    if width <= height:
        return shorter, shorter * height // width
    return shorter * width // height, shorter


def as_the_device_does(picture, resize, crop):
    """Shorter side to `resize` by Pillow's antialiased bilinear filter, then the middle `crop` pixels (black around
    a smaller picture)."""
    width, height = resized(*picture.size, resize)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    # torchvision pads to at least the crop first, the smaller half before
    left = round((width - crop) / 2) if width >= crop else -((crop - width) // 2)
    top = round((height - crop) / 2) if height >= crop else -((crop - height) // 2)
    return picture.crop((left, top, left + crop, top + crop))


def at_most(picture, shorter):
    """The picture, shrunk where its shorter side is longer than `shorter`: what crops for training are cut from."""
    if min(picture.size) <= shorter:
        return picture
    return picture.resize(resized(*picture.size, shorter), Image.Resampling.BILINEAR)


class Pictures:
    """Decoded pictures of a set: `pictures[i]` are the bytes [height, width, 3] of one, `labels[i]` its class."""

    def __init__(self, file, index, name):
        self.key = Path(file).stem  # another for other pictures
        self.bytes = np.memmap(file, np.uint8, "r")
        self.offsets, self.sizes, self.labels = index["offsets"], index["sizes"], index["labels"]
        self.classes = [str(name) for name in index["classes"]]
        self.skipped = int(index["skipped"])
        self.name = name

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        height, width = self.sizes[i]
        start = self.offsets[i]
        return self.bytes[start : start + height * width * 3].reshape(height, width, 3)

    @classmethod
    def open(cls, path, cache, how, *sizes):
        """Those of `path`, each prepared by `how(picture, *sizes)`; decoded only if `cache` has them not yet."""
        listing = Listing(path)
        cache = Path(cache)
        cache.mkdir(parents=True, exist_ok=True)
        place = cache / f"{listing.path.name}-{listing.key([how.__name__, *sizes])}"
        file, table = place.with_suffix(".u8"), place.with_suffix(".npz")
        if not table.exists():
            _decode(listing, file, table, lambda picture: how(picture, *sizes))
        with np.load(table) as index:
            return cls(file, dict(index), listing.path.name)


def _decode(listing, file, table, prepare):
    """Writes beside and renames; the table last, so that where it lies both are whole."""
    offsets, sizes, labels, skipped, end = [], [], [], 0, 0
    new = file.with_suffix(f".{os.getpid()}.new")
    bar = Bar(f"decoding {listing.path.name}", len(listing.items))
    try:
        with open(new, "wb") as out:
            for index, found in enumerate(_each(lambda i: _prepared(listing, i, prepare), len(listing.items))):
                bar.step()
                if isinstance(found, Exception):
                    print(f"{listing.items[index][0]} skipped: {found}", file=sys.stderr)
                    skipped += 1
                    continue
                offsets.append(end)
                sizes.append(found.shape[:2])
                labels.append(listing.class_of(index))
                end += found.size
                if end > LARGEST_CACHE:
                    raise BadPictures(f"{listing.path}: more than 1 TiB when decoded; give fewer pictures or a smaller --store")
                out.write(found.tobytes())
        bar.done()
        if skipped * 10 > len(listing.items):
            raise BadPictures(f"{listing.path}: {skipped} of {len(listing.items)} pictures cannot be read")
        os.replace(new, file)
    finally:
        new.unlink(missing_ok=True)
    new = table.with_suffix(f".{os.getpid()}.npz")
    np.savez(new, offsets=np.array(offsets, np.int64), sizes=np.array(sizes, np.int64), labels=np.array(labels, np.int64),
             classes=np.array(listing.classes), skipped=skipped)
    os.replace(new, table)


def _prepared(listing, index, prepare):
    try:
        with Image.open(io.BytesIO(listing.read(index))) as picture:
            return np.asarray(prepare(picture.convert("RGB")))
    except UnidentifiedImageError:
        return BadPictures("not a picture")
    except Exception as error:  # Pillow raises many kinds for broken files: one of them must not end a training
        return error


def _each(work, count, ahead=64):
    """`work(0)`, `work(1)`, ... in order, computed by threads (Pillow's decoder lets others run) a little ahead."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        waiting = []
        for index in range(count):
            waiting.append(threads.submit(work, index))
            if len(waiting) > ahead:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
