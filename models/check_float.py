#!/usr/bin/env python3
"""Does the float bundle say what PyTorch says? Compares the logits of `resnetd classify` with those of
the same weights run in PyTorch, on the same picture files.

    check_float.py --make-png imagenette-val.tar PNGS 400
    resnetd classify --json --logits --model FLOAT_BUNDLE PNGS/*.png > ours.jsonl
    check_float.py --bundle-logits ours.jsonl --weights resnet50.safetensors --raw PNGS

Exit 0 if the first label is the same on at least 99.5% of the pictures and every picture's logits differ by
less than 1e-3 of its largest one; 1 if not; 2 if something is missing.

Two JPEG decoders differ by a grey level here and there, and that alone moves logits by more than 1e-3: `--raw`
takes the pictures from a folder of PNG files, where both sides see the same pixels. Photographs whose
shorter side is not the network's are resized by Pillow here, which rounds to whole grey levels before they
are cropped: the same remark holds.

Needs torch, torchvision, safetensors, pillow. CI does not run it; tests/golden/float_logits.json stands for it.
"""

import argparse
import io
import json
import sys
import tarfile
from collections import defaultdict
from itertools import chain, zip_longest
from pathlib import Path

SAME_TOP1 = 0.995
LOGITS_WITHIN = 1e-3
BATCH = 16


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle-logits", type=Path, metavar="FILE", help="JSON lines of resnetd classify")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="safetensors; what its metadata does not say is as in ImageNet")
    parser.add_argument("--raw", type=Path, metavar="DIR", help="where the pictures are, as PNG files of the same names")
    parser.add_argument("--make-png", nargs=3, metavar=("TAR", "DIR", "N"), help="unpack N photographs as PNG")
    args = parser.parse_args()
    if args.make_png:
        tar, folder, count = args.make_png
        return make_png(Path(tar), Path(folder), int(count))
    if not (args.bundle_logits and args.weights):
        parser.error("give --bundle-logits and --weights, or --make-png")
    try:
        return compare(read_lines(args.bundle_logits), args.weights, args.raw)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        fail(f"{type(error).__name__}: {str(error)[:400]}")


def make_png(tar, folder, count):
    """The first photographs of each class in turn, named CLASS_NAME.png."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tar) as archive:
        classes = defaultdict(list)
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            if member.isfile() and member.name.lower().endswith((".jpg", ".jpeg")):
                classes[Path(member.name).parent.name].append(member)
        in_turn = [member for member in chain(*zip_longest(*classes.values())) if member]
        if len(in_turn) < count:
            sys.exit(f"{tar} holds only {len(in_turn)} photographs, {count} were asked for")
        for member in in_turn[:count]:
            path = Path(member.name)
            picture = Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")
            picture.save(folder / f"{path.parent.name}_{path.stem}.png", compress_level=1)
    print(f"{count} PNG files of {len(classes)} classes in {folder}")
    return 0


def read_lines(path):
    with open(path) as lines:
        answers = [json.loads(line) for line in lines if line.strip()]
    if not answers:
        fail(f"{path} is empty")
    for answer in answers:
        if "logits" not in answer:
            fail(f"{path}: no logits for {answer.get('file')}; run resnetd classify with --json --logits")
    return answers


def compare(answers, weights, raw):
    import torch
    from PIL import Image

    network, prepare = load(weights)
    same, differences = 0, []
    for start in range(0, len(answers), BATCH):
        batch = answers[start : start + BATCH]
        pictures = [prepare(Image.open(picture_of(answer["file"], raw)).convert("RGB")) for answer in batch]
        with torch.inference_mode():
            theirs = network(torch.stack(pictures))
        ours = torch.tensor([answer["logits"] for answer in batch], dtype=torch.float32)
        if ours.shape != theirs.shape:
            fail(f"the bundle has {ours.shape[1]} classes, the weights have {theirs.shape[1]}")
        for answer, mine, reference in zip(batch, ours, theirs):
            first = answer["predictions"][0]["class_id"]
            same += first == int(mine.argmax()) == int(reference.argmax())
            differences.append(float((mine - reference).abs().max() / reference.abs().max()))
    return report(answers, same, differences)


def report(answers, same, differences):
    count = len(differences)
    ordered = sorted(differences)
    marks = {f"p{share}": ordered[min(count - 1, count * share // 100)] for share in (50, 90, 99)}
    marks["largest"] = ordered[-1]
    print(f"{count} pictures, the same first label on {same} ({same / count:.2%}; wanted {SAME_TOP1:.1%})")
    print(f"difference of logits, relative to each picture's largest (wanted below {LOGITS_WITHIN}):")
    print("  " + "  ".join(f"{name} {value:.2e}" for name, value in marks.items()))
    outside = [answer["file"] for answer, value in zip(answers, differences) if not value < LOGITS_WITHIN]
    if outside:
        print(f"  {len(outside)} outside, the first is {outside[0]}")
    good = same >= SAME_TOP1 * count and not outside
    if not good and any(not answer["file"].lower().endswith(".png") for answer in answers):
        print("some pictures are no PNG files: JPEG decoders differ; see --make-png and --raw")
    print("agreed" if good else "NOT agreed")
    return 0 if good else 1


def picture_of(file, raw):
    path = raw / Path(file).name if raw else Path(file)
    if raw and path.suffix.lower() != ".png":
        fail(f"{path} is no PNG file, as --raw asks for")
    if not path.is_file():
        fail(f"{path} is not there; run this where resnetd classify ran, or give the folder with --raw")
    return path


def load(weights):
    """The network with as many blocks as the file's names say, and what prepares a picture for it."""
    from safetensors import safe_open
    from torchvision import transforms
    from torchvision.models.resnet import Bottleneck, ResNet

    with safe_open(weights, "pt") as file:
        known = file.metadata() or {}
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    blocks = [len({name.split(".")[1] for name in tensors if name.startswith(f"layer{stage}.")}) for stage in range(1, 5)]
    network = ResNet(Bottleneck, blocks, num_classes=len(tensors["fc.bias"]))
    missing, unknown = network.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unknown:
        fail(f"{weights} is no such ResNet: missing {missing[:3]}, unknown {unknown[:3]}")

    def numbers(key, otherwise):
        return [float(part) for part in known.get(key, otherwise).split(",")]

    prepare = transforms.Compose([
        transforms.Resize(int(known.get("resize", 256))),
        transforms.CenterCrop(int(known.get("crop", 224))),
        transforms.ToTensor(),
        transforms.Normalize(
            numbers("mean", "0.485,0.456,0.406"),
            numbers("std", "0.229,0.224,0.225"),
        ),
    ])
    return network.eval(), prepare


def fail(message):
    print(f"check_float.py: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main())
