"""Writes weights as safetensors with the metadata that `resnetd-model import` reads, and beside them, as JSON, how they
were trained."""

import json
import os
from pathlib import Path

from safetensors.torch import save_file

import resnet

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def preparation(metadata):
    """What a file's metadata says of mean and std; ImageNet's where it says nothing."""
    return {
        key: [float(part) for part in metadata[key].split(",")] if key in metadata else default
        for key, default in IMAGENET.items()
    }


def metadata(about):
    """As text, what `about` says: labels, mean, std, resize, crop, arch."""
    texts = {"interpolation": "bilinear, antialiased"}
    if about.get("labels"):
        texts["labels"] = json.dumps(about["labels"], ensure_ascii=False)
    for key in ("mean", "std"):
        texts[key] = ",".join(str(value) for value in about[key])
    texts.update({key: str(about[key]) for key in ("resize", "crop") if key in about})
    return texts | {"architecture": about["arch"]}


def write(path, tensors, about, figures=None):
    """Both files, each beside its place and renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in tensors.items() if not name.endswith("num_batches_tracked")
    }
    new = path.with_suffix(".new")
    save_file(tensors, new, metadata(about))
    os.replace(new, path)
    if figures is not None:
        new.write_text(json.dumps(about | figures, indent=1, ensure_ascii=False) + "\n")
        os.replace(new, path.with_suffix(".json"))


def described(texts):
    """`about` of a file's metadata, as far as it goes."""
    about = preparation(texts)
    if "labels" in texts:
        about["labels"] = json.loads(texts["labels"])
    return about | {key: int(texts[key]) for key in ("resize", "crop") if key in texts}


def run(args):
    """`export`: the average of a run, finished or not, or any file of weights."""
    source, figures = Path(args.source), {"exported_from": Path(args.source).name}
    if source.is_dir():
        import checkpoint

        state = checkpoint.read(source)
        tensors, about = state["average"]["tensors"], state["about"]
        figures |= {"settings": state["settings"], "steps": state["step"], "seconds": round(state["seconds"])}
    else:
        tensors, texts = resnet.read(source)
        about = described(texts)
    network = resnet.build(tensors)
    about["arch"] = network.plan.name
    if args.labels:
        about["labels"] = [line.strip() for line in Path(args.labels).read_text().splitlines() if line.strip()]
    about |= {key: value for key in ("mean", "std", "resize", "crop") if (value := getattr(args, key)) is not None}
    if len(about.get("labels", [])) not in (0, network.plan.classes):
        raise resnet.BadWeights(f"{len(about['labels'])} labels for {network.plan.classes} classes")
    write(args.out, network.state_dict(), about, figures)
    print(f"{args.out}: {about['arch']}, {network.plan.classes} classes")
